"""Decides when to publish: after every block if that is cheap, otherwise within a share of the time.

A version is published once its journal entry is on disk: what servers have shown survives a power cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import structlog

from thalweg.stream.exceptions import first_line
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.ports import Ports
from thalweg.stream.runtime import REAL, Runtime
from thalweg.stream.usual_time import UsualTime

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 1.0
_DISK_SHARE = 0.25  # maximum share of the time for waiting until the journal is on disk; the learner does not work then


class PublishCadence:
    """Publishes a fold's predictor, at a rate that keeps to the share of time for publishing.

    Args:
        ports: Makes versions visible, and is told of each; without a publisher nothing is published.
        flush: Returns when the journal is on disk; raises OSError.
        share: Maximum share of the time for publishing.
        runtime: Clocks.
    """

    def __init__(self, ports: Ports, flush: Callable[[], None], share: float, runtime: Runtime = REAL) -> None:
        self._publisher, self._observer, self._tracker = ports.publisher, ports.observer, ports.tracker
        self._health = ports.publishing
        self._ticks, self._clock = runtime.ticks, runtime.clock
        self._flush = flush
        self._share = share
        self._version = -1
        self._not_before = 0.0
        self._flushing, self._publishing = UsualTime(), UsualTime()
        self._oldest_waiting: float | None = None
        self._unconfirmed = False

    def taken(self, oldest: float) -> None:
        """Record that events were learned which are not published yet; the oldest has this time (Unix seconds)."""
        if self._oldest_waiting is None:
            self._oldest_waiting = oldest

    def due_seconds(self) -> float:
        """Seconds until the next publication is due; infinite if everything is published."""
        if self._publisher is None or self._oldest_waiting is None:
            return math.inf
        return max(0.0, self._not_before - self._ticks())

    def due(self) -> bool:
        """Whether a version that is ready now would be published."""
        return self._publisher is not None and self._ticks() >= self._not_before

    def behind(self, version: int) -> bool:
        """Whether no version is published (by an earlier process either), or only one below `version`."""
        if self._publisher is None:
            return False
        shown = self._publisher.shown()
        return shown is None or shown < version

    def publish(self, fold: Fold, *, now: bool) -> None:
        """Publish the fold's version if it is new and publication is due, or in any case if `now`."""
        started = self._ticks()
        if self._publisher is None or fold.version == self._version or (started < self._not_before and not now):
            return
        try:
            self._flush()
            flushed = self._ticks()
            self._tracker.publishing(fold.version, self._clock())
            self._publisher.publish(
                fold.learner.predictor(),
                version=fold.version,
                learned_events=fold.learned,
                event_time=fold.event_time,
            )
        except Exception as error:  # a full folder, or a predictor without a state; the version before stays visible
            problem = str(error) if isinstance(error, OSError) else first_line(error)
            log.error(
                "cannot publish a version: learning continues, servers keep the previous version", problem=problem
            )
            self._not_before = self._ticks() + _AGAIN_SECONDS
            self._health.degraded(f"version {fold.version} cannot be published: {problem}")
            return
        self._health.running()
        done = self._ticks()
        self._not_before = max(
            flushed + self._publishing.after(done - flushed) / self._share,
            started + self._flushing.after(flushed - started) / _DISK_SHARE,
        )
        self._version = fold.version
        self._tracker.published(fold.version, self._clock())
        self._observer.published(fold.version, done - started, self._oldest_waiting)
        self._oldest_waiting = None

    def confirm(self, as_of: float) -> None:
        """Confirm that the published version contains all of the log up to this time, unless a newer one waits to be
        published.
        """
        if self._publisher is not None and self._oldest_waiting is None:
            try:
                self._publisher.confirm(as_of)
            except OSError as error:  # servers keep the version, and learning goes on
                self._unconfirmed = True
                self._health.degraded(f"the published version cannot be confirmed: {error}")
            else:
                if self._unconfirmed:
                    self._health.running()
                self._unconfirmed = False
