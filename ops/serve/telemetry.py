"""Interfaces through which a server reports its metrics; implemented by `ops.telemetry.server_metrics`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

REFUSAL_REASONS = (
    "overload",
    "control",
    "blocking",
    "loading",
    "operators",
    "streams",
    "half_open",
    "receive_timeout",
    "connections",
    "connections_per_address",
    "descriptors",
    "bytes_in_flight",
    "unauthenticated",
    "forbidden",
    "host",
    "origin",
    "rate",
    "tls",
)
"""Why requests, calls and connections are refused or ended early."""


class ServingObserver(Protocol):
    """Notified of every request, on its thread; must be quick and must not raise."""

    def answered(self, model: str, code: str, seconds: float, rows: int, queue_seconds: float = 0.0) -> None:
        """A prediction completed with this gRPC status name after `seconds`.

        `queue_seconds` is how long it waited for a thread before that.
        """

    def called(self, method: str, code: str, seconds: float) -> None:
        """A call of this full method name ended."""


@dataclass(frozen=True, slots=True)
class PredictionTotals:
    """Sums over the requests to one model since the server started."""

    succeeded: int = 0
    succeeded_seconds: float = 0.0
    """Of those that succeeded, without the queue."""
    failed: int = 0
    failed_seconds: float = 0.0
    rows: int = 0
    """Events predicted."""
    queue_seconds: float = 0.0
    """Waiting for slots, of those that succeeded."""
    last: float = 0.0
    """Unix seconds of the last one; 0: none."""


class ServingFigures(Protocol):
    """Figures of the server's process, for the page and for the protocols' statistics."""

    def totals(self, model: str) -> PredictionTotals:
        """Sums over the requests to a model."""

    def latency(self, model: str) -> dict[str, float | None]:
        """Latency over the last minute."""

    def freshness(self, model: str) -> dict[str, float | None]:
        """Freshness of a model's records over the last minute."""

    def processes(self) -> dict[str, dict[str, Any]]:
        """By role."""


class ServerTelemetry(ServingObserver, ServingFigures, Protocol):
    """Everything that a server needs for monitoring."""

    gauges: Mapping[str, Callable[[], float]]
    """What the server's interfaces hold now, by name; set by the server."""

    def start(self) -> None:
        """The server starts."""

    def close(self) -> None:
        """The server has ended; may be called twice, and without `start`."""

    def refused(self, reason: str) -> None:
        """A request, call or connection was refused or ended early for this reason. Must be quick."""

    def render(self) -> tuple[bytes, str]:
        """The metrics page and its content type."""


class NoTelemetry:
    """Ignores every notification."""

    gauges: Mapping[str, Callable[[], float]] = MappingProxyType({})

    def start(self) -> None: ...
    def close(self) -> None: ...
    def answered(self, model: str, code: str, seconds: float, rows: int, queue_seconds: float = 0.0) -> None: ...
    def called(self, method: str, code: str, seconds: float) -> None: ...
    def refused(self, reason: str) -> None: ...

    def totals(self, model: str) -> PredictionTotals:
        return PredictionTotals()

    def latency(self, model: str) -> dict[str, float | None]:
        return {}

    def freshness(self, model: str) -> dict[str, float | None]:
        return {}

    def processes(self) -> dict[str, dict[str, Any]]:
        return {}

    def render(self) -> tuple[bytes, str]:
        return b"", "text/plain"
