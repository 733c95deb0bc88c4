"""Interfaces to the processor's surroundings; each is optional."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.proto.decode import Rejected
from thalweg.proto.event import Batch, Decoded
from thalweg.proto.records import Partition, Position, Records
from thalweg.proto.schema import Array
from thalweg.stream.comparison.loss_log import LossSink
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.drift.digest import Digest
from thalweg.stream.evaluation.report import EvaluationReport
from thalweg.stream.freshness.tracker import NoTracker, Tracker
from thalweg.stream.health.registry import Health
from thalweg.stream.journal.entries import AveragingEntry
from thalweg.stream.learn.observer import NoObserver, Observer
from thalweg.stream.quarantine.attempts import Attempts, NoAttempts
from thalweg.stream.quarantine.stop import InMemoryStopMark, StopMark
from thalweg.stream.registry.schemas import KnownSchemas


class Publisher(Protocol):
    """Makes versions visible to the servers; implemented in `stream.publication`."""

    def publish(self, predictor: Predictor, *, version: int, learned_events: int, event_time: float) -> None:
        """Publish this version. `event_time`: Unix seconds of its newest event, 0 if there is none."""

    def shown(self) -> int | None:
        """The published version, perhaps from an earlier process; None if there is none."""

    def confirm(self, as_of: float) -> None:
        """Confirm that the published version contains all of the log up to this time (Unix seconds)."""


class Evaluator(Protocol):
    """Grades the predictions made before each micro-batch is learned; saved with the state.

    `Prequential` implements it; an evaluator that also detects drift is a `DriftEvaluator`.
    """

    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        """Grade these outputs, predicted before the batch was learned."""

    def metrics(self) -> Mapping[str, float]:
        """Metrics over all events so far."""

    def state(self) -> State:
        """The state that later metrics depend on."""

    def restore(self, state: State) -> None:
        """Restore from `state()`."""


@runtime_checkable
class DriftEvaluator(Evaluator, Protocol):
    """An evaluator that also raises drift alarms and makes reports, as `Monitor` does."""

    def note_done(self, number: int, done: str) -> None:
        """Record what was done about an alarm."""

    def state_replaced(self, how: str) -> None:
        """The model was rolled back or begun anew: recent figures of the state before do not apply to it."""

    def recent(self) -> Mapping[str, float]:
        """Metrics over the recent window."""

    def report(self, now: float) -> EvaluationReport:
        """The report as of this time (Unix seconds)."""

    def news(self) -> Sequence[Alarm]:
        """Drift alarms raised or ended since the last call."""

    def digest_news(self) -> Sequence[Digest]:
        """Digests of drift that is no news, which ended since the last call."""


class Command(Protocol):
    """A command to the learner from a server or an operator."""

    @property
    def id(self) -> str:
        """Identifies the command in the response."""

    @property
    def verb(self) -> str:
        """`snapshot`, `rollback` or `resume`."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """`rollback`: `version`; `resume`: `skip`."""


class Commands(Protocol):
    """The queue of commands to learners; implemented by `memory.store`."""

    def poll(self, model: str) -> Sequence[Command]:
        """The commands not yet delivered."""

    def respond(self, id: str, result: Mapping[str, Any]) -> None:
        """Respond to a command with its result."""


class Siblings(Protocol):
    """The other shards of a model, with which parameters are averaged; implemented by `stream.averaging`."""

    def entry(self, learner: Learner, version: int, learned: int) -> AveragingEntry | None:
        """The entry that follows this version, if it is time for one; `learned`: labelled events in the state."""

    def close(self) -> None:
        """Close what they are read by."""


class DeadLetterSink(Protocol):
    """Receives invalid records; implemented by `stream.dead_letters`."""

    def send(self, records: Records, rejected: Sequence[Rejected]) -> object:
        """Store the records byte for byte, with reasons. Raises LogError if that fails."""

    def last_sent(self) -> Position:
        """The newest record sent per partition, so that a replay sends none twice."""

    def recently_sent(self, reason: str = "") -> Collection[tuple[Partition, int]]:
        """The records among the newest dead letters that were sent for this reason; empty: for any."""


class AlarmSink(Protocol):
    """Receives drift alarms; implemented by `stream.alarms`."""

    def send(self, alarms: Sequence[Alarm], digests: Sequence[Digest] = ()) -> None:
        """Send these alarms and digests and all pending ones; those that fail stay pending. Does not block."""

    def settle(self, seconds: float) -> None:
        """Wait at most so long for those that are being sent."""

    def state(self) -> State:
        """The pending alarms."""

    def restore(self, state: State) -> None:
        """Restore the pending alarms from `state()`."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The outputs of a processor and the source of its commands; each is optional."""

    publisher: Publisher | None = None
    """Makes versions visible to the servers."""
    observer: Observer = field(default_factory=NoObserver)
    """Notified of what happens."""
    tracker: Tracker = field(default_factory=NoTracker)
    """Follows records to the version that has learned them."""
    commands: Commands | None = None
    """Commands from operators."""
    dead_letters: DeadLetterSink | None = None
    """Receives invalid records; None: they are only logged."""
    alarms: AlarmSink | None = None
    """Receives drift alarms."""
    health: Health = field(default_factory=Health)
    """The learner's health, reported by the processor."""
    saving: Health = field(default_factory=Health)
    """Whether snapshots can be written."""
    publishing: Health = field(default_factory=Health)
    """Whether versions can be published."""
    schemas: KnownSchemas | None = None
    """Schemas of records framed for a schema registry."""
    history: Callable[[], Iterable[Decoded]] | None = None
    """Events that a new model learns before those of the log; None: there are none."""
    stop_mark: StopMark = field(default_factory=InMemoryStopMark)
    """Whether the circuit breaker has stopped the model."""
    attempts: Attempts = field(default_factory=NoAttempts)
    """Finds a block that ends the process."""
    siblings: Siblings | None = None
    """The other shards of the model, where parameters are averaged with theirs."""
    losses: LossSink | None = None
    """Where the losses of events go, to be compared with those of other models; None: they are not computed."""
