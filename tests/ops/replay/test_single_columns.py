"""A replay says which column alone ranks better than the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg
from benchmarks.newcomers_rare import stream
from thalweg.ops.replay.single_columns import MOST_ROWS, SingleColumns
from thalweg.proto.event import Batch, ClassLabels, NumberLabels


def batch(labels: Any, **inputs: Any) -> Batch:
    """Events with these inputs; labels are names, None for none, or numbers."""
    count = len(labels)
    if isinstance(labels[0], float):
        made: Any = NumberLabels(np.array(labels)[:, None])
    else:
        names = tuple(dict.fromkeys(filter(None, labels)))
        made = ClassLabels(np.array([-1 if one is None else names.index(one) for one in labels], np.int32), names)
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in inputs.items()}
    return Batch(arrays, made, np.ones(count), np.zeros(count))


def of(*batches: Batch) -> SingleColumns:
    found = SingleColumns()
    for one in batches:
        found.add(one)
    return found


LABELS = ["no", "yes"] * 30
RISING = np.arange(60) % 2 + np.linspace(0, 0.5, 60)


def test_the_column_is_named_whatever_its_direction_and_however_the_names_are_coded() -> None:
    parts = [batch(LABELS, x=-RISING, y=RISING % 0.3), batch(LABELS[1:], x=-RISING[1:], y=RISING[1:] % 0.3)]

    hint = of(*parts).hint(0.8)

    assert hint is not None
    assert "the column 'x' alone ranks better, with auc 1.0000, than the model, with 0.8000" in hint
    assert "of the rarer label there were 59 rows, few to learn from" in hint


def test_inputs_without_names_are_told_by_place_and_scores_have_labels_of_0_and_1() -> None:
    numbers = [float(one == "yes") for one in LABELS]

    hint = of(batch(numbers, numeric=np.stack([RISING % 0.3, RISING], axis=1))).hint(0.8)

    assert hint is not None
    assert "'numeric[1]'" in hint


def test_events_without_a_label_and_missing_values_do_not_disturb() -> None:
    values = np.where(np.arange(60) == 7, np.nan, RISING)

    hint = of(batch([None, None, *LABELS[2:]], x=values)).hint(0.8)

    assert hint is not None
    assert "with auc 0.9" in hint


@pytest.mark.parametrize(
    ("labels", "column", "of_model"),
    [
        (LABELS, RISING, 0.99),  # the model is as good
        (LABELS, RISING, None),  # it has no such figure
        (LABELS, np.arange(60) % 7, 0.4),  # by chance
        (["no"] * 55 + ["yes"] * 5, np.arange(60), 0.5),  # too few to know
        (["a", "b", "c"] * 20, np.arange(60) % 3, 0.5),  # more than two labels
        ([0.0, 0.5] * 30, RISING, 0.5),  # no labels of 0 and 1
    ],
)
def test_else_nothing_is_said(labels: list[Any], column: Any, of_model: float | None) -> None:
    assert of(batch(labels, x=column)).hint(of_model) is None


def test_times_are_no_scores_and_many_rows_are_enough() -> None:
    few = of(batch(LABELS, at=RISING))
    assert few.hint(0.8) is not None
    assert few.hint(0.8, times=["at"]) is None

    few.add(batch(["no"] * MOST_ROWS, at=np.zeros(MOST_ROWS)))

    assert few.hint(0.8) is None


def test_of_rare_outcomes_a_report_names_the_score_among_the_columns() -> None:
    columns, labels, _ = stream("several columns", 500, 6000)

    report = thalweg.Model("ridge", batch_events=64).evaluate(
        {**columns, "label": np.where(labels > 0, "yes", "no")}, "label"
    )

    (hint,) = [one for one in report.hints if "alone ranks better" in one]
    assert hint.startswith("hint: the column 'score' alone ranks better, with auc 0.7665, than the model, with ")
