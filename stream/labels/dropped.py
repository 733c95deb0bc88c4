"""Items dropped because of an unexpected error: logged, counted by the caller, and reported for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

SAID_SECONDS = 600.0
"""How long after the last drop it is reported."""


@dataclass(slots=True)
class _Drops:
    items: int
    at: float
    problem: str


class Dropped:
    """One thread adds, any may read.

    Args:
        what: The message: the items and what failed.
        clock: Monotonic seconds.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._clock = what, clock
        self._models: dict[str, _Drops] = {}

    def note(self, model: str, errors: Iterable[Exception]) -> None:
        """One item of each of these models was dropped."""
        for error in errors:
            log.error(f"{self._what}: dropped", model=model, exc_info=error)
            before = self._models.get(model)
            problem = f"{type(error).__name__}: {error!s:.200}"
            self._models[model] = _Drops(1 if before is None else before.items + 1, self._clock(), problem)

    def degraded(self) -> list[str]:
        """The models with recent drops."""
        now = self._clock()
        return [
            f"model {name!r}: {self._what}: {drops.items} since the server started, the last for {drops.problem}"
            for name, drops in list(self._models.items())
            if now - drops.at < SAID_SECONDS
        ]
