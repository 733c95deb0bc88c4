"""What a server tells of itself, as its parts see it; `ops.telemetry.server_metrics` has the real one."""

from __future__ import annotations

from typing import Any, Protocol


class ServingObserver(Protocol):
    """Notified of every request, on the thread that answered it; must be quick and must not raise."""

    def answered(self, model: str, code: str, seconds: float, rows: int, queue_seconds: float = 0.0) -> None:
        """A prediction was answered (or refused) with this gRPC status name after so long.

        `queue_seconds` is how long it had waited for a thread before that.
        """

    def called(self, method: str, code: str, seconds: float) -> None:
        """A call of this full method name ended."""


class ServingFigures(Protocol):
    """What the server's process counts, for the page."""

    def latency(self, model: str) -> dict[str, float | None]:
        """Of the recent minute."""

    def processes(self) -> dict[str, dict[str, Any]]:
        """By role."""


class ServerTelemetry(ServingObserver, ServingFigures, Protocol):
    """All that a server needs to be watched."""

    def render(self) -> tuple[bytes, str]:
        """The metrics page and its content type."""


class NoTelemetry:
    """Watches nothing."""

    def answered(self, model: str, code: str, seconds: float, rows: int, queue_seconds: float = 0.0) -> None: ...
    def called(self, method: str, code: str, seconds: float) -> None: ...

    def latency(self, model: str) -> dict[str, float | None]:
        return {}

    def processes(self) -> dict[str, dict[str, Any]]:
        return {}

    def render(self) -> tuple[bytes, str]:
        return b"", "text/plain"
