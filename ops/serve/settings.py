"""Addresses and limits of a server."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.ops.serve.versions import MOST_WAITING


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Each `HOST:PORT`, an IPv6 host in brackets; port 0 selects a free one."""

    grpc: str
    http: str


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """Limits on requests."""

    max_message_bytes: int = 64 << 20
    """Larger requests are refused."""
    workers: int = 2
    """Requests processed at once; those that wait for a version, the log or a disk do not count."""
    queue: int = 1000
    """Requests that may wait in addition; further ones are refused with RESOURCE_EXHAUSTED."""

    @property
    def most_waiting(self) -> int:
        """Requests that may wait for a version at once; they count toward `queue`."""
        return max(1, min(MOST_WAITING, self.queue))
