"""Interfaces through which a server reports its metrics; implemented by `ops.telemetry.server_metrics`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


class ServingFigures(Protocol):
    """Figures of the server's process, for the page."""

    def latency(self, model: str) -> dict[str, float | None]:
        """Latency over the last minute."""

    def processes(self) -> dict[str, dict[str, Any]]:
        """By role."""


class ServerTelemetry(ServingObserver, ServingFigures, Protocol):
    """Everything that a server needs for monitoring."""

    gauges: Mapping[str, Callable[[], float]]
    """What the server's interfaces hold now, by name; set by the server."""

    def refused(self, reason: str) -> None:
        """A request, call or connection was refused or ended early for this reason. Must be quick."""

    def render(self) -> tuple[bytes, str]:
        """The metrics page and its content type."""


class NoTelemetry:
    """Ignores every notification."""

    gauges: Mapping[str, Callable[[], float]] = MappingProxyType({})

    def answered(self, model: str, code: str, seconds: float, rows: int, queue_seconds: float = 0.0) -> None: ...
    def called(self, method: str, code: str, seconds: float) -> None: ...
    def refused(self, reason: str) -> None: ...

    def latency(self, model: str) -> dict[str, float | None]:
        return {}

    def processes(self) -> dict[str, dict[str, Any]]:
        return {}

    def render(self) -> tuple[bytes, str]:
        return b"", "text/plain"
