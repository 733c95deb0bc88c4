"""Columns that only tell rows apart, and columns that say the label."""

from __future__ import annotations

from typing import Any

import pytest

from thalweg.ops.init.guess import Guessed, guess
from thalweg.ops.init.sample import Sample

ROWS = 120


def guessed(**columns: list[Any]) -> Guessed:
    rows = [dict(zip(columns, values)) for values in zip(*columns.values())]
    return guess(Sample(rows, list(columns)), "y")


LABELS = ["no" if i % 3 else "yes" for i in range(ROWS)]
NUMBERS = [i * 7 % 31 / 3 for i in range(ROWS)]


def test_an_article_that_comes_twice_is_no_id_of_events_which_would_be_dropped_as_duplicates() -> None:
    articles = [f"sku{1000 + 7 * i}" for i in range(ROWS)]

    assert guessed(sku=articles, x=NUMBERS, y=LABELS).id == "sku"
    found = guessed(sku=[*articles[:-1], articles[0]], x=NUMBERS, y=LABELS)

    assert found.id == ""
    assert found.columns["sku"].kind == "hashed"


@pytest.mark.parametrize("other", [{"no": "stays", "yes": "churned"}, {"no": 0, "yes": 1}, {"no": False, "yes": True}])
def test_a_column_that_is_the_label_under_another_name_is_told_aloud(other: dict[str, Any]) -> None:
    found = guessed(outcome=[other[one] for one in LABELS], x=NUMBERS, y=LABELS)

    assert "known only with the label? --ignore outcome then" in found.columns["outcome"].doubt
    assert not found.columns["x"].doubt


def test_a_column_that_says_more_or_less_than_the_label_is_not() -> None:
    nearly = [*LABELS[:-1], "no" if LABELS[-1] == "yes" else "yes"]
    finer = [f"{one}{i % 2}" for i, one in enumerate(LABELS)]
    found = guessed(nearly=nearly, finer=finer, constant=["a"] * ROWS, y=LABELS)

    assert [one.doubt for one in found.columns.values()] == [""] * 3


def test_numbers_are_not_taken_for_labels_that_differ_in_each_row() -> None:
    found = guessed(x=NUMBERS, z=[i / 7 for i in range(ROWS)], y=[i / 3 for i in range(ROWS)])

    assert not found.columns["z"].doubt


@pytest.mark.parametrize("name", ["", "  "])
def test_a_column_without_a_name_is_left_out(name: str) -> None:
    found = guessed(**{"x": NUMBERS, name: NUMBERS, "y": LABELS})

    assert list(found.columns) == ["x"]
    assert found.left_out == {name: "it has no name to ask for it by"}


@pytest.mark.parametrize(
    "labels",
    [sorted(LABELS), sorted(LABELS, reverse=True), sorted(NUMBERS), [f"c{i // 12}" for i in range(ROWS)]],
    ids=["classes", "backwards", "numbers", "many classes"],
)
def test_rows_in_the_order_of_their_labels_are_told(labels: list[Any]) -> None:
    shuffled = [labels[(17 * i) % ROWS] for i in range(ROWS)]

    assert "sorted by it" in guessed(x=NUMBERS, y=labels).label_doubt
    assert "sorted by it" not in guessed(x=NUMBERS, y=shuffled).label_doubt


def test_a_rare_class_is_not_shown_as_none() -> None:
    note = guessed(x=[*NUMBERS] * 5, y=["no"] * (5 * ROWS - 1) + ["yes"]).label_note

    assert "no 99.8%, yes 0.167%" in note


def test_truth_values_among_numbers_are_not_called_markers_which_they_cannot_be() -> None:
    found = guessed(x=[True if i % 20 == 0 else NUMBERS[i] + i for i in range(ROWS)], y=LABELS).columns["x"]

    assert found.kind == "hashed"
    assert 'kind = "numeric", if rows with true may be refused' in found.doubt
    assert "missing_values" not in found.doubt
