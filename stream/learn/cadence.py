"""When to publish: after every block while that is cheap, else at the rate that keeps to its share of the time."""

from __future__ import annotations

import math
import time

import structlog

from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.observer import Observer
from thalweg.stream.learn.ports import Publisher

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 1.0


class PublishCadence:
    """Hands a fold's predictor to a publisher, at its own pace."""

    def __init__(self, publisher: Publisher | None, observer: Observer, share: float) -> None:
        self._publisher = publisher
        self._observer = observer
        self._share = share
        self._version = -1
        self._not_before = 0.0
        self._oldest_waiting: float | None = None

    def taken(self, oldest: float) -> None:
        """Events were learned, the oldest recorded at this time (Unix seconds), that nobody can see yet."""
        if self._oldest_waiting is None:
            self._oldest_waiting = oldest

    def due_seconds(self) -> float:
        """How long until its turn comes to show what nobody can see yet; infinite where there is nothing of it."""
        if self._publisher is None or self._oldest_waiting is None:
            return math.inf
        return max(0.0, self._not_before - time.monotonic())

    def behind(self, version: int) -> bool:
        """Whether nothing is shown, by an earlier process neither, or less than this version."""
        if self._publisher is None:
            return False
        shown = self._publisher.shown()
        return shown is None or shown < version

    def publish(self, fold: Fold, *, now: bool) -> None:
        """Show the fold's version if it is new and its turn has come, or if it must be `now`."""
        started = time.monotonic()
        if self._publisher is None or fold.version == self._version or (started < self._not_before and not now):
            return
        try:
            self._publisher.publish(
                fold.learner.predictor(),
                version=fold.version,
                learned_events=fold.learned,
                event_time=fold.event_time,
            )
        except OSError as error:  # its folder is full, say: what was shown before still is
            log.error("cannot publish: learning goes on, servers answer from the version before", problem=str(error))
            self._not_before = time.monotonic() + _AGAIN_SECONDS
            return
        seconds = time.monotonic() - started
        self._not_before = started + seconds / self._share
        self._version = fold.version
        self._observer.published(fold.version, seconds, self._oldest_waiting)
        self._oldest_waiting = None

    def confirm(self, as_of: float) -> None:
        """What is shown has everything that was in the log at this time, unless a newer version waits its turn."""
        if self._publisher is not None and self._oldest_waiting is None:
            self._publisher.confirm(as_of)
