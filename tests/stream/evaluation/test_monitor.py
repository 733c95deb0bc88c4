"""The monitor beside a learner: alarms become records, the frozen baseline stays as it was, over restarts, too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import predict_batch
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec
from thalweg.stream.drift.alarm_outbox import AlarmOutbox, alarms_topic
from thalweg.stream.drift.columns import WatchedColumns
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.journal.journal import InMemoryJournal
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.log import LogError, Message
from thalweg.stream.log.sqlite import SqliteLog

INPUTS = {"x": TensorSpec("x", "float32", (2,))}
SETTINGS = ProcessorSettings(
    model="m", topic="t", batch_events=64, batch_seconds=0, idle_seconds=0, snapshot_events=700, snapshot_seconds=1e9
)


def ridge() -> Ridge:
    return Ridge(LearnerContext(inputs=INPUTS, params={"expansion": 0}, seed=0))


def events(count: int, turned: int) -> list[Message]:
    """Two classes by the sign of the first input, the other way round from the event `turned` on."""
    x = np.random.default_rng(5).normal(size=(count, 2)).astype(np.float32)
    label = (x[:, 0] > 0) ^ (np.arange(count) >= turned)
    return [
        Message(json.dumps({"inputs": {"x": x[i].tolist()}, "label": int(label[i])}).encode(), time=float(i))
        for i in range(count)
    ]


def run(
    log: SqliteLog,
    snapshots: InMemorySnapshots,
    journal: InMemoryJournal,
    baseline_path: Path | None,
    alarms_log: SqliteLog | None = None,
) -> Monitor:
    learner = ridge()
    monitor = Monitor(learner, ridge, window_events=500, frozen_after=1000, baseline_path=baseline_path)
    box = AlarmOutbox(log if alarms_log is None else alarms_log, "m")
    Processor(learner, log, snapshots, SETTINGS, journal=journal, evaluator=monitor, ports=Ports(alarms=box)).run(
        until_end=True
    )
    return monitor


class RefusingLog:
    """A log that takes no alarms."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, topic: str, messages: Sequence[Message]) -> None:
        raise LogError(f"topic {topic}: not allowed")


def test_alarms_that_the_log_refuses_wait_over_a_restart_and_learning_goes_on(tmp_path: Path) -> None:
    log, snapshots, journal = SqliteLog(tmp_path / "log"), InMemorySnapshots(), InMemoryJournal()
    log.append("t", events(6000, turned=3000))
    refusing: Any = RefusingLog(log)

    monitor = run(log, snapshots, journal, None, alarms_log=refusing)
    assert (monitor.live.graded, monitor.live.unanswered) == (6000 - 64, 64)  # the first micro-batch has no answer
    assert told(log) == []
    run(log, snapshots, journal, None)

    assert [record["id"] for record in told(log)] == ["m-1-raised", "m-1-ended"]


def test_an_input_shorter_than_it_may_be_is_watched_as_far_as_it_goes() -> None:
    columns = WatchedColumns({"x": TensorSpec("x", "float32", (2,)), "more": TensorSpec("more", "int64", (-1,))}, 10)

    found = columns.of({"x": np.ones((3, 2), np.float32), "more": np.zeros((3, 0), np.int64)})

    np.testing.assert_array_equal(found, [[1, 1, np.nan]] * 3)


def told(log: SqliteLog) -> list[dict[str, Any]]:
    runs = log.reader([alarms_topic("m")], {}).poll(1.0)
    return [json.loads(value) for run in runs for value in run.values if value is not None]


