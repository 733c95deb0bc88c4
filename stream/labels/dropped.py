"""What was dropped for an error that nobody foresaw: logged, counted by who drops it, and said for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

SAID_SECONDS = 600.0
"""For so long after the last drop it is said that there was one."""


@dataclass(slots=True)
class _Drops:
    items: int
    at: float
    problem: str


class Dropped:
    """One thread notes, any may read.

    Args:
        what: What the items are, and what did not become of them.
        clock: Seconds that never go back.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._clock = what, clock
        self._models: dict[str, _Drops] = {}

    def note(self, model: str, errors: Iterable[Exception]) -> None:
        """An item of this model was dropped for each of these."""
        for error in errors:
            log.error(f"{self._what}: dropped", model=model, exc_info=error)
            before = self._models.get(model)
            problem = f"{type(error).__name__}: {error!s:.200}"
            self._models[model] = _Drops(1 if before is None else before.items + 1, self._clock(), problem)

    def degraded(self) -> list[str]:
        """Of which models something was dropped of late."""
        now = self._clock()
        return [
            f"model {name!r}: {self._what}: {drops.items} since the server started, the last for {drops.problem}"
            for name, drops in list(self._models.items())
            if now - drops.at < SAID_SECONDS
        ]
