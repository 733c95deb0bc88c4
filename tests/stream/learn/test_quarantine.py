"""What a learner cannot learn is found, left out in every replay, and kept; too much of it stops the model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.services.processes import PATIENCE, until
from tests.stream.chain import Chain, ChainPredictor
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.memory.snapshots.state import State
from thalweg.proto.encode import EVENT_BATCH_HEADERS, to_event_batch
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.records import Partition, Records
from thalweg.proto.schema import Array
from thalweg.stream.health.registry import Condition, Health
from thalweg.stream.journal.entries import BlockEntry, Entry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import InMemoryJournal, Journal
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.observer import NoObserver
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.rebuild import rebuild
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.quarantine.stop import FileStopMark, InMemoryStopMark, StopMark

T = Partition("t", 0)
SETTINGS = ProcessorSettings(
    model="m",
    topic="t",
    batch_events=4,
    batch_seconds=0,
    idle_seconds=0,
    snapshot_events=10**9,
    snapshot_seconds=1e9,
    block_bytes=600,  # about ten events
)


class Crash(BaseException):
    """The process dies here."""


class Poisoned(Chain):
    """Cannot learn some events, and has changed its state when it finds out."""

    def __init__(self, *poison: float) -> None:
        super().__init__()
        self.poison = poison
        self.raised = 0

    def learn(self, batch: Batch) -> None:
        super().learn(batch)
        bad = [value for value in batch.inputs["features"][:, 0].tolist() if value in self.poison]
        if bad:
            self.raised += 1
            raise ValueError(f"cannot learn {bad[0]:g}\nand more about it")


class Everything(Chain):
    """Cannot learn anything while it is ill."""

    ill = True

    def learn(self, batch: Batch) -> None:
        super().learn(batch)
        if self.ill:
            raise ArithmeticError("no weights left")


class Watcher(NoObserver):
    def __init__(self) -> None:
        self.versions: list[int] = []
        self.quarantines: list[Mapping[str, int]] = []
        self.rollbacks: list[int] = []

    def block_done(self, outcome: Any, learner: Any, lag: Any) -> None:
        self.versions.append(outcome.version)

    def quarantined(self, reasons: Mapping[str, int]) -> None:
        self.quarantines.append(reasons)

    def rolled_back(self, version: int, cause: str) -> None:
        self.rollbacks.append(version)


def event(i: int) -> Message:
    return Message(json.dumps({"inputs": {"features": [i, 0]}, "label": i % 3}).encode(), time=float(i))


def log_of(count: int) -> InMemoryLog:
    log = InMemoryLog()
    log.append("t", [event(i) for i in range(count)])
    return log


class House:
    """What outlives a processor."""

    def __init__(self, events: int = 50, journal: Callable[[], Journal] | None = None, **settings: Any) -> None:
        self.log = log_of(events)
        self.snapshots = InMemorySnapshots(keep=100)
        memory = InMemoryJournal()
        self.journal = journal or (lambda: memory)
        self.settings = replace_settings(**settings)
        self.commands = InMemoryCommandQueue()
        self.mark: StopMark = InMemoryStopMark()
        self.watcher = Watcher()
        self.health = Health("learner", "m")

    def processor(self, learner: Chain, *, wrapped: Callable[[Any], Any] = lambda part: part, **more: Any) -> Processor:
        return Processor(
            learner,
            self.log,
            self.snapshots,
            self.settings,
            journal=wrapped(self.journal()),
            ports=Ports(
                dead_letters=wrapped(DeadLetters(self.log, "t", "m")),
                observer=self.watcher,
                commands=self.commands,
                health=self.health,
                stop_mark=wrapped(self.mark),
            ),
            **more,
        )

    def run(self, learner: Chain, **more: Any) -> Processor:
        processor = self.processor(learner, **more)
        processor.run(until_end=True)
        return processor

    def forget_snapshots(self) -> None:
        """As if the process had died before it saved any but the first."""
        for manifest in self.snapshots.manifests()[1:]:
            del self.snapshots._kept[manifest.version]

    def letters(self) -> list[tuple[int, str, str]]:
        return [(one.offset, one.reason, one.detail) for one in DeadLetters(self.log, "t", "m").newest(5000)]

    def entries(self) -> list[Entry]:
        return list(self.journal().entries(0))

    def rebuilt(self, version: int, learner: Callable[[], Chain] = Chain) -> str:
        """Hash of a version that is learned again by a learner that would learn everything."""
        return rebuild(learner, self.log, InMemorySnapshots(), self.journal(), self.settings, version).state_sha256


def replace_settings(**settings: Any) -> ProcessorSettings:
    return ProcessorSettings(**{**SETTINGS.model_dump(), **settings})


def test_an_event_that_cannot_be_learned_is_left_out_kept_and_named_and_the_stream_goes_on() -> None:
    house = House()

    processor = house.run(Poisoned(13, 14, 37))

    assert processor.events_learned == 47
    assert house.letters() == [(i, "learner_error", f"ValueError: cannot learn {i}") for i in (13, 14, 37)]
    entries = house.entries()
    assert [entry.version for entry in entries] == list(range(1, processor.version + 1))
    skips = [skip for entry in entries if isinstance(entry, BlockEntry) for skip in entry.skipped]
    assert [(skip.offset, skip.row, skip.cause) for skip in skips] == [
        (i, 0, f"ValueError: cannot learn {i}") for i in (13, 14, 37)
    ]
    assert house.watcher.versions == list(range(1, processor.version + 1))
    assert sum(one["learner_error"] for one in house.watcher.quarantines) == 3
    newest = house.snapshots.newest()
    assert newest is not None
    assert newest.manifest.state_sha256 == processor.state_sha256 == house.rebuilt(processor.version)


def test_a_restart_learns_the_same_and_asks_the_learner_for_no_such_event_again() -> None:
    house = House()
    first = house.run(Poisoned(13, 37))
    sent = house.letters()
    house.forget_snapshots()
    again = Poisoned(13, 37)

    second = house.run(again)

    assert second.state_sha256 == first.state_sha256
    assert again.raised == 0
    assert house.letters() == sent


class Killer:
    """Kills the process before or after its n-th step outside."""

    def __init__(self, at: int) -> None:
        self.left = at

    def step(self) -> None:
        """At -1 it never kills."""
        if self.left == 0:
            raise Crash
        self.left = max(-1, self.left - 1)

    def __call__(self, part: Any) -> Any:
        return _Fragile(part, self)


class _Fragile:
    def __init__(self, part: Any, killer: Killer) -> None:
        self._part, self._killer = part, killer

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name not in ("append", "send", "truncate", "recently_sent", "write", "clear"):
            return found

        def call(*arguments: Any) -> Any:
            self._killer.step()
            result = found(*arguments)
            self._killer.step()
            return result

        return call


class KilledLearner(Poisoned):
    def __init__(self, killer: Killer, *poison: float) -> None:
        super().__init__(*poison)
        self.killer = killer

    def learn(self, batch: Batch) -> None:
        self.killer.step()
        super().learn(batch)


@pytest.mark.parametrize("files", [False, True])
def test_wherever_the_process_dies_the_state_is_that_of_an_undisturbed_run_and_no_letter_is_lost(
    tmp_path: Path, files: bool
) -> None:
    undisturbed = House(30)
    expected = undisturbed.run(Poisoned(3, 13, 14)).state_sha256
    kills = 0
    while True:
        house = House(30, partial(FileJournal, tmp_path / f"{kills}") if files else None)
        killer, dead = Killer(kills), False
        processor = house.processor(KilledLearner(killer, 3, 13, 14), wrapped=killer)
        try:
            processor.run(until_end=True)
        except Crash:
            dead = True

        after = house.run(Poisoned(3, 13, 14))

        assert after.state_sha256 == expected
        assert house.entries() == undisturbed.entries()
        assert {offset for offset, _, _ in house.letters()} == {3, 13, 14}
        assert len(house.letters()) <= 4  # at most the one that was on its way is there twice
        if not dead:
            break
        kills += 1
    assert kills > 30


def test_a_journal_from_before_whose_blocks_raise_now_is_replayed_past_them() -> None:
    house = House()
    first = house.processor(Chain())
    first.recover()
    first.run(until_end=True)
    before = house.entries()
    house.forget_snapshots()
    second = Poisoned(13, 37)

    processor = house.run(second)
    third = Poisoned(13, 37)
    house.forget_snapshots()
    again = house.run(third)

    after = house.entries()
    assert [replace(one, skipped=()) for one in after if isinstance(one, BlockEntry)] == before
    assert sorted(offset for offset, _, _ in house.letters()) == [13, 37]
    assert processor.state_sha256 == again.state_sha256 == house.rebuilt(processor.version)
    assert third.raised == 0


def test_a_fault_that_passes_costs_no_event() -> None:
    class Once(Chain):
        left = 1

        def learn(self, batch: Batch) -> None:
            super().learn(batch)
            if self.left and 13 in batch.inputs["features"][:, 0]:
                self.left -= 1
                raise MemoryError

    house = House()

    processor = house.run(Once())

    assert processor.events_learned == 50
    assert house.letters() == []
    assert processor.state_sha256 == house.rebuilt(processor.version)


@pytest.mark.parametrize("error", [RecursionError, MemoryError, KeyError, AssertionError, OSError])
def test_it_is_found_whatever_it_raises(error: type[Exception]) -> None:
    class Raises(Chain):
        def learn(self, batch: Batch) -> None:
            if 13 in batch.inputs["features"][:, 0]:
                raise error

    house = House(20)

    assert house.run(Raises()).events_learned == 19
    assert house.letters() == [(13, "learner_error", error.__name__)]


class Grader:
    """An evaluator that cannot grade some events."""

    def __init__(self, *poison: float) -> None:
        self.poison = poison
        self.graded = 0

    def predicted(self, batch: Batch, predictor: Any, outputs: Mapping[str, Array]) -> None:
        self.graded += len(batch)
        if not self.poison or set(batch.inputs["features"][:, 0].tolist()) & set(self.poison):
            raise ZeroDivisionError("nothing to grade")

    def metrics(self) -> Mapping[str, float]:
        return {"graded": float(self.graded)}

    def state(self) -> State:
        return State({"graded": np.array([self.graded])})

    def restore(self, state: State) -> None:
        self.graded = int(state.tensors["graded"][0])


def test_an_event_that_cannot_be_graded_or_predicted_is_left_out_too() -> None:
    house, grader = House(), Grader(13)

    processor = house.run(Chain(), evaluator=grader)

    assert (processor.events_learned, grader.graded) == (49, 49)
    assert house.letters() == [(13, "learner_error", "ZeroDivisionError: nothing to grade")]
    assert processor.state_sha256 == house.rebuilt(processor.version)


def test_an_evaluator_that_fails_for_everything_stops_the_evaluation_and_not_the_learning() -> None:
    house, grader = House(), Grader()

    processor = house.run(Chain(), evaluator=grader)

    assert processor.events_learned == 50
    assert house.letters() == []
    health = house.health.now()
    assert (health.state, health.reason) == (
        Condition.DEGRADED,
        "evaluation stopped: ZeroDivisionError: nothing to grade",
    )
    assert processor.state_sha256 == house.rebuilt(processor.version)


def test_a_record_that_cannot_be_decoded_for_a_bug_is_left_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from thalweg.proto.decode import Decoder

    decode = Decoder.decode

    def fragile(self: Decoder, records: Records) -> Any:
        if 13 in records.offsets:
            raise RecursionError("too deep")
        return decode(self, records)

    monkeypatch.setattr(Decoder, "decode", fragile)
    house = House()

    processor = house.run(Chain())

    assert processor.events_learned == 49
    assert house.letters() == [(13, "learner_error", "RecursionError: too deep")]
    house.forget_snapshots()
    assert house.run(Chain()).state_sha256 == processor.state_sha256
    assert len(house.letters()) == 1


def test_of_a_record_with_many_events_only_the_bad_ones_are_left_out() -> None:
    house = House(0)
    features = np.zeros((6, 2), dtype=np.float32)
    features[:, 0] = [0, np.nan, 13, 3, 14, 5]
    labels = ClassLabels(np.zeros(6, dtype=np.int32), ("a",))
    batch = Batch({"features": features}, labels, np.ones(6), np.zeros(6))
    house.log.append("t", [Message(to_event_batch(batch), None, EVENT_BATCH_HEADERS)])

    processor = house.run(Poisoned(13, 14))

    assert processor.events_learned == 3
    found = [(one.reason, one.rows) for one in DeadLetters(house.log, "t", "m").newest(9)]
    assert found == [("non_finite", (1,)), ("learner_error", (2, 4))]
    again = Poisoned(13, 14)
    house.forget_snapshots()
    assert house.run(again).state_sha256 == processor.state_sha256
    assert again.raised == 0


def test_a_stop_during_the_search_saves_a_whole_state() -> None:
    house = House()

    class Stops(Poisoned):
        processor: Processor

        def learn(self, batch: Batch) -> None:
            if self.raised == 2:
                self.processor.stop()
            super().learn(batch)

    learner = Stops(13)
    learner.processor = house.processor(learner)
    learner.processor.run(until_end=True)
    newest = house.snapshots.newest()
    assert newest is not None
    assert newest.manifest.version < 3
    assert newest.manifest.state_sha256 == house.rebuilt(newest.manifest.version)

    assert house.run(Poisoned(13)).events_learned == 49


# -- the circuit breaker ----------------------------------------------------------------------------------------------


class Running:
    """A processor in a thread of its own, commanded as by an operator."""

    def __init__(self, house: House, learner: Chain) -> None:
        self.house = house
        self.processor = house.processor(learner)
        self.thread = threading.Thread(target=self.processor.run, daemon=True)
        self.thread.start()

    def ask(self, verb: str, **arguments: Any) -> Mapping[str, Any]:
        response = self.house.commands.response(self.house.commands.submit("m", verb, arguments), 30)
        assert response is not None
        return response

    def stands(self) -> bool:
        return self.processor.stopped_by is not None

    def close(self) -> None:
        self.processor.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def test_a_learner_that_fails_on_everything_stops_the_model_loudly_and_soon() -> None:
    house, learner = House(500, block_bytes=4 << 20), Everything()

    processor = house.run(learner)

    assert processor.version == 0
    assert len(learner.learned) < 150  # far fewer trials than for each of them
    assert house.letters() == []
    assert processor.stopped_by is not None
    health = house.health.now()
    assert health.state is Condition.FAILED
    assert "stopped by the circuit breaker" in health.reason
    assert "ArithmeticError: no weights left" in health.reason
    assert "thalweg resume CONFIG --model m" in health.reason
    newest = house.snapshots.newest()
    assert newest is not None
    assert newest.manifest.state_sha256 == Chain().state().sha256()


def test_a_stopped_model_obeys_commands_survives_a_restart_and_goes_on_when_asked(tmp_path: Path) -> None:
    house = House(20, lambda: FileJournal(tmp_path / "journal"))
    house.mark = FileStopMark(tmp_path / "stopped.json")
    before = house.run(Chain()).version
    house.log.append("t", [event(i) for i in range(20, 50)])
    learner = Everything()
    running = Running(house, learner)
    until("the model stands still", running.stands)
    assert running.ask("snapshot") == {"version": before}
    assert running.ask("resume", skip=False) == {"version": before}
    until("it got there", lambda: len(learner.learned) > 0 and running.stands())
    running.close()

    running = Running(house, learner)
    until("the model stands still", running.stands)
    assert learner.state().sha256() == house.rebuilt(before)
    learner.ill = False
    assert running.ask("rollback", version=0) == {"version": before + 1}
    assert house.watcher.rollbacks == [before + 1]
    assert running.stands()
    assert running.ask("resume", skip=False) == {"version": before + 1}
    until("it got there", lambda: running.processor.events_learned == 30)
    assert running.ask("resume")["error"] == "failed_precondition"
    running.close()

    assert house.letters() == []
    assert house.mark.read() is None
    assert house.health.now().state is Condition.RUNNING
    versions = [entry.version for entry in house.entries()]
    assert versions == list(range(1, len(versions) + 1))


@pytest.mark.parametrize("rolled_back", [False, True])
def test_resumed_with_skip_it_leaves_out_what_fails_and_goes_on(rolled_back: bool) -> None:
    house = House(40, block_bytes=4 << 20)
    poison = range(5, 35)
    running = Running(house, Poisoned(*poison))
    until("the model stands still", running.stands)
    assert house.letters() == []
    if rolled_back:
        running.ask("rollback", version=0)

    running.ask("resume", skip=True)

    until("it got there", lambda: running.processor.events_learned == 10)
    running.close()
    assert [offset for offset, _, _ in house.letters()] == list(poison)
    after = running.processor
    assert after.stopped_by is None
    house.forget_snapshots()
    if not rolled_back:
        assert house.rebuilt(after.version) == after.state_sha256


@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_wherever_the_process_dies_while_a_model_is_stopped_and_resumed_nothing_is_lost(
    tmp_path: Path, verb: str
) -> None:
    """A first failure stops the model; an operator rolls it back, or not, and resumes it without what fails."""
    states, kills, died = set(), -1, True
    while died:
        folder = tmp_path / f"{kills}"
        files = partial(FileJournal, folder) if verb == "resume" else None
        house = House(30, files, quarantine_share=0.0, quarantine_least_events=1)
        house.mark = FileStopMark(folder / "stopped.json") if verb == "resume" else InMemoryStopMark()
        killer, died, final = Killer(kills), kills < 0, None
        while final is None:
            if house.mark.read() is not None:
                if verb == "rollback" and not house.watcher.rollbacks:
                    house.commands.submit("m", "rollback", {"version": 0})
                house.commands.submit("m", "resume", {"skip": True})
            processor = house.processor(KilledLearner(killer, 13, 14), wrapped=killer)
            try:
                processor.run(until_end=True)
            except Crash:
                died, killer.left = True, -1
            else:
                final = processor if processor.stopped_by is None else None

        assert [entry.version for entry in house.entries()] == list(range(1, final.version + 1))
        assert {offset for offset, _, _ in house.letters()} == {13, 14}
        assert len(house.letters()) <= 3  # at most the one that was on its way is there twice
        rebuilt = rebuild(Chain, house.log, house.snapshots, house.journal(), house.settings, final.version)
        assert rebuilt.state_sha256 == final.state_sha256
        assert final.events_learned == (28 if verb == "resume" else 15)
        states.add(final.state_sha256)
        kills += 1
    assert kills > 30
    assert len(states) == 1


def test_too_many_records_that_cannot_be_decoded_stop_the_model() -> None:
    house = House(0, block_bytes=4 << 20)
    house.log.append("t", [Message(b"\xff")] * 1200)
    running = Running(house, Chain())
    until("the model stands still", running.stands)
    reason = house.health.now().reason
    assert "1,000 of the newest 1,000 records could not be decoded, more than 50 %: most of them malformed" in reason
    assert "see the dead letters (t.dlq)" in reason
    house.log.append("t", [event(i) for i in range(300)])

    running.ask("resume")

    until("it got there", lambda: running.processor.events_learned == 300)
    running.close()
    assert len(house.letters()) == 1000 + 200
    assert {reason for _, reason, _ in house.letters()} == {"malformed"}


# -- changes of the state ---------------------------------------------------------------------------------------------


class Unrestorable(Chain):
    """Cannot be restored from a state that has learned something, once it is broken."""

    broken = False

    def restore(self, state: State) -> None:
        super().restore(state)
        if self.broken and state.meta["events"] == 5:
            raise ValueError("of another age")


def test_a_rollback_that_fails_is_undone_and_answered() -> None:
    house = House(5)
    house.run(Chain())
    house.log.append("t", [event(i) for i in range(5, 20)])
    house.run(Chain())
    learner = Unrestorable()
    running = Running(house, learner)
    until("it got there", lambda: running.processor.events_learned == 20)
    before = running.ask("snapshot")["version"]
    learner.broken = True

    answer = running.ask("rollback", version=1)

    assert answer["error"] == "failed_precondition"
    assert "ValueError: of another age" in answer["message"]
    running.close()
    assert running.processor.version == before
    assert running.processor.state_sha256 == house.rebuilt(before)


def test_a_journalled_rollback_that_fails_at_the_start_stops_the_model_instead_of_killing_it() -> None:
    house = House(5)
    house.run(Chain())
    running = Running(house, Chain())
    house.log.append("t", [event(i) for i in range(5, 20)])
    until("all is learned", lambda: running.processor.events_learned == 20)
    before = running.ask("snapshot")["version"]
    running.ask("rollback", version=1)
    running.close()
    for version in [manifest.version for manifest in house.snapshots.manifests() if manifest.version > before]:
        del house.snapshots._kept[version]  # the process died before it was saved
    learner = Unrestorable()
    learner.broken = True

    running = Running(house, learner)
    until("the model stands still", running.stands)
    assert "the RollbackEntry of version" in house.health.now().reason
    assert running.processor.version == before
    running.ask("resume", skip=True)
    house.log.append("t", [event(20)])

    until("it goes on without the rollback", lambda: running.processor.events_learned == 21)
    running.close()


def test_a_fold_that_grades_nothing_reports_nothing() -> None:
    fold = Fold(Chain(), InMemorySnapshots(), SETTINGS, Grader())

    fold.stop_evaluating()

    assert fold.report(0.0) is None


def test_predictors_that_raise_are_found_like_learners() -> None:
    class Picky(ChainPredictor):
        def predict(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
            if 13 in inputs["features"][:, 0]:
                raise IndexError("no such row")
            return super().predict(inputs)

    class Learner(Chain):
        def predictor(self) -> ChainPredictor:
            return Picky(self._events)

    house = House()

    assert house.run(Learner(), evaluator=Grader(-1)).events_learned == 49
    assert house.letters() == [(13, "learner_error", "IndexError: no such row")]
