"""What the processor talks to, as it sees them: each has a real part elsewhere and may be left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.proto.decode import Rejected
from thalweg.proto.event import Batch
from thalweg.proto.records import Position, Records
from thalweg.proto.schema import Array
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.evaluation.report import EvaluationReport
from thalweg.stream.learn.observer import NoObserver, Observer


class Publisher(Protocol):
    """Makes a version visible to servers; `models.published` has it."""

    def publish(self, predictor: Predictor, *, version: int, learned_events: int, event_time: float) -> None:
        """Show this version from now on. `event_time`: Unix seconds of the newest event in it, 0 if none."""

    def shown(self) -> int | None:
        """The version that is shown, perhaps by an earlier process; None: none is."""

    def confirm(self, as_of: float) -> None:
        """The version shown has everything that was in the log at this time (Unix seconds)."""


class Evaluator(Protocol):
    """Grades the answers that stood before each micro-batch was learned; saved with the state.

    A `Prequential` is one; one that watches for drift as well is a `DriftEvaluator`.
    """

    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        """Grade these answers."""

    def metrics(self) -> Mapping[str, float]:
        """Figures over all events so far."""

    def state(self) -> State:
        """Everything later figures depend on."""

    def restore(self, state: State) -> None:
        """Become the evaluator whose `state()` this was."""


@runtime_checkable
class DriftEvaluator(Evaluator, Protocol):
    """Raises alarms of drift, too, and makes reports; `Monitor` does."""

    def note_done(self, number: int, done: str) -> None:
        """Write down what was done about an alarm."""

    def report(self, now: float) -> EvaluationReport:
        """All that is to be shown, as it is at this time (Unix seconds)."""

    def news(self) -> Sequence[Alarm]:
        """Alarms of drift raised or ended since the last call."""


class Command(Protocol):
    """Something asked of the learner by a server or an operator."""

    @property
    def id(self) -> str:
        """Under which it is answered."""

    @property
    def verb(self) -> str:
        """`snapshot` or `rollback`."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """`rollback`: `version`."""


class Commands(Protocol):
    """Where commands to learners wait; `memory.store` has it."""

    def poll(self, model: str) -> Sequence[Command]:
        """The commands not yet given out."""

    def respond(self, id: str, result: Mapping[str, Any]) -> None:
        """What came of one."""


class DeadLetterSink(Protocol):
    """Where records go that cannot be used; `stream.dead_letters` has it."""

    def send(self, records: Records, rejected: Sequence[Rejected]) -> object:
        """Keep them byte for byte with their reasons. Raises LogError when they could not be kept."""

    def last_sent(self) -> Position:
        """Per partition the newest record that was sent, so that a replay sends none twice."""


class AlarmSink(Protocol):
    """Where alarms of drift go; `stream.alarms` has it."""

    def send(self, alarms: Sequence[Alarm]) -> None:
        """Keep these and those that wait; what cannot be kept now waits on."""

    def state(self) -> State:
        """What waits."""

    def restore(self, state: State) -> None:
        """Take up what waited when this was the `state()`."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where a processor's effects go, and where its commands come from; each may be left out."""

    publisher: Publisher | None = None
    """Shows versions to servers."""
    observer: Observer = field(default_factory=NoObserver)
    """Is told what happens."""
    commands: Commands | None = None
    """What operators ask for."""
    dead_letters: DeadLetterSink | None = None
    """Keeps records that cannot be used; None: they are named in the program's log."""
    alarms: AlarmSink | None = None
    """Keeps alarms of drift."""
