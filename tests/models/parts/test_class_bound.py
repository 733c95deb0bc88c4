"""What has no room among a learner's classes: counted, said once, and bounded in bytes as in number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from thalweg.memory.snapshots.state import State, read_state, write_state
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.contract.registry import find
from thalweg.models.parts.class_bound import add_classes
from thalweg.proto.bounds.limits import MAX_CLASS_NAMES_BYTES, MAX_LABEL_BYTES
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec

NUMBERS = {"x": TensorSpec("x", "float64", (2,))}
KEYS = {"key": TensorSpec("key", "bytes", ())}


def batch(codes: list[int], keys: bool) -> Batch:
    count = len(codes)
    column = np.array([b"k"] * count, dtype=object) if keys else np.ones((count, 2))
    labels = ClassLabels(np.array(codes, np.int32), ("a", "b", "c", "d"))
    return Batch({"key" if keys else "x": column}, labels, np.ones(count), np.arange(count) + 1.0)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("ridge", {"max_classes": 2}),
        ("nearest_mean", {"max_classes": 2}),
        ("bottleneck", {"max_classes": 2}),
        ("prompt_tpp", {"max_types": 2}),
    ],
)
def test_events_of_classes_beyond_the_bound_are_counted_and_said_once(name: str, params: dict[str, Any]) -> None:
    structlog.reset_defaults()
    keys = name == "prompt_tpp"
    context = LearnerContext(inputs=KEYS if keys else NUMBERS, params=params, seed=0)
    learner = find(name)(context)

    with capture_logs() as said:
        for codes in ([0, 1], [0, 2, 3], [2]):
            learner.learn(batch(codes, keys))

    assert learner.gauges()["excess_class_events"] == 3
    assert [(one["log_level"], one["first"]) for one in said] == [("warning", "c")]
    again = find(name)(context)
    again.restore(learner.state())
    assert again.gauges()["excess_class_events"] == 3
    assert again.state().sha256() == learner.state().sha256()


def test_the_names_of_all_classes_are_bounded_and_the_largest_table_can_be_saved(tmp_path: Path) -> None:
    table: dict[str, int] = {}
    add_classes(table, (f"{i:08}".ljust(MAX_LABEL_BYTES, "\1") for i in range(5000)), 1_000_000)

    assert sum(map(len, table)) == MAX_CLASS_NAMES_BYTES
    add_classes(table, ["x" * MAX_LABEL_BYTES], 1_000_000)
    assert len(table) == MAX_CLASS_NAMES_BYTES // MAX_LABEL_BYTES
    state = State({"x": np.ones(1)}, {"classes": list(table), "also": list(table), "and": list(table)})
    write_state(state, tmp_path / "s.safetensors")
    assert read_state(tmp_path / "s.safetensors").sha256() == state.sha256()


def test_which_classes_have_room_does_not_depend_on_how_the_stream_is_cut() -> None:
    names = [f"{i:08}".ljust(MAX_LABEL_BYTES - i % 7, "a") for i in range(2100)] + ["short"]
    whole: dict[str, int] = {}
    parts: dict[str, int] = {}

    add_classes(whole, names, 10_000)
    for name in names:
        add_classes(parts, [name], 10_000)

    assert whole == parts
    assert "short" in whole or sum(map(len, whole)) > MAX_CLASS_NAMES_BYTES - len("short")
