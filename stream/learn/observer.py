"""The notifications that the processing loop sends to observers, such as `ops.telemetry.learner_metrics`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from thalweg.models.contract.gauges import GaugeSpec, GaugeValue
from thalweg.models.contract.learner import Learner
from thalweg.proto.records import Partition
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.evaluation.report import EvaluationReport
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.log.log import Gap


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerReport:
    """An immutable snapshot of a model's status after one entry of its journal."""

    time: float
    """When the report was made, Unix seconds."""
    version: int
    """Journal entries applied."""
    learned: int
    """Labelled events in the state."""
    state_bytes: int
    """Size of the learner's state."""
    gauges: Mapping[str, GaugeValue]
    """The learner's gauges, by name."""
    gauges_declared: Sequence[GaugeSpec]
    """The declarations of those gauges."""
    lag: Mapping[Partition, int]
    """Records not yet consumed, by partition."""
    newest_time: float | None
    """Unix seconds of the newest event of the latest micro-batch; None before the first."""
    batch_events: int | None = None
    """Events per micro-batch of the latest block; None before the first."""
    evaluation: EvaluationReport | None
    """None without an evaluator."""


class Observer(Protocol):
    """Called on the learner's thread, once per block or less often, never per event. Must be quick and must not raise.

    Blocks that are learned again after a crash are not reported again, except for their alarms.
    """

    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None:
        """A block is in the state of `learner`; `lag`: records not yet consumed, by partition. Its alarms are not acted
        on yet.
        """

    def reported(self, report: LearnerReport) -> None:
        """A status report: about once a second while the model changes, and once within a second after that."""

    def published(self, version: int, seconds: float, first_event_time: float | None) -> None:
        """This version is visible to the servers; its oldest new event has the time `first_event_time`."""

    def snapshotted(self, version: int, seconds: float, size_bytes: int) -> None:
        """A snapshot of this version is on disk."""

    def snapshot_failed(self, version: int, error: str) -> None:
        """A snapshot could not be written; the learner continues and tries again."""

    def quarantined(self, reasons: Mapping[str, int]) -> None:
        """This many events, by reason, cannot be learned: they were left out and sent to the dead letters."""

    def lost(self, gap: Gap) -> None:
        """Retention deleted records before they were read."""

    def log_replaced(self, topic: str) -> None:
        """The topic was deleted and created again since the saved state, and is read from its beginning, or is an
        older copy of what was read, and learned on where the two part.
        """

    def rolled_back(self, version: int, cause: str) -> None:
        """The state is that of an older version, under this new version number."""

    def drifted(self, alarm: Alarm) -> None:
        """An alarm was raised or ended."""

    def acted(self, action: str) -> None:
        """An alarm's action was taken: `snapshot`, `raise_forgetting`, `reset` or `rollback`."""


class NoObserver:
    """Ignores every notification; also the base class of observers that need only some."""

    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None: ...
    def reported(self, report: LearnerReport) -> None: ...
    def published(self, version: int, seconds: float, first_event_time: float | None) -> None: ...
    def snapshotted(self, version: int, seconds: float, size_bytes: int) -> None: ...
    def snapshot_failed(self, version: int, error: str) -> None: ...
    def quarantined(self, reasons: Mapping[str, int]) -> None: ...
    def lost(self, gap: Gap) -> None: ...
    def log_replaced(self, topic: str) -> None: ...
    def rolled_back(self, version: int, cause: str) -> None: ...
    def drifted(self, alarm: Alarm) -> None: ...
    def acted(self, action: str) -> None: ...


def each(*watchers: object) -> Any:
    """An observer that passes each notification to several, in order."""
    return _Each(watchers)


class _Each:
    def __init__(self, watchers: tuple[object, ...]) -> None:
        self._watchers = watchers
        # attributes of its own: since Python 3.12 a protocol does not ask `__getattr__` whether a method is there
        for name in set.intersection(*(set(dir(watcher)) for watcher in watchers)):
            calls = [getattr(watcher, name) for watcher in watchers] if not name.startswith("_") else []
            if calls and all(map(callable, calls)):
                setattr(self, name, _told_to_all(calls))

    def __getattr__(self, name: str) -> Callable[..., None]:
        """What a watcher takes without saying so."""
        return _told_to_all([getattr(watcher, name) for watcher in self._watchers])


def _told_to_all(calls: Sequence[Callable[..., object]]) -> Callable[..., None]:
    def tell(*args: object) -> None:
        for call in calls:
            call(*args)

    return tell