def test_a_change_is_one_alarm_on_the_topic_and_the_baseline_shows_what_learning_was_worth(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log")
    log.append("t", events(6000, turned=3000))

    monitor = run(log, InMemorySnapshots(), InMemoryJournal(), None)

    records = told(log)
    assert [record["id"] for record in records] == ["m-1-raised", "m-1-ended"]
    raised = records[0]
    assert raised["model"] == "m"
    assert raised["kind"] == "concept"
    assert raised["end"] is None
    assert 2950 <= raised["since"] <= raised["start"] <= 3100
    assert monitor.recent()["accuracy"] > monitor.frozen.recent()["accuracy"] + 0.5
    assert monitor.frozen.recent()["accuracy"] < 0.1  # it still knows the old rule


class Life:
    """A learner and its monitor, as one process has them."""

    def __init__(self, baseline_path: Path | None) -> None:
        self.learner = ridge()
        self.monitor = Monitor(self.learner, ridge, window_events=500, frozen_after=1000, baseline_path=baseline_path)

    def follow(self, batches: list[Batch]) -> None:
        for batch in batches:
            predictor = self.learner.predictor()
            self.monitor.predicted(batch, predictor, predict_batch(predictor, batch))
            self.monitor.settle(predictor)  # each is a block, at the end of which nothing waits
            self.learner.learn(batch)

    def next_life(self, baseline_path: Path | None) -> Life:
        other = Life(baseline_path)
        other.learner.restore(self.learner.state())
        other.monitor.restore(self.monitor.state())
        return other


def batches(count: int, turned: int) -> list[Batch]:
    rng = np.random.default_rng(5)
    found = []
    for first in range(0, count, 64):
        x = rng.normal(size=(64, 2)).astype(np.float32)
        codes = ((x[:, 0] > 0) ^ (np.arange(first, first + 64) >= turned)).astype(np.int32)
        times = np.arange(first, first + 64, dtype=np.float64)
        found.append(Batch({"x": x}, ClassLabels(codes, ("low", "high")), np.ones(64), times))
    return found


@pytest.mark.parametrize("at", [5, 30, 50], ids=["before the baseline", "before the change", "while the alarm is open"])
def test_a_restart_changes_neither_figures_nor_baseline_nor_alarms(tmp_path: Path, at: int) -> None:
    events = batches(4096, turned=2500)
    undisturbed, first = Life(None), Life(tmp_path / "baseline")
    undisturbed.follow(events)
    first.follow(events[:at])

    second = first.next_life(tmp_path / "baseline")
    second.follow(events[at:])

    assert len(undisturbed.monitor.drift.alarms) == 1
    assert second.monitor.drift.alarms == undisturbed.monitor.drift.alarms
    assert second.monitor.metrics() == undisturbed.monitor.metrics()
    assert second.monitor.frozen.metrics() == undisturbed.monitor.frozen.metrics()
    assert second.monitor.state().sha256() == undisturbed.monitor.state().sha256()


def test_a_baseline_that_is_gone_begins_anew_and_the_rest_goes_on(tmp_path: Path) -> None:
    events = batches(4096, turned=2500)
    undisturbed, first = Life(None), Life(tmp_path / "baseline")
    undisturbed.follow(events)
    first.follow(events[:50])
    (tmp_path / "baseline").write_bytes(b"not a state")

    second = first.next_life(tmp_path / "baseline")
    second.follow(events[50:])

    assert second.monitor.metrics() == undisturbed.monitor.metrics()
    assert second.monitor.frozen.recent()["accuracy"] > 0.5 > undisturbed.monitor.frozen.recent()["accuracy"]


def test_a_state_from_before_continual_evaluation_goes_on_and_the_new_begins(tmp_path: Path) -> None:
    events = batches(6400, turned=100_000)
    first, second = Life(None), Life(None)
    first.follow(events[:50])
    state = first.monitor.state()
    new = ("continual", "curve")
    old = State(
        {name: tensor for name, tensor in state.tensors.items() if not name.startswith(new)},
        {name: value for name, value in state.meta.items() if name not in new},
    )

    second.learner.restore(first.learner.state())
    second.monitor.restore(old)

    assert second.monitor.metrics() == first.monitor.metrics()
    second.follow(events[50:])
    assert second.monitor.continual.metrics()["accuracy"] > 0.9
    assert second.monitor.curve.points[0].events > 50 * 64


def test_the_curve_follows_the_learner_and_its_baseline() -> None:
    life = Life(None)
    life.follow(batches(4096, turned=2500))

    curve = life.monitor.curve

    assert curve.metric == "accuracy"
    assert curve.points[-1].events > 3000
    before = [point for point in curve.points if point.events <= 1000]
    assert all(point.live == point.frozen for point in before)  # until then the baseline is the learner
    assert curve.points[-1].live > curve.points[-1].frozen + 0.5
    assert [point.time for point in curve.points] == [point.events - 1 for point in curve.points]


@pytest.mark.parametrize(
    "labels", [None, ClassLabels(np.full(64, -1, np.int32), ("a",))], ids=["no labels", "none present"]
)
def test_a_model_without_labels_has_no_figure_and_no_curve(labels: ClassLabels | None) -> None:
    life = Life(None)

    life.follow([replace(batch, labels=labels) for batch in batches(3200, turned=0)])

    monitor = life.monitor
    assert monitor.metrics() == monitor.recent() == monitor.continual.metrics() == {}
    assert monitor.curve.points == ()
    assert monitor.curve.metric is None


@pytest.mark.parametrize("times", [[1e12, 5.0], [-1e12, 1e12], [7.0, 7.0]], ids=["forth", "from far", "still"])
def test_figures_do_not_depend_on_the_clock(times: list[float]) -> None:
    events = batches(2048, turned=1000)
    usual, jumping = Life(None), Life(None)
    usual.follow(events)

    jumping.follow([replace(batch, times=np.resize(times, len(batch))) for batch in events])

    assert jumping.monitor.metrics() == usual.monitor.metrics()
    assert jumping.monitor.recent() == usual.monitor.recent()
    assert jumping.monitor.continual.metrics() == usual.monitor.continual.metrics()
    assert [point.live for point in jumping.monitor.curve.points] == [p.live for p in usual.monitor.curve.points]
