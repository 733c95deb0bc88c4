"""How a shard hands on what it has learned: the state of its learner, at most every so many seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.stream.publication.file_channel import FilePublisher


class _Waiting(NamedTuple):
    version: int
    learned_events: int
    event_time: float


class _Whole:
    """A learner as what is published: its whole state."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def state(self) -> State:
        return self._learner.state()


class ShardPublisher:
    """Publishes the state of a shard's learner where other models publish their predictor's. One thread uses it: that
    of the learner.

    A version that comes too soon after the one before is published when it is due: the loop confirms several times a
    second that it has read all there is, and learns nothing in between.

    Args:
        folder: `live/M~P`.
        learner: The one whose predictors are given to `publish`.
        seconds: Between two versions, at least.
        noted: Further meta of every state.
        clock: Unix seconds.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        folder: Path,
        learner: Learner,
        seconds: float,
        noted: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publisher = FilePublisher(folder, clock, lambda: _Whole(learner), noted)
        self._learner, self._seconds, self._ticks = learner, seconds, ticks
        self._not_before = ticks()
        self._waiting: _Waiting | None = None

    def shown(self) -> int | None:
        """As of `FilePublisher`."""
        return self._publisher.shown()

    def publish(self, predictor: Predictor, *, version: int, learned_events: int, event_time: float) -> None:
        """Publish this version, or note that it is to be published. Raises OSError as `FilePublisher`."""
        self._waiting = _Waiting(version, learned_events, event_time)
        if self._ticks() >= self._not_before:
            self._publish()

    def confirm(self, as_of: float) -> None:
        """The learner's state contains everything that was in the log at this time. Raises OSError as `publish`."""
        if self._waiting is not None:
            if self._ticks() < self._not_before:
                return
            self._publish()
        self._publisher.confirm(as_of)

    def flush(self) -> None:
        """Publish what waits, due or not: for a shard that is released in order. Raises OSError as `publish`."""
        if self._waiting is not None:
            self._publish()

    def close(self) -> None:
        """Close; the published version stays. What waits is not published: after an error the learner is undefined."""
        self._publisher.close()

    def _publish(self) -> None:
        assert self._waiting is not None
        began, waiting = self._ticks(), self._waiting
        self._publisher.publish(_Whole(self._learner), **waiting._asdict())
        self._waiting, self._not_before = None, began + self._seconds
