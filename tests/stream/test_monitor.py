"""The monitor beside a learner: alarms become records, the frozen twin stays as it was, a restart changes neither."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.memory.snapshots import MemorySnapshots
from thalweg.models.learner import foreseen
from thalweg.models.ridge import Ridge
from thalweg.proto.event import Batch, ClassLabels, TensorSpec
from thalweg.stream.alarms import Alarms, alarms_topic
from thalweg.stream.journal import MemoryJournal
from thalweg.stream.log import LogError, Message
from thalweg.stream.monitor import Monitor, _Columns
from thalweg.stream.processor import Processor
from thalweg.stream.settings import ProcessorSettings
from thalweg.stream.sqlite_log import SqliteLog

INPUTS = {"x": TensorSpec("x", "float32", (2,))}
SETTINGS = ProcessorSettings(
    model="m", topic="t", batch_events=64, batch_seconds=0, idle_seconds=0, snapshot_events=700, snapshot_seconds=1e9
)


def ridge() -> Ridge:
    return Ridge(inputs=INPUTS, params={"expansion": 0}, seed=0)


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
    snapshots: MemorySnapshots,
    journal: MemoryJournal,
    twin_path: Path | None,
    alarms_log: SqliteLog | None = None,
) -> Monitor:
    learner = ridge()
    monitor = Monitor(learner, ridge, window_events=500, frozen_after=1000, twin_path=twin_path)
    box = Alarms(log if alarms_log is None else alarms_log, "m")
    Processor(learner, log, snapshots, SETTINGS, journal=journal, evaluator=monitor, alarms=box).run(until_end=True)
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
    log, snapshots, journal = SqliteLog(tmp_path / "log"), MemorySnapshots(), MemoryJournal()
    log.append("t", events(6000, turned=3000))
    refusing: Any = RefusingLog(log)

    monitor = run(log, snapshots, journal, None, alarms_log=refusing)
    assert monitor.live.graded == 6000
    assert told(log) == []
    run(log, snapshots, journal, None)

    assert [record["id"] for record in told(log)] == ["m-1-raised", "m-1-ended"]


def test_an_input_shorter_than_it_may_be_is_watched_as_far_as_it_goes() -> None:
    columns = _Columns({"x": TensorSpec("x", "float32", (2,)), "more": TensorSpec("more", "int64", (-1,))}, 10)

    found = columns.of({"x": np.ones((3, 2), np.float32), "more": np.zeros((3, 0), np.int64)})

    np.testing.assert_array_equal(found, [[1, 1, np.nan]] * 3)


def told(log: SqliteLog) -> list[dict[str, Any]]:
    runs = log.reader([alarms_topic("m")], {}).poll(1.0)
    return [json.loads(value) for run in runs for value in run.values if value is not None]


def test_a_change_is_one_alarm_on_the_topic_and_the_twin_shows_what_learning_was_worth(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log")
    log.append("t", events(6000, turned=3000))

    monitor = run(log, MemorySnapshots(), MemoryJournal(), None)

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

    def __init__(self, twin_path: Path | None) -> None:
        self.learner = ridge()
        self.monitor = Monitor(self.learner, ridge, window_events=500, frozen_after=1000, twin_path=twin_path)

    def follow(self, batches: list[Batch]) -> None:
        for batch in batches:
            predictor = self.learner.predictor()
            self.monitor.predicted(batch, predictor, foreseen(predictor, batch))
            self.learner.learn(batch)

    def next_life(self, twin_path: Path | None) -> Life:
        other = Life(twin_path)
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


@pytest.mark.parametrize("at", [5, 30, 50], ids=["before the twin", "before the change", "while the alarm is open"])
def test_a_restart_changes_neither_figures_nor_twin_nor_alarms(tmp_path: Path, at: int) -> None:
    events = batches(4096, turned=2500)
    undisturbed, first = Life(None), Life(tmp_path / "twin")
    undisturbed.follow(events)
    first.follow(events[:at])

    second = first.next_life(tmp_path / "twin")
    second.follow(events[at:])

    assert len(undisturbed.monitor.drift.alarms) == 1
    assert second.monitor.drift.alarms == undisturbed.monitor.drift.alarms
    assert second.monitor.metrics() == undisturbed.monitor.metrics()
    assert second.monitor.frozen.metrics() == undisturbed.monitor.frozen.metrics()
    assert second.monitor.state().sha256() == undisturbed.monitor.state().sha256()


def test_a_twin_that_is_gone_begins_anew_and_the_rest_goes_on(tmp_path: Path) -> None:
    events = batches(4096, turned=2500)
    undisturbed, first = Life(None), Life(tmp_path / "twin")
    undisturbed.follow(events)
    first.follow(events[:50])
    (tmp_path / "twin").write_bytes(b"not a state")

    second = first.next_life(tmp_path / "twin")
    second.follow(events[50:])

    assert second.monitor.metrics() == undisturbed.monitor.metrics()
    assert second.monitor.frozen.recent()["accuracy"] > 0.5 > undisturbed.monitor.frozen.recent()["accuracy"]
