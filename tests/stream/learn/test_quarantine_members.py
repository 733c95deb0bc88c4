"""More of the kind "an event that raises": learners with their monitor, encoders, joined events, other parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stream.learn.test_quarantine import House, Poisoned, event
from thalweg.memory.snapshots.snapshots import FolderSnapshots, InMemorySnapshots, Snapshot
from thalweg.memory.snapshots.state import State
from thalweg.models.columns.make import make_learner
from thalweg.models.columns.settings import columns_of
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.encoders.encoded import EncodedLearner
from thalweg.models.encoders.encoder import shared_encoder
from thalweg.models.encoders.spec import EncoderSpec
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch
from thalweg.proto.records import Partition
from thalweg.proto.schema import TensorSpec, column_specs
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.journal.entries import BlockEntry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import InMemoryJournal, Journal
from thalweg.stream.learn.observer import NoObserver
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.saving.saving import NotSaved
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message

INPUTS = {"x": TensorSpec("x", "float32", (2,))}
SETTINGS = ProcessorSettings(
    model="m",
    topic="t",
    joined_topic="m.joined",
    batch_events=64,
    batch_seconds=0,
    idle_seconds=0,
    snapshot_events=500,
    snapshot_seconds=1e9,
    block_bytes=8000,  # about a hundred and fifty events
)
POISON = 99.0


class PickyRidge(Ridge):
    """Learns half of a micro-batch, and then finds an event that it cannot learn."""

    def learn(self, batch: Batch) -> None:
        x = batch.inputs["x"][:, 0]
        if POISON in x:
            super().learn(batch[: len(batch) // 2])
            raise np.linalg.LinAlgError("singular matrix")
        super().learn(batch)


def ridge(kind: type[Ridge] = Ridge) -> Ridge:
    return kind(LearnerContext(inputs=INPUTS, params={"expansion": 0}, seed=0))


def stream(count: int, turned: int, poison: Sequence[int]) -> list[Message]:
    x = np.random.default_rng(5).normal(size=(count, 2)).astype(np.float32)
    label = (x[:, 0] > 0) ^ (np.arange(count) >= turned)
    x[list(poison), 0] = POISON
    return [
        Message(json.dumps({"id": str(i), "inputs": {"x": x[i].tolist()}, "label": int(label[i])}).encode(), time=i)
        for i in range(count)
    ]


def parts_of(snapshots: InMemorySnapshots) -> Mapping[str, str]:
    newest = snapshots.newest()
    assert newest is not None
    return {name: part.sha256() for name, part in newest.parts.items()}


def test_monitor_duplicates_and_learner_are_as_if_the_event_had_never_come() -> None:
    log = InMemoryLog()
    log.append("t", stream(2600, turned=1800, poison=[130, 700, 701, 1999, 2400]))
    first, again = InMemorySnapshots(keep=100), InMemorySnapshots(keep=100)
    journal: Journal = InMemoryJournal()
    monitors = []

    for kind, snapshots in ((PickyRidge, first), (Ridge, again)):
        learner = ridge(kind)
        monitors.append(Monitor(learner, ridge, window_events=500, frozen_after=1000))
        Processor(learner, log, snapshots, SETTINGS, journal=journal, evaluator=monitors[-1]).run(until_end=True)

    assert monitors[0].events == 2595
    assert len(monitors[0].drift.alarms) >= 1
    assert parts_of(first) == parts_of(again)


class FragileEncoder:
    """A frozen encoder that cannot encode some events."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def batch(self, batch: Batch) -> Batch:
        if POISON in batch.inputs["x"][:, 0]:
            raise RuntimeError("the module failed")
        encoded: Batch = self._inner.batch(batch)
        return encoded


def test_an_event_that_an_encoder_cannot_encode_is_left_out() -> None:
    front = FragileEncoder(shared_encoder("random_features", "", INPUTS, 0))
    log = InMemoryLog()
    log.append("t", stream(300, turned=300, poison=[150]))

    def learner() -> Learner:
        inner = Ridge(LearnerContext(inputs=front.specs, params={"expansion": 0}, seed=0))
        return EncodedLearner(inner, front)  # type: ignore[arg-type]

    letters = DeadLetters(log, "t", "m")

    processor = Processor(learner(), log, InMemorySnapshots(), SETTINGS, ports=Ports(dead_letters=letters))
    processor.run(until_end=True)

    assert processor.events_learned == 299
    assert [(one.offset, one.detail) for one in letters.newest(9)] == [(150, "RuntimeError: the module failed")]


