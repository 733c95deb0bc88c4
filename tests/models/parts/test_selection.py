"""Which events are learned from."""

import numpy as np
import pytest

from thalweg.models.parts.selection import select_classes, select_numbers
from thalweg.proto.event import ClassLabels, NumberLabels
from thalweg.proto.schema import InputError

X = np.arange(12, dtype=np.float32).reshape(6, 2)
ONES = np.ones(6)


def classes(*codes: int) -> ClassLabels:
    return ClassLabels(np.array(codes, np.int32), ("a", "b", "c"))


def test_classes_get_columns_in_the_order_in_which_their_events_came() -> None:
    table: dict[str, int] = {}

    selected = select_classes(X, classes(2, -1, 0, 2, 0, -1), ONES, table, 10)

    assert table == {"c": 0, "a": 1}
    np.testing.assert_array_equal(selected.inputs, X[[0, 2, 3, 4]])
    np.testing.assert_array_equal(selected.targets, [[1, 0], [0, 1], [1, 0], [0, 1]])
    assert selected.weights is None
    assert selected.skipped == 0


def test_a_name_that_no_usable_event_has_is_not_registered() -> None:
    table: dict[str, int] = {}
    broken = X.copy()
    broken[0, 0] = np.nan

    selected = select_classes(broken, classes(2, 0, 0, 0, 0, 0), ONES, table, 10)

    assert table == {"a": 0}
    assert selected.skipped == 1


def test_classes_past_the_bound_are_skipped_and_known_ones_still_taken() -> None:
    table = {"c": 0}

    selected = select_classes(X, classes(0, 1, 2, 0, 1, 2), ONES, table, 2)

    assert table == {"c": 0, "a": 1}
    assert selected.skipped == 2
    assert selected.codes is not None
    np.testing.assert_array_equal(selected.codes, [1, 0, 1, 0])


def test_weights_are_kept_only_where_they_say_something() -> None:
    uneven = np.array([1, 2, 1, 0, 1, 1.0])

    selected = select_classes(X, classes(0, 0, 0, 0, 0, 0), uneven, {}, 10)

    np.testing.assert_array_equal(selected.weights, [1, 2, 1, 1, 1])


def test_targets_that_are_not_finite_or_beyond_all_bounds_are_left_out() -> None:
    values = np.array([[1.0], [np.nan], [2.0], [np.inf], [1e200], [3.0]])

    selected = select_numbers(X, NumberLabels(values), ONES, 1)

    np.testing.assert_array_equal(selected.targets, [[1], [2], [3]])
    assert selected.skipped == 1  # rows that are not finite count as unlabelled
    with pytest.raises(InputError, match=r"expected \(N, 2\), got \(6, 1\)"):
        select_numbers(X, NumberLabels(values), ONES, 2)
