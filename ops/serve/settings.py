"""Addresses and limits of a server."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.ops.serve.versions import MOST_WAITING


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Each `HOST:PORT`, an IPv6 host in brackets; port 0 selects a free one."""

    grpc: str
    http: str
    health: str = ""
    """Of health and metrics alone, in plain text; empty: there is none."""


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """Limits on requests; the fields are settings of `[service]`."""

    max_message_bytes: int = 64 << 20
    """Larger requests are refused."""
    servers: int = 1
    """Server processes that share the addresses."""
    workers: int = 2
    """Requests processed at once; those that wait for a version, the log or a disk do not count."""
    queue: int = 128
    """Requests that may wait in addition; with one more the server is overloaded."""
    connections: int = 1000
    """Open connections of each interface."""
    connections_per_address: int = 500
    """Open HTTP connections from one address."""
    streams_per_connection: int = 1000
    """Calls and streams at once over one gRPC connection."""
    keepalive_seconds: float = 60.0
    """After which the server pings a silent gRPC connection."""
    keepalive_timeout_seconds: float = 20.0
    """Time for the answer to such a ping."""
    ping_seconds: float = 5.0
    """How often callers may ping; 0: as often as they like."""
    connection_age_seconds: float = 0.0
    """Age at which a gRPC connection is closed, after its calls; 0: never."""
    receive_seconds: float = 20.0
    """Time for a request to arrive: its head, its body, or its gRPC message."""
    batch_rows: int = 32
    """Rows of requests that are computed together at most, where that is quicker; 1: none are."""
    requests_bytes: int = 512 << 20
    """Memory that requests may hold at once: what came, what it expands to, and the answers."""

    @property
    def most_batched(self) -> int:
        """Requests that may wait at once to be computed together."""
        return self.queue // 2

    @property
    def most_waiting(self) -> int:
        """Requests that may wait for a version at once."""
        return max(1, min(MOST_WAITING, self.queue))
