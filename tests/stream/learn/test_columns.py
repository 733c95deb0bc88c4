"""A model of named columns, from the records of a log to its alarms: the stage is part of the fold and its state."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.columns.samples import COLUMNS, events_of, texts
from tests.models.columns.test_staged import PARAMS, context
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.columns.make import make_learner
from thalweg.models.contract.learner import Learner
from thalweg.proto.event import Batch, ClassLabels, join
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.journal.journal import InMemoryJournal
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message

SETTINGS = ProcessorSettings(
    model="m", topic="t", batch_events=32, batch_seconds=0, idle_seconds=0, snapshot_events=300, snapshot_seconds=1e9
)
PARTS = [events_of(COLUMNS, 150, number, classes=2) for number in range(8)]


def learner() -> Learner:
    return make_learner("ridge", context(COLUMNS, PARAMS["ridge"]))


def monitor(of: Learner, baseline: Path | None = None) -> Monitor:
    drift = DriftParams(reference_events=200)
    return Monitor(of, learner, frozen_after=200, continual_share=0.5, drift=drift, baseline_path=baseline)


def rows_of(batch: Batch) -> list[bytes]:
    """JSON rows of the events of a batch: null, or no field, where a value is missing."""
    labels = batch.labels
    assert isinstance(labels, ClassLabels)
    found = []
    for row in range(len(batch)):
        record = {name: _value(COLUMNS[name], array[row]) for name, array in batch.inputs.items()}
        if row % 2:
            record = {name: value for name, value in record.items() if value is not None}
        code = int(labels.codes[row])
        parts = {"label": labels.names[code] if code >= 0 else None, "weight": float(batch.weights[row])}
        found.append(json.dumps({**record, **parts, "time": float(batch.times[row])}).encode())
    return found


def _value(kind: Any, value: Any) -> Any:
    if isinstance(value, bytes):
        text = value.decode()
        return (json.loads(text) if isinstance(kind, dict) and kind["kind"] == "list" else text) if text else None
    if isinstance(value, np.ndarray):
        return [None if np.isnan(one) else float(one) for one in value]
    return None if np.isnan(value) else bool(value) if kind == "boolean" else float(value)


def append(log: InMemoryLog, parts: list[Batch]) -> InMemoryLog:
    for part in parts:
        log.append("t", [Message(record) for record in rows_of(part)])
    return log


def test_a_log_of_columns_ends_in_the_state_of_its_events_learned_one_batch_after_the_other() -> None:
    mine, by_hand = learner(), learner()

    Processor(mine, append(InMemoryLog(), PARTS), InMemorySnapshots(), SETTINGS).run(until_end=True)

    for batch in join(PARTS).micro_batches(32):
        by_hand.learn(batch)
    assert mine.state().sha256() == by_hand.state().sha256()


def test_a_model_of_columns_is_graded_stopped_restarted_and_rebuilt_from_its_journal(tmp_path: Path) -> None:
    log, snapshots, journal = append(InMemoryLog(), PARTS[:3]), InMemorySnapshots(), InMemoryJournal()
    first, second, rebuilt = learner(), learner(), learner()
    one, other, again = (
        monitor(of, tmp_path / name) for of, name in ((first, "frozen"), (second, "frozen"), (rebuilt, "anew"))
    )
    Processor(first, log, snapshots, SETTINGS, evaluator=one, journal=journal).run(until_end=True)
    append(log, PARTS[3:])

    Processor(second, log, snapshots, SETTINGS, evaluator=other, journal=journal).run(until_end=True)
    Processor(rebuilt, log, InMemorySnapshots(), SETTINGS, evaluator=again, journal=journal).run(until_end=True)

    assert rebuilt.state().sha256() == second.state().sha256() != first.state().sha256()
    assert again.metrics() == other.metrics()
    assert again.frozen.metrics() == other.frozen.metrics()
    assert again.continual.metrics() == other.continual.metrics()
    assert other.events == 1200
    assert other.metrics()["accuracy"] > 0.6
    assert other.frozen.metrics()["accuracy"] > 0.5
    assert other.continual.metrics()["accuracy"] > 0.5


def batches_with(column: str, before: list[str], after: list[str], missing: float) -> list[Batch]:
    """A stream whose column has another mix from its middle on."""
    random = np.random.default_rng(5)
    found = []
    for number in range(20):
        part = events_of(COLUMNS, 200, number, classes=2)
        values = random.choice(before if number < 10 else after, 200).tolist()
        amount = np.where(random.random(200) < missing, np.nan, part.inputs["height"])
        found.append(replace(part, inputs={**part.inputs, column: texts(values), "height": amount}))
    return found


@pytest.mark.parametrize("column", ["country", "user"])
def test_another_mix_of_a_column_raises_an_alarm_that_names_it(column: str) -> None:
    """Every column has missing values all along: they raise none."""
    mine = learner()
    watch = monitor(mine)
    for batch in batches_with(column, ["DE", "FR", "PT", "DE", ""], ["DE", "US", "GB", "", ""], 0.3):
        watch.predicted(batch, mine.predictor(), mine.predictor().predict(batch.inputs))
        mine.learn(batch)

    (alarm,) = [one for one in watch.drift.alarms if one.signal == "inputs"]

    assert alarm.features[0][0] == column
    assert alarm.start > 2000


def test_missing_values_that_become_frequent_raise_an_alarm_that_names_the_column() -> None:
    mine = learner()
    watch = monitor(mine)
    for number in range(20):
        batch = events_of(COLUMNS, 200, number, classes=2)
        missing = (np.arange(200) % 2 == 0) & (number >= 10)
        batch = replace(batch, inputs={**batch.inputs, "height": np.where(missing, np.nan, batch.inputs["height"])})
        watch.predicted(batch, mine.predictor(), mine.predictor().predict(batch.inputs))
        mine.learn(batch)

    (alarm,) = [one for one in watch.drift.alarms if one.signal == "inputs"]

    assert alarm.features[0][0] == "height"
    assert alarm.start > 2000


def test_columns_are_watched_by_name_and_times_are_not() -> None:
    names = monitor(learner())._inputs.names

    assert names == [
        "amount",
        "height",
        "member",
        "country",
        "device",
        "user",
        "comment",
        "place[0]",
        "place[1]",
        "tags",
    ]
