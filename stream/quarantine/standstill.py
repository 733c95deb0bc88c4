"""A model that stands still: why, until when, and whether an operator wants it to go on."""

from __future__ import annotations

from dataclasses import replace

import structlog

from thalweg.stream.health.registry import Health
from thalweg.stream.quarantine.stop import Stop, StopMark

log = structlog.get_logger(__name__)


class Standstill:
    """Whether one model stands still; used on the learner's thread.

    Args:
        model: The model's name.
        mark: Keeps it over a restart.
        health: Hears of it.
    """

    def __init__(self, model: str, mark: StopMark, health: Health) -> None:
        self._model, self._mark, self._health = model, mark, health
        self._skip: bool | None = None
        self.stop: Stop | None = None
        """Where and why it stands; None: it does not."""

    def recall(self) -> int | None:
        """The version at which an earlier process stood; None if it did not."""
        self.stop = self._mark.read()
        if self.stop is None:
            return None
        self._say(self.stop)
        return self.stop.version

    def begin(self, stop: Stop) -> None:
        """Stand still from now on."""
        self.stop, self._skip = stop, None
        self._mark.write(stop)
        self._say(stop)

    def moved(self, version: int) -> None:
        """An operator's command led to this version, at which it stands now."""
        if self.stop is not None:
            self.stop = replace(self.stop, version=version)
            self._mark.write(self.stop)

    def resume(self, skip: bool) -> bool:
        """An operator wants it to go on; False if it does not stand still."""
        if self.stop is not None:
            self._skip = skip
        return self.stop is not None

    @property
    def told(self) -> str:
        """Why it stands still; empty if it does not, or is about to go on."""
        return "" if self.stop is None or self._skip is not None else self.stop.reason(self._model)

    def wait(self) -> bool:
        """Whether it has to stand still any longer; keeps its health up to date."""
        if self.stop is None or self._skip is not None:
            return False
        self._health.failed(self.stop.reason(self._model))
        return True

    def end(self) -> Stop | None:
        """It goes on; where it stood, if it must leave out what fails there."""
        stop, skip = self.stop, self._skip
        self.stop = self._skip = None
        self._mark.clear()
        self._health.running()
        log.warning("resumed", model=self._model, version=None if stop is None else stop.version, skip=bool(skip))
        return stop if skip else None

    def _say(self, stop: Stop) -> None:
        reason = stop.reason(self._model)
        self._health.failed(reason)
        log.error(reason, model=self._model)