def test_joined_events_that_cannot_be_learned_are_kept_once_over_restarts() -> None:
    house = House(20, joined_topic="m.joined")
    house.log.append("m.joined", [event(i) for i in range(100, 120)])
    poison = (7, 105, 111)
    house.run(Poisoned(*poison))
    house.forget_snapshots()

    processor = house.run(Poisoned(*poison))

    assert processor.events_learned == 37
    letters = [(one.topic, one.offset) for one in DeadLetters(house.log, "t", "m").newest(99)]
    assert sorted(letters) == [("m.joined", 5), ("m.joined", 11), ("t", 7)]


def test_with_snapshots_and_cuts_of_the_journal_the_state_is_the_same(tmp_path: Path) -> None:
    house = House(200, lambda: FileJournal(tmp_path / "journal"), snapshot_events=20)
    snapshots = FolderSnapshots(tmp_path, 3)
    snapshots.prepare()
    house.snapshots = snapshots  # type: ignore[assignment]
    poison = tuple(range(5, 200, 23))

    processor = house.run(Poisoned(*poison))

    assert processor.events_learned == 200 - len(poison)
    assert processor.state_sha256 == House(200).run(Poisoned(*poison)).state_sha256
    newest = snapshots.newest()
    assert newest is not None
    assert newest.manifest.state_sha256 == processor.state_sha256


class Anew(NoObserver):
    def __init__(self) -> None:
        self.failed: list[str] = []

    def snapshot_failed(self, version: int, error: str) -> None:
        self.failed.append(error)


@pytest.mark.parametrize("fails", ["gauges", "state"])
def test_a_learner_that_cannot_be_reported_or_saved_still_learns(fails: str) -> None:
    class Fragile(Poisoned):
        def gauges(self) -> Mapping[str, float]:
            return {"one": 1 / 0} if fails == "gauges" else {}

        def state(self) -> State:
            if fails == "state" and self._events:
                raise ValueError("no state")
            return super().state()

    house, learner, seen = House(30), Fragile(), Anew()
    processor = Processor(learner, house.log, house.snapshots, house.settings, ports=Ports(observer=seen))

    with nullcontext() if fails == "gauges" else pytest.raises(NotSaved, match="ValueError: no state"):
        processor.run(until_end=True)

    assert processor.events_learned == 30
    assert seen.failed == ([] if fails == "gauges" else ["ValueError: no state"] * len(seen.failed))
    assert bool(seen.failed) == (fails == "state")


def test_a_failing_learner_whose_state_cannot_be_copied_stops_the_model_instead_of_killing_it() -> None:
    class Fragile(Poisoned):
        fails = False

        def learn(self, batch: Batch) -> None:
            self.fails = self.fails or 13 in batch.inputs["features"][:, 0]
            super().learn(batch)

        def state(self) -> State:
            if self.fails:
                raise MemoryError("no room for a copy")
            return super().state()

    house = House(30)

    processor = house.processor(Fragile(13))
    with pytest.raises(NotSaved, match="MemoryError: no room for a copy"):
        processor.run(until_end=True)

    assert processor.stopped_by is not None
    assert processor.version == 1
    assert "the state cannot be copied" in house.health.now().reason
    assert "ValueError: cannot learn 13" in house.health.now().reason
    assert house.run(Poisoned(13)).version == 1  # stands still over a restart


def test_a_predictor_that_cannot_be_published_stops_no_learning() -> None:
    class Publisher:
        def publish(self, predictor: Any, *, version: int, learned_events: int, event_time: float) -> None:
            raise TypeError("of a dtype that no file holds")

        def shown(self) -> int | None: ...
        def confirm(self, as_of: float) -> None: ...

    house = House(30)
    processor = Processor(Poisoned(), house.log, house.snapshots, house.settings, ports=Ports(publisher=Publisher()))

    processor.run(until_end=True)

    assert processor.events_learned == 30


# -- rollbacks --------------------------------------------------------------------------------------------------------


