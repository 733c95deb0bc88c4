"""What the loop tells whoever watches; `ops.learner_metrics` is one such watcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """A model after the same entry of its journal; nothing in it changes any more."""

    time: float
    """When it was made, Unix seconds."""
    version: int
    """Journal entries applied."""
    learned: int
    """Labelled events in the state."""
    state_bytes: int
    """Size of the learner's state."""
    gauges: Mapping[str, GaugeValue]
    """What the learner gives the operator, by name."""
    gauges_declared: Sequence[GaugeSpec]
    """What it says those are."""
    lag: Mapping[Partition, int]
    """Records that wait, by partition."""
    newest_time: float | None
    """Unix seconds of the newest event of the latest micro-batch; None before the first."""
    evaluation: EvaluationReport | None
    """None: nobody grades."""


class Observer(Protocol):
    """Called on the learner's thread, per block or rarer, never per event. Must be quick and must not raise.

    What a start after a crash learns again is not told again, but for its alarms.
    """

    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None:
        """A block is in the state of `learner`, and so many records of each partition wait; nothing was done yet about
        the alarms it raised."""

    def reported(self, report: LearnerReport) -> None:
        """How the model is doing: about once a second while it changes, and once more within a second after that."""

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

    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None: ...
    def reported(self, report: LearnerReport) -> None: ...
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
