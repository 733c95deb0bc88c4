"""What the loop tells whoever watches; `ops.learner_metrics` is one such watcher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from thalweg.models.contract.learner import Learner, Predictor
from thalweg.proto.event import Batch
from thalweg.proto.records import Partition
from thalweg.proto.schema import Array
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.log.log import Gap


class Observer(Protocol):
    """Called on the learner's thread, per micro-batch or rarer, never per event. Must be quick and must not raise."""

    def consumed(self, events: int) -> None:
        """So many events were taken from the log and understood (learned or not)."""

    def dead_lettered(self, reasons: Mapping[str, int]) -> None:
        """So many records, by reason, went to the dead-letter topic."""

    def duplicated(self, events: int) -> None:
        """So many events were dropped because their id had been seen."""

    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        """These answers stood before the batch was learned."""

    def learned(self, batch: Batch, seconds: float) -> None:
        """The micro-batch was learned in so long."""

    def block_done(self, learner: Learner, version: int, lag: Mapping[Partition, int]) -> None:
        """A block of micro-batches is done; the state has this version now."""

    def published(self, version: int, seconds: float, first_event_time: float | None) -> None:
        """Servers can see this version; the oldest event new in it was recorded at `first_event_time`."""

    def snapshotted(self, version: int, seconds: float, size_bytes: int) -> None:
        """A snapshot of this version is on disk."""

    def snapshot_failed(self, version: int, error: str) -> None:
        """A snapshot could not be written; the learner goes on and tries again."""

    def lost(self, gap: Gap) -> None:
        """Retention deleted records before they were read."""

    def rolled_back(self, version: int, cause: str) -> None:
        """The state is that of an older version again, under this new number."""

    def drifted(self, alarm: Alarm) -> None:
        """An alarm was raised, or has ended."""

    def acted(self, action: str) -> None:
        """What an alarm asks for was done: `snapshot`, `raise_forgetting`, `reset` or `rollback`."""


class NoObserver:
    """Watches nothing; also the base for watchers that want only some of it."""

    def consumed(self, events: int) -> None: ...
    def dead_lettered(self, reasons: Mapping[str, int]) -> None: ...
    def duplicated(self, events: int) -> None: ...
    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None: ...
    def learned(self, batch: Batch, seconds: float) -> None: ...
    def block_done(self, learner: Learner, version: int, lag: Mapping[Partition, int]) -> None: ...
    def published(self, version: int, seconds: float, first_event_time: float | None) -> None: ...
    def snapshotted(self, version: int, seconds: float, size_bytes: int) -> None: ...
    def snapshot_failed(self, version: int, error: str) -> None: ...
    def lost(self, gap: Gap) -> None: ...
    def rolled_back(self, version: int, cause: str) -> None: ...
    def drifted(self, alarm: Alarm) -> None: ...
    def acted(self, action: str) -> None: ...


def each(*watchers: object) -> Any:
    """One that tells several watchers of a kind, in order."""
    return _Each(watchers)


class _Each:
    def __init__(self, watchers: tuple[object, ...]) -> None:
        self._watchers = watchers

    def __getattr__(self, name: str) -> object:
        calls = [getattr(watcher, name) for watcher in self._watchers]

        def tell(*args: object) -> None:
            for call in calls:
                call(*args)

        setattr(self, name, tell)
        return tell
