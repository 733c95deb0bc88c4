"""Log lines that others cause: at most a few in some time, with the number of those left out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

_SECONDS = 1.0
_MOST_KINDS = 256


class Rate:
    """Lets one line of each kind pass in so many seconds, and counts the others. Thread-safe.

    Args:
        clock: Seconds.
        seconds: Between two lines of one kind.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, seconds: float = _SECONDS) -> None:
        self._clock, self._seconds = clock, seconds
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, int]] = {}  # when a line passed, and how many were left out since

    def passes(self, kind: str) -> int | None:
        """How many lines of this kind were left out before this one; None: leave this one out, too."""
        now = self._clock()
        with self._lock:
            passed, left_out = self._last.get(kind, (-self._seconds, 0))
            if now - passed < self._seconds:
                self._last[kind] = (passed, left_out + 1)
                return None
            if len(self._last) >= _MOST_KINDS:
                self._last.clear()
            self._last[kind] = (now, 0)
            return left_out


class RareLog:
    """A structlog logger that writes at most one line a second per event text. Thread-safe.

    Args:
        log: The logger.
        clock: Seconds.
    """

    def __init__(self, log: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._rate = log, Rate(clock)

    def warning(self, event: str, **fields: Any) -> None:
        """As `log.warning`."""
        self._write(self._log.warning, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """As `log.error`."""
        self._write(self._log.error, event, fields)

    def failed(self, event: str, error: Exception, **fields: Any) -> None:
        """As `log.exception`; errors of one class are one kind."""
        left_out = self._rate.passes(f"{event} {type(error).__name__}")
        if left_out is not None:
            self._log.exception(event, exc_info=error, left_out=left_out, **fields)

    def _write(self, write: Callable[..., Any], event: str, fields: dict[str, Any]) -> None:
        left_out = self._rate.passes(event)
        if left_out is not None:
            write(event, **fields, **({"left_out": left_out} if left_out else {}))


class RareLines(logging.Filter):
    """The same for a logger of the standard library: lines of one template are one kind."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._rate = Rate(clock)

    def filter(self, record: logging.LogRecord) -> bool:
        return self._rate.passes(f"{record.name} {record.msg}"[:200]) is not None


def limit_lines(*names: str) -> None:
    """Limit the lines of these loggers of the standard library."""
    for name in names:
        logger = logging.getLogger(name)
        if not any(isinstance(one, RareLines) for one in logger.filters):
            logger.addFilter(RareLines())
