"""A weight is bounded: a few heavy events cannot outweigh all that a model has learned, in whatever form they come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.columns import weight_column
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch, to_events, to_json
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import TensorSpec
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.sources.files import read_events
from thalweg.stream.sources.mapping import CsvMapping

FORMS = {
    "json": (to_json, ()),
    "protobuf": (to_events, EVENT_HEADERS),
    "batch": (lambda batch: [to_event_batch(batch)], EVENT_BATCH_HEADERS),
}


def events(count: int, seed: int, weight: float = 1.0, *, swapped: bool = False) -> Batch:
    """Two classes that a linear model tells apart; or, swapped, their labels exchanged."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, 2, count).astype(np.int32)
    features = random.normal(0, 0.3, (count, 4)).astype(np.float32)
    features[np.arange(count), codes] += 1
    labels = ClassLabels((1 - codes if swapped else codes).astype(np.int32), ("left", "right"))
    return Batch({"features": features}, labels, np.full(count, weight), 1.7e9 + np.arange(count, dtype=float))


def accuracy_after(weight: float, form: str, **settings: float) -> tuple[float, int]:
    """Accuracy on 300 fresh events after 300 good ones and three heavy wrong ones, and the dead letters."""
    to_records, headers = FORMS[form]
    log = InMemoryLog()
    for batch in (events(300, 0), events(3, 1, weight, swapped=True), events(100, 2)):
        log.append("t", [Message(value, headers=headers) for value in to_records(batch)])
    learner = Ridge(
        LearnerContext(inputs={"features": TensorSpec("features", "float32", (4,))}, params={"expansion": 0}, seed=0)
    )
    made = ProcessorSettings(model="m", topic="t", batch_events=64, batch_seconds=0, idle_seconds=0, **settings)
    ports = Ports(dead_letters=DeadLetters(log, "t", "m"))
    Processor(learner, log, InMemorySnapshots(), made, ports=ports).run(until_end=True)

    fresh = events(300, 3)
    predictor = learner.predictor()
    answers = predictor.predict(fresh.inputs)["label"]
    assert isinstance(fresh.labels, ClassLabels)
    right = [predictor.classes[a] == fresh.labels.names[b] for a, b in zip(answers.tolist(), fresh.labels.codes)]
    letters = DeadLetters(log, "t", "m").newest(10)
    assert {letter.reason for letter in letters} <= {"bad_weight"}
    return float(np.mean(right)), len(letters)


@pytest.mark.parametrize("form", FORMS)
def test_three_events_of_weight_1e30_are_dead_letters_and_change_nothing(form: str) -> None:
    undisturbed, none = accuracy_after(1.0, form)

    attacked, letters = accuracy_after(1e30, form)

    assert (none, letters) == (0, 1 if form == "batch" else 3)
    assert attacked >= undisturbed - 0.01


def test_without_the_bound_they_would_have() -> None:
    assert accuracy_after(1e30, "json", max_weight=1e300)[0] < 0.8


@pytest.mark.parametrize(("most", "letters"), [(1000.0, 0), (999.0, 3)])
def test_the_bound_is_as_configured(most: float, letters: int) -> None:
    assert accuracy_after(1000.0, "json", max_weight=most)[1] == letters


def test_files_are_bounded_in_every_format(tmp_path: Path) -> None:
    schema = replace(
        Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float32", (1,))}, params={}, seed=0)).schema, max_weight=5.0
    )
    (tmp_path / "a.csv").write_text("x,label,weight\n1,a,5\n2,b,6\n")
    (tmp_path / "a.jsonl").write_text(
        '{"inputs": {"x": [1]}, "label": "a", "weight": 5}\n{"inputs": {"x": [2]}, "label": "b", "weight": 6}\n'
    )

    for name in ("a.csv", "a.jsonl"):
        found = list(read_events(tmp_path / name, schema, CsvMapping(weight="weight")))
        assert [len(part.batch) for part in found] == [1], name
        assert [one.reason for part in found for one in part.rejected] == ["bad_weight"], name


def test_the_refusal_names_the_setting_and_what_came() -> None:
    with pytest.raises(Refused, match=r"weight: expected at most max_weight, 1000, got 1e\+30"):
        weight_column([1.0, 1e30], 1000.0)
