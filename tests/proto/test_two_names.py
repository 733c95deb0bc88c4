"""Labels of one number with two names: they are 0 and 1, in whatever form they come."""

from __future__ import annotations

from typing import Any

import pytest

from thalweg.proto.columns import check_label, label_column, numbers
from thalweg.proto.event import NumberLabels
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import Schema

NO_YES = Schema({}, "number", classes=("no", "yes"))


def values(schema: Schema, *labels: Any) -> list[float]:
    found = label_column(schema, labels)
    assert isinstance(found, NumberLabels)
    return [float(value) for (value,) in found.values]


def test_two_names_are_0_and_1_beside_numbers() -> None:
    assert values(NO_YES, "yes", "no", 1, 0.25, "1", True) == [1.0, 0.0, 1.0, 0.25, 1.0, 1.0]
    check_label(NO_YES, "yes")


@pytest.mark.parametrize("names", [("1", "2"), ("-1", "1"), ("true", "false"), ("NA", "seen")])
def test_names_come_before_what_they_are_as_numbers(names: tuple[str, str]) -> None:
    schema = Schema({}, "number", classes=names)

    assert values(schema, *names) == [0.0, 1.0]
    if names == ("1", "2"):
        assert values(schema, 1, 2.0) == [0.0, 1.0]
        with pytest.raises(Refused, match="label: expected '1' or '2', got 0"):
            numbers(schema, 0)


@pytest.mark.parametrize("label", ["maybe", "Yes", ["yes", "no"], {"yes": 1}])
def test_another_name_is_refused(label: Any) -> None:
    with pytest.raises(Refused, match="label: expected 'no' or 'yes', got "):
        numbers(NO_YES, label)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("no", '["no", "yes"]'),
        ("YES", '["NO", "YES"]'),
        ("N", '["N", "Y"]'),
        ("view", '["the name of 0", "the name of 1"]'),
    ],
)
def test_a_name_where_a_number_is_expected_says_what_to_write(label: str, told: str) -> None:
    with pytest.raises(Refused) as caught:
        numbers(Schema({}, "number"), label)

    assert f"expected 1 finite number, 1e+150 at most, got {label!r}" in str(caught.value)
    assert str(caught.value).endswith(f"to take two names for 0 and 1, set classes = {told} of the model")


def test_of_several_numbers_and_of_what_is_no_name_nothing_is_said_of_names() -> None:
    for schema, label in [(Schema({}, "number", 2), "no"), (Schema({}, "number"), float("inf"))]:
        with pytest.raises(Refused) as caught:
            numbers(schema, label)
        assert "two names" not in str(caught.value)
