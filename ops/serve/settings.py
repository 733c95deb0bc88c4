"""Where a server listens, and how much it takes at once."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.ops.serve.versions import MOST_WAITING


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Each `HOST:PORT`, an IPv6 host in brackets; port 0 takes a free one."""

    grpc: str
    http: str


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """Bounds on what callers may take."""

    max_message_bytes: int = 64 << 20
    """Larger requests are refused."""
    workers: int = 2
    """Requests answered at once; those that wait for a version, the log or a disk are not among them."""
    queue: int = 1000
    """Requests that may wait beside those; more are refused with RESOURCE_EXHAUSTED."""

    @property
    def most_waiting(self) -> int:
        """Requests that may wait for a version to come, at once; they count among those that may be here."""
        return max(1, min(MOST_WAITING, self.queue))
