"""How many of a model's recent requests were not answered because its predictor raised: a bug, or a state that does not
fit this version of the software. Callers are told of an internal error each time; here it becomes the model's health.
"""

from __future__ import annotations

from collections import deque

from thalweg.stream.exceptions import first_line
from thalweg.stream.health.registry import Health

WINDOW = 100
"""The newest requests that count: those that were answered, and those that ended with an internal error."""
SHARE = 0.1
"""Degraded from this share of them on."""


class RecentAnswers:
    """The outcomes of the newest requests to a model. Thread-safe; cheap enough for each request.

    Args:
        health: Of the model's predictor; `running` from the first answer on.
    """

    def __init__(self, health: Health | None = None) -> None:
        self._health = health or Health("predictor")
        self._failed: deque[bool] = deque(maxlen=WINDOW)  # appending needs no lock
        self._well = False
        self._last = ""

    def answered(self) -> None:
        """A request was answered."""
        self._failed.append(False)
        if not self._well:
            self._look()

    def raised(self, error: Exception, version: int) -> None:
        """A request was not: the predictor of this version raised an error that no caller causes."""
        self._failed.append(True)
        self._last = f"version {version}: {first_line(error)}"
        self._look()

    def _look(self) -> None:
        window = self._failed.copy()
        failed = sum(window)
        self._well = failed < SHARE * len(window)
        if self._well:
            self._health.running()
        else:
            newest = f"{failed} of the newest {len(window)} requests" if len(window) > 1 else "the newest request"
            self._health.degraded(f"{newest} ended with an internal error; the last one, {self._last}")