def test_what_a_rollback_discards_is_saved_first_and_its_target_is_kept_until_then() -> None:
    house = House(20)
    house.snapshots = InMemorySnapshots(keep=1)
    processor = house.processor(Poisoned())
    processor.recover()  # version 0 is the only one that is kept
    with_reader = processor._intake.open({})
    processor._step(with_reader)
    learned, before = processor.events_learned, processor.state_sha256
    saved: list[Snapshot] = []
    save = house.snapshots.save

    def noted(manifest: Any, parts: Any, *which: int | None) -> Any:
        done = save(manifest, parts, *which)
        saved.append(Snapshot(done, parts))
        return done

    house.snapshots.save = noted  # type: ignore[method-assign]
    house.commands.submit("m", "rollback", {"version": 0})
    processor._controls.handle_commands()

    assert learned > 0
    assert processor.events_learned == 0
    assert [(one.manifest.version, one.manifest.events_learned) for one in saved] == [(1, learned), (2, 0)]
    assert saved[0].manifest.state_sha256 == before


def test_after_a_rollback_the_recent_figures_are_those_of_the_restored_state() -> None:
    log = InMemoryLog()
    log.append("t", stream(600, turned=600, poison=[]))
    learner, snapshots, journal = ridge(), InMemorySnapshots(keep=100), InMemoryJournal()
    house = House(0)

    def processor(learner: Ridge, monitor: Monitor) -> Processor:
        return Processor(
            learner, log, snapshots, SETTINGS, journal=journal, evaluator=monitor, ports=Ports(commands=house.commands)
        )

    monitor = Monitor(learner, ridge, window_events=500, frozen_after=100)
    running = processor(learner, monitor)
    running.recover()
    running.run(until_end=True)
    assert monitor.report(0.0).recent
    house.commands.submit("m", "rollback", {"version": 0})
    running._controls.handle_commands()

    report = monitor.report(0.0)
    assert (report.replaced_at, report.replaced) == (600, "rolled back to version 0")
    assert report.recent == {}
    assert report.baseline_recent == {}
    assert report.metrics["accuracy"] > 0.5  # of all that was served
    running._saver.wait()
    other = ridge()
    restored = Monitor(other, ridge, window_events=500, frozen_after=100)
    processor(other, restored).recover()
    again = restored.report(0.0)
    assert (again.replaced_at, again.replaced, again.recent) == (600, "rolled back to version 0", {})


# -- the journal ------------------------------------------------------------------------------------------------------


def test_a_block_that_many_skips_amend_is_read_as_the_last_of_them() -> None:
    house = House(50)
    house.run(Poisoned(13))
    (before,) = [one for one in house.entries() if isinstance(one, BlockEntry) and one.skipped]

    house.forget_snapshots()
    house.run(Poisoned(14))

    (after,) = [one for one in house.entries() if isinstance(one, BlockEntry) and one.skipped]
    assert [skip.offset for skip in after.skipped] == [13, 14]
    assert after.version == before.version
    assert Partition("t", 0) == after.skipped[0].partition


@pytest.mark.parametrize("beside", [True, False])
def test_an_event_on_which_a_users_encoder_raises_is_a_dead_letter_that_names_it(beside: bool) -> None:
    """In front of the learner, and of columns in front of the feature stage."""
    name = "tests.models.own_encoders:poisoned"
    columns = columns_of({"texts": "text", "amount": "numeric"}) if beside else {}
    specs = column_specs(columns) if beside else {"texts": TensorSpec("texts", "bytes", ())}
    spec = EncoderSpec(name=name, columns=("texts",) if beside else ())
    texts = ["poison" if row == 70 else "short" if row == 140 else f"text {row}" for row in range(200)]
    log = InMemoryLog()
    rows = [{"inputs": {"texts": text} | ({"amount": 1.5} if beside else {}), "label": "a"} for text in texts]
    log.append("t", [Message(json.dumps(row).encode()) for row in rows])

    def learner() -> Learner:
        return make_learner("ridge", LearnerContext(inputs=specs, columns=columns, params={"expansion": 0}), spec)

    letters = DeadLetters(log, "t", "m")

    processor = Processor(learner(), log, InMemorySnapshots(), SETTINGS, ports=Ports(dead_letters=letters))
    processor.run(until_end=True)

    assert processor.events_learned == 198
    assert {one.offset: one.detail.partition("; ")[0] for one in letters.newest(9)} == {
        70: f"EncoderFailed: encoder '{name}' raised KeyError: 'poison'",
        140: f"EncoderFailed: encoder '{name}': expected features (1, 2), got (0, 2)",
    }
