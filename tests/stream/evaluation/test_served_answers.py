"""Late labels grade what was served, whatever was learned since, whoever else is in the batch, whoever dies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.memory.snapshots.snapshots import FolderSnapshots, InMemorySnapshots
from thalweg.models.contract.learner import Learner, LearnerContext, Predictor
from thalweg.models.contract.registry import find
from thalweg.proto import thalweg_pb2
from thalweg.proto.answer import Answer
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_HEADERS, to_events
from thalweg.proto.event import Batch, ClassLabels, Labels, NumberLabels, join
from thalweg.proto.records import Partition, Records
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.proto.task import task_of
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.evaluation.served_answers import as_served
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import InMemoryJournal
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.log import Message
from thalweg.stream.log.sqlite import SqliteLog

FEATURES = {"features": TensorSpec("features", "float32", (2,))}
RECOMMENDER = {name: TensorSpec(name, "int64", ()) for name in ("user", "item")}
LEARNERS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "classes": ("ridge", FEATURES, {"expansion": 0}),
    "probabilities": ("bottleneck", FEATURES, {"heads": 4, "pairs": 8, "key_width": 2, "key_events": 16}),
    "numbers": ("ridge", FEATURES, {"task": "regression", "expansion": 0}),
    "clicks": ("error_memory", RECOMMENDER, {"dim": 4, "hidden": "4", "views": "user", "train_batch": 4}),
}


def new(kind: str) -> Learner:
    name, inputs, params = LEARNERS[kind]
    return find(name)(LearnerContext(inputs=inputs, params=params, seed=0))


def events(kind: str, count: int, seed: int, names: tuple[str, ...] = ("a", "b")) -> Batch:
    """Events of which a learner can learn something, and something else with every seed."""
    random = np.random.default_rng(seed)
    turned = random.random() < 0.5
    labels: Labels
    if kind == "clicks":
        inputs = {name: random.integers(0, 4, count) for name in RECOMMENDER}
        labels = NumberLabels(((inputs["user"] % 2 == 0) ^ turned).astype(np.float64)[:, None])
    else:
        inputs = {"features": random.normal(size=(count, 2)).astype(np.float32)}
        high = (inputs["features"][:, 0] > 0) ^ turned
        labels = ClassLabels(high.astype(np.int32), names)
        if kind == "numbers":
            labels = NumberLabels(np.where(high, 3.0, -2.0)[:, None])
    return Batch(inputs, labels, np.ones(count), np.arange(count, dtype=np.float64))


def kept(version: int, predictor: Predictor, event: Batch, schema: Schema) -> Answer | None:
    """As a server keeps it."""
    outputs = predictor.predict(event.inputs)
    return Answer.of(version, outputs, predictor.classes, schema, task_of(predictor))


def from_log(batch: Batch, schema: Schema) -> Batch:
    """As a learner reads it."""
    values = to_events(batch)
    count = len(values)
    run = Records(Partition("t", 0), range(count), [0.0] * count, [None] * count, values, [EVENT_HEADERS] * count)
    return Decoder(schema).decode(run).batch


@pytest.mark.slow(2)
@pytest.mark.parametrize("kind", LEARNERS)
@given(
    steps=st.lists(st.tuples(st.integers(1, 24), st.integers(0, 5)), min_size=1, max_size=4),
    unserved=st.integers(0, 3),
    seed=st.integers(0, 99),
    appear=st.booleans(),
)
def test_whatever_was_learned_in_between_the_figures_are_those_of_what_was_served(
    kind: str, steps: list[tuple[int, int]], unserved: int, seed: int, appear: bool
) -> None:
    """Graded at once, by one event and its predictor each: the same as late, together, through the log."""
    learner = new(kind)
    monitor, at_once = Monitor(learner, lambda: new(kind)), Prequential()
    late: list[Batch] = []
    names: tuple[str, ...] = ("a", "b")
    for version, (learn, ask) in enumerate(steps):
        if appear:  # classes that earlier versions did not know
            names = (*names, f"class {version}", f"other {version}")
        for number in range(ask):
            event = events(kind, 1, seed + 1000 * version + number, names[-2:])
            predictor = learner.predictor()
            at_once.predicted(event, predictor, predictor.predict(event.inputs))
            late.append(replace(event, served=[kept(version, predictor, event, learner.schema)]))
        learner.learn(events(kind, learn, seed + version, names[-2:]))
    now = learner.predictor()
    for number in range(unserved):
        event = events(kind, 1, seed + 7000 + number, names[:2])
        at_once.predicted(event, now, now.predict(event.inputs))
        late.append(event)
    if not late:
        return

    batch = from_log(join(late), learner.schema)
    monitor.predicted(batch, now, now.predict(batch.inputs))

    assert monitor.live.metrics() == pytest.approx(at_once.metrics(), rel=1e-12)
    recent, wanted = monitor.live.recent(), at_once.recent()
    if appear:  # AUC ends as soon as the model knows a third class
        recent.pop("auc", None)
        wanted.pop("auc", None)
    assert recent == pytest.approx(wanted, rel=1e-12)
    assert (monitor.live.graded, monitor.live.unanswered) == (at_once.graded, at_once.unanswered)
    assert monitor.live.graded + monitor.live.unanswered == len(late)
    assert monitor.frozen.metrics() == monitor.live.metrics()  # there is no baseline yet


class Knows:
    """A predictor of some classes."""

    inputs: Mapping[str, TensorSpec] = FEATURES
    outputs: Mapping[str, TensorSpec] = {}
    properties: Mapping[str, str] = {"scores": "probabilities"}

    def __init__(self, *classes: str) -> None:
        self.classes = classes

    def predict(self, inputs: Any) -> Any:
        raise AssertionError

    def state(self) -> Any:
        raise AssertionError


def labelled(labels: list[str], served: list[Answer | None]) -> Batch:
    names = tuple(dict.fromkeys(labels))
    codes = np.array([names.index(name) for name in labels], dtype=np.int32)
    count = len(labels)
    inputs = {"features": np.zeros((count, 2), np.float32)}
    return Batch(inputs, ClassLabels(codes, names), np.ones(count), np.zeros(count), served=served)


def graded(batch: Batch, predictor: Any, outputs: Mapping[str, Any]) -> Prequential:
    found = Prequential()
    found.predicted(batch, *as_served(batch, predictor, outputs))
    return found


def test_a_class_that_a_rollback_forgot_is_still_the_one_that_was_served() -> None:
    answers: list[Answer | None] = [
        Answer(4, "owl", ("cat", "owl"), (0.25, 0.75), 0.0, 2),
        Answer(4, "cat", ("cat", "owl"), (0.5, 0.5), 0.0, 2),
        None,
    ]
    now = {"label": np.zeros(3, np.int32), "scores": np.ones((3, 1), np.float32)}

    found = graded(labelled(["owl", "owl", "cat"], answers), Knows("cat"), now)

    assert found.metrics()["accuracy"] == pytest.approx(2 / 3)
    assert found.metrics()["log_loss"] == pytest.approx(-np.log([0.75, 0.5, 1.0]).mean())
    np.testing.assert_array_equal(now["scores"], np.ones((3, 1)))  # nobody else's answers are touched


def test_of_many_classes_one_that_was_left_out_has_its_part_of_the_rest_and_one_not_known_then_has_none() -> None:
    classes = tuple(str(number) for number in range(101))
    answer = Answer(1, "0", classes[:32], (0.02,) * 32, 0.36 / 68, 100)
    now = {"label": np.zeros(1, np.int32), "scores": np.full((1, 101), 1 / 101, np.float32)}

    losses = [graded(labelled([name], [answer]), Knows(*classes), now).metrics()["log_loss"] for name in ("50", "100")]

    assert losses == pytest.approx([-np.log(0.36 / 68), -np.log(1e-15)])


def test_an_answer_from_before_any_class_was_known_is_counted_apart() -> None:
    now = {"label": np.zeros(1, np.int32), "scores": np.ones((1, 1), np.float32)}

    found = graded(labelled(["cat"], [Answer(0)]), Knows("cat"), now)

    assert (found.metrics(), found.unanswered) == ({}, 1)


def test_event_sequences_are_graded_by_what_was_foreseen_whatever_is_said_to_have_been_served() -> None:
    batch = labelled(["cat"], [Answer(1, "owl", ("owl",), (1.0,), 0.0, 1)])
    predict_batch = {"next_time": np.ones(1), "next_type": np.zeros(1, np.int64), "type_scores": np.ones((1, 1))}
    predictor = Knows("cat")

    answerer, outputs = as_served(batch, predictor, predict_batch)

    assert answerer is predictor
    assert outputs is predict_batch


def test_an_event_for_which_there_was_no_number_is_not_graded_by_a_later_one() -> None:
    learner = new("numbers")
    learner.learn(events("numbers", 20, 1))
    batch = replace(events("numbers", 2, 2), served=[Answer(3), Answer(3, value=(1.0,))])
    log, now = from_log(batch, learner.schema), learner.predictor()
    monitor = Monitor(learner, lambda: new("numbers"))

    monitor.predicted(log, now, now.predict(log.inputs))

    assert (monitor.live.graded, monitor.live.unanswered) == (1, 1)


@pytest.mark.slow(2)
@given(data=st.data(), kind=st.sampled_from(["classes", "probabilities", "numbers", "clicks"]))
def test_whatever_somebody_writes_as_served_the_figures_stay_figures(data: st.DataObject, kind: str) -> None:
    learner = new(kind)
    learner.learn(events(kind, 20, 1))
    batch = events(kind, 4, 2)
    values = []
    for value in to_events(batch):
        event = thalweg_pb2.Event.FromString(value)
        names = data.draw(st.lists(st.sampled_from("abcd"), max_size=4))
        for field, drawn in {
            "state_version": st.integers(-1, 3),
            "label": st.sampled_from("abz"),
            "rest": st.floats(width=32),
            "known": st.integers(0, 2**32 - 1),
            "score": st.floats(),
        }.items():
            if data.draw(st.booleans()):
                setattr(event.served, field, data.draw(drawn))
        event.served.classes.extend(names)
        event.served.scores.extend(data.draw(st.lists(st.floats(width=32), min_size=len(names), max_size=len(names))))
        event.served.value.extend(data.draw(st.lists(st.floats(-1e9, 1e9), max_size=1)))
        values.append(event.SerializeToString())
    run = Records(Partition("t", 0), range(4), [0.0] * 4, [None] * 4, values, [EVENT_HEADERS] * 4)

    found = Decoder(learner.schema).decode(run)
    monitor, now = Monitor(learner, lambda: new(kind)), learner.predictor()
    monitor.predicted(found.batch, now, now.predict(found.batch.inputs))

    assert len(found.batch) + len(found.rejected) == 4
    assert {rejected.reason for rejected in found.rejected} <= {"malformed"}
    assert monitor.live.graded + monitor.live.unanswered == len(found.batch)
    assert np.isfinite(list(monitor.live.metrics().values())).all()


class Crash(BaseException):
    """The process dies here."""


class DyingMonitor(Monitor):
    """Dies after so many micro-batches."""

    left = -1

    def predicted(self, *args: Any) -> None:
        if self.left == 0:
            raise Crash
        self.left -= 1
        super().predicted(*args)


def life(folder: Path, name: str, log: SqliteLog, left: int = -1) -> tuple[Processor, Monitor]:
    learner = new("classes")
    monitor = DyingMonitor(learner, lambda: new("classes"), frozen_after=40, baseline_path=folder / f"{name}.baseline")
    monitor.left = left
    settings = ProcessorSettings(
        model="m",
        topic="t",
        joined_topic="m.joined",
        batch_events=16,
        batch_seconds=0,
        idle_seconds=0,
        snapshot_events=50,
        snapshot_seconds=1e9,
    )
    journal = FileJournal(folder / f"{name}.journal") if left >= 0 or name == "dying" else InMemoryJournal()
    snapshots = FolderSnapshots(folder / name) if name == "dying" else InMemorySnapshots()
    if isinstance(snapshots, FolderSnapshots):
        snapshots.prepare()
    return Processor(learner, log, snapshots, settings, journal=journal, evaluator=monitor), monitor


@pytest.mark.parametrize("dies_after", [1, 4, 7, 11])
def test_killed_and_replayed_state_and_figures_are_those_of_an_undisturbed_run(tmp_path: Path, dies_after: int) -> None:
    log = SqliteLog(tmp_path / "log")
    for part in range(10):
        own = events("classes", 12, part)
        right = [Answer(part, "ab"[int(code)], ("a", "b"), (0.5, 0.5), 0.0, 2) for code in part_codes(own)]
        late = replace(events("classes", 12, part), ids=[f"e{part}-{row}" for row in range(12)], served=right)
        log.append("t", [Message(value, headers=EVENT_HEADERS) for value in to_events(own)])
        for _ in range(2):  # as a joiner does that was killed before it noted it
            log.append("m.joined", [Message(value, headers=EVENT_HEADERS) for value in to_events(late)])

    undisturbed, figures = life(tmp_path, "undisturbed", log)
    undisturbed.run(until_end=True)
    first, _ = life(tmp_path, "dying", log, dies_after)
    with pytest.raises(Crash):
        first.run(until_end=True)
    second, after = life(tmp_path, "dying", log)
    second.run(until_end=True)

    assert second.state_sha256 == undisturbed.state_sha256
    assert after.state().sha256() == figures.state().sha256()
    assert after.metrics() == figures.metrics()
    assert figures.live.graded + figures.live.unanswered == 240  # each label once
    assert figures.metrics()["accuracy"] > 0.5  # half of the answers were right, whatever was learned


def part_codes(batch: Batch) -> list[int]:
    assert isinstance(batch.labels, ClassLabels)
    return batch.labels.codes.tolist()
