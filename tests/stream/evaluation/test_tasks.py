"""A task is one value, one grading and one row: a made-up one is graded, watched, kept and shown like those we have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext, Predictor
from thalweg.models.encoders.encoded import make_learner
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.answer import Answer
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec
from thalweg.proto.task import BUILT_IN, CLASSIFICATION, Task, task_of
from thalweg.stream.evaluation.figures.recent import RecentWindow
from thalweg.stream.evaluation.grading import Alike, ClassNumbers, Floats, Graded, TaskGrading
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.evaluation.tasks import GRADINGS, UnknownTask, grading_of

QUERY = {"query": TensorSpec("query", "int64", ())}
ITEMS = 5
RANKING = Task(
    name="ranking", label="number", outputs={"order": ("int64", 1)}, answer="order", quality="reciprocal_rank"
)
"""Items, best first; the label is the one that was wanted."""


class RankingGrading(TaskGrading):
    """By the place of the item that was wanted."""

    means = kept = ("reciprocal_rank",)

    def grade(
        self, batch: Batch, predictor: Predictor, task: Task, outputs: Mapping[str, Array], numbers: ClassNumbers
    ) -> Graded | None:
        assert isinstance(batch.labels, NumberLabels)
        rows = np.flatnonzero(batch.labels.present)
        if not len(rows):
            return None
        place = (outputs["order"][rows] == batch.labels.values[rows]).argmax(axis=1)
        return Graded(rows, {"reciprocal_rank": 1.0 / (1.0 + place)}, Alike("means"))

    def losses(self, graded: Graded) -> Floats:
        losses: Floats = 1.0 - graded.columns["reciprocal_rank"]
        return losses

    def main(self, recent: RecentWindow) -> float:
        column = recent.column("reciprocal_rank")
        assert column is not None
        return float(column.mean())


class Ranker:
    """Puts what was wanted most often first."""

    inputs, outputs, classes = QUERY, {"order": TensorSpec("order", "int64", (ITEMS,))}, ()
    properties: Mapping[str, str] = {}
    task = RANKING

    def __init__(self, counts: Array) -> None:
        self.counts = counts

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return {"order": np.tile(np.argsort(-self.counts, kind="stable"), (len(inputs["query"]), 1))}

    def state(self) -> State:
        return State({"counts": self.counts})


class Popularity:
    schema = Schema(QUERY, "number")

    def __init__(self) -> None:
        self.counts = np.zeros(ITEMS, np.int64)

    def learn(self, batch: Batch) -> None:
        assert isinstance(batch.labels, NumberLabels)
        self.counts += np.bincount(batch.labels.values[:, 0].astype(np.int64), minlength=ITEMS)

    def predictor(self) -> Ranker:
        return Ranker(self.counts.copy())

    def state(self) -> State:
        return State({"counts": self.counts})

    def restore(self, state: State) -> None:
        self.counts = state.tensors["counts"].copy()

    gauges_declared = ()

    def gauges(self) -> Mapping[str, float]:
        return {}


def wanted(items: list[int]) -> Batch:
    count = len(items)
    labels = NumberLabels(np.array(items, np.float64)[:, None])
    return Batch({"query": np.zeros(count, np.int64)}, labels, np.ones(count), np.arange(count, dtype=np.float64))


def monitored(learner: Popularity) -> Monitor:
    return Monitor(learner, Popularity, window_events=100, frozen_after=64)


def follow(monitor: Monitor, learner: Popularity, batches: list[Batch]) -> list[float]:
    found = []
    for batch in batches:
        predictor = learner.predictor()
        outputs = predictor.predict(batch.inputs)
        monitor.predicted(batch, predictor, outputs)
        assert isinstance(batch.labels, NumberLabels)
        place = (outputs["order"] == batch.labels.values).argmax(axis=1)
        found += (1.0 / (1.0 + place)).tolist()
        learner.learn(batch)
    return found


@pytest.fixture
def batches() -> list[Batch]:
    random = np.random.default_rng(0)
    first, then = [0.6, 0.2, 0.1, 0.05, 0.05], [0.05, 0.05, 0.1, 0.2, 0.6]
    return [wanted(random.choice(ITEMS, 32, p=first if part < 20 else then).tolist()) for part in range(80)]


def test_a_made_up_task_is_graded_watched_and_kept_by_the_monitor(
    batches: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRADINGS, "ranking", RankingGrading())
    learner = Popularity()
    monitor = monitored(learner)

    ranks = follow(monitor, learner, batches)

    assert monitor.metrics() == {"reciprocal_rank": pytest.approx(np.mean(ranks))}
    assert monitor.recent() == {"reciprocal_rank": pytest.approx(np.mean(ranks[-100:]))}
    low, high = monitor.live.bounds()["reciprocal_rank"]
    assert low < np.mean(ranks) < high
    assert monitor.frozen.recent()["reciprocal_rank"] < monitor.recent()["reciprocal_rank"] - 0.2
    assert monitor.curve.metric == "reciprocal_rank"
    assert [alarm.signal for alarm in monitor.drift.alarms][:1] == ["loss"]
    assert monitor.continual.metrics() == {}


def test_a_restart_changes_no_figure_of_a_made_up_task(batches: list[Batch], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GRADINGS, "ranking", RankingGrading())
    through, first, second = Popularity(), Popularity(), Popularity()
    undisturbed, before, after = monitored(through), monitored(first), monitored(second)
    follow(undisturbed, through, batches)
    follow(before, first, batches[:30])

    second.restore(first.state())
    after.restore(before.state())

    assert after.live.main() == before.live.main()
    assert after.live.figures() == before.live.figures()
    follow(after, second, batches[30:])
    assert after.live.figures() == undisturbed.live.figures()
    assert after.recent() == undisturbed.recent()


def test_a_task_that_nobody_grades_is_refused_by_name() -> None:
    with pytest.raises(UnknownTask, match=r"'ranking'; known tasks: adaptation, classification"):
        monitored(Popularity())


def test_a_package_brings_its_task_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "brought-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[thalweg.tasks]\nranking = brought_tasks:GRADING\n")
    (tmp_path / "brought_tasks.py").write_text("GRADING = object()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("thalweg.stream.evaluation.tasks.GRADINGS", dict(GRADINGS))

    import brought_tasks  # type: ignore[import-not-found]

    assert grading_of(RANKING) is brought_tasks.GRADING


def test_every_built_in_task_is_graded() -> None:
    assert GRADINGS.keys() == BUILT_IN.keys()
    for task in BUILT_IN.values():
        assert isinstance(grading_of(task), TaskGrading)


@pytest.mark.parametrize("task", BUILT_IN.values(), ids=BUILT_IN)
def test_the_answer_and_the_scores_of_a_task_are_among_its_outputs(task: Task) -> None:
    assert task.answer in task.outputs
    assert task.scores in ("", "scores", *task.outputs)


def test_of_a_predictor_that_says_no_task_it_is_the_one_that_its_outputs_mean() -> None:
    class Older:
        outputs: Mapping[str, Any] = {"label": None, "scores": None}
        properties: Mapping[str, str] = {"scores": "probabilities"}

    assert task_of(Older()) == CLASSIFICATION.with_probabilities()

    Older.outputs = {"order": None}
    with pytest.raises(ValueError, match=r"no `task`.*order"):
        task_of(Older())


def test_outputs_that_are_not_those_of_the_task_are_named() -> None:
    value = {"value": TensorSpec("value", "float32", (1,))}
    wide = {"label": TensorSpec("label", "bytes", (2,))}
    codes = {"label": TensorSpec("label", "int64", ())}

    assert CLASSIFICATION.problem(value) == "task classification: expected an output 'label', got value"
    assert "0 dimensions a row in 'label', got 1" in CLASSIFICATION.problem(wide)
    assert "dtype bytes, got int64" in CLASSIFICATION.problem(codes)
    assert not BUILT_IN["regression"].problem(value)


def test_nothing_is_remembered_of_an_answer_that_its_task_does_not_remember() -> None:
    order = {"order": np.zeros((1, ITEMS), np.int64)}

    assert Answer.of(1, order, (), Popularity.schema, RANKING) is None


def test_labels_of_another_kind_than_the_task_are_not_graded() -> None:
    evaluation = Prequential(task=CLASSIFICATION)
    ridge = Ridge(LearnerContext(inputs=QUERY, params={"expansion": 0})).predictor()

    batch = wanted([1, 2])
    evaluation.predicted(batch, ridge, ridge.predict(batch.inputs))

    assert evaluation.graded == 0
    assert evaluation.grades is None


def test_an_encoder_in_front_changes_neither_the_task_nor_that_classes_are_asked_again() -> None:
    inputs = {"x": TensorSpec("x", "float32", (4,))}

    def make() -> Any:
        return make_learner("ridge", LearnerContext(inputs=inputs, params={"expansion": 0}), "random_features:8")

    learner = make()
    monitor = Monitor(learner, make)
    random = np.random.default_rng(1)
    for _ in range(60):
        x = random.normal(size=(64, 4)).astype(np.float32)
        labels = ClassLabels((x[:, 0] > 0).astype(np.int32), ("a", "b"))
        batch, predictor = Batch({"x": x}, labels, np.ones(64), np.zeros(64)), learner.predictor()
        monitor.predicted(batch, predictor, predictor.predict(batch.inputs))
        learner.learn(batch)

    assert monitor.task == CLASSIFICATION
    assert monitor.continual.metrics()["accuracy"] > 0.7


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    text = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()
    rows = text.split("## Tasks")[1].split("## ")[0]

    wanted = [
        f"| `{task.name}` | `{task.answer}` | {task.label} | `{task.quality}` | {task.remembered or 'nothing'} | "
        f"{'yes' if task.recallable else 'no'} |"
        for task in BUILT_IN.values()
    ]
    assert [line for line in rows.splitlines() if line.startswith("| `")] == wanted
