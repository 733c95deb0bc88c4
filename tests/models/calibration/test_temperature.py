"""The temperature: probabilities whatever the scores, in the order of the scores, and right as often as they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.models.calibration.pair import PairSpread
from thalweg.models.calibration.temperature import Spread, Temperature

SCORES = st.lists(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3), min_size=1, max_size=9
)


def answered(temperature: Temperature, scores: NDArray[Any]) -> NDArray[np.float32]:
    return temperature.probabilities(temperature.spread(scores), scores.argmax(axis=1).astype(np.int32))


def stream(count: int, steep: float, seed: int = 0, classes: int = 3) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Scores, and classes drawn from the softmax of the scores times `steep`."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(count, classes)).astype(np.float32)
    odds = np.exp(steep * scores.astype(np.float64))
    odds /= odds.sum(axis=1, keepdims=True)
    return scores, (random.random((count, 1)) > odds.cumsum(axis=1)).sum(axis=1).astype(np.int32)


def learned(scores: NDArray[Any], columns: NDArray[np.int32], *, logs: bool = False, size: int = 64) -> Temperature:
    temperature = Temperature.new(logs=logs)
    for start in range(0, len(scores), size):
        part = slice(start, start + size)
        temperature = temperature.after(temperature.spread(scores[part]), columns[part])
    return temperature


@pytest.mark.parametrize("logs", [False, True])
@given(rows=SCORES)
def test_whatever_the_scores_rows_sum_to_one_and_the_first_is_the_first(rows: list[list[float]], logs: bool) -> None:
    scores = np.abs(np.array(rows, dtype=np.float32)) if logs else np.array(rows, dtype=np.float32)

    found = answered(Temperature.new(logs=logs), scores)

    assert np.abs(found.sum(axis=1) - 1).max() < 1e-6
    assert (found > 0).all()
    assert (found.argmax(axis=1) == scores.argmax(axis=1)).all()


@given(rows=SCORES, columns=st.lists(st.integers(-1, 2), min_size=9, max_size=9), steps=st.integers(1, 30))
def test_whatever_was_learned_all_numbers_stay_finite(rows: list[list[float]], columns: list[int], steps: int) -> None:
    scores = np.array(rows, dtype=np.float32)
    temperature = Temperature.new(logs=False)
    for _ in range(steps):
        temperature = temperature.after(temperature.spread(scores), np.array(columns[: len(rows)], dtype=np.int32))

    assert np.isfinite(temperature.tensor()).all()
    assert (answered(temperature, scores).argmax(axis=1) == scores.argmax(axis=1)).all()


@pytest.mark.parametrize("logs", [False, True])
@given(
    row=st.lists(st.floats(), min_size=2, max_size=2) | st.lists(st.floats(-3, 3), min_size=2, max_size=2),
    column=st.integers(-1, 1),
    label=st.integers(0, 1),
    scale=st.floats(-5, 5),
)
def test_one_row_of_two_classes_has_the_bits_that_it_has_among_others(
    row: list[float], column: int, label: int, scale: float, logs: bool
) -> None:
    temperature = replace(Temperature.new(logs=logs), scale=scale, learned_scale=scale - 0.01)
    scores, columns = np.array([row]), np.array([column], dtype=np.int32)
    with np.errstate(invalid="ignore"):
        alone, among = temperature.spread(scores), temperature.spread(np.array([row, [0.3, 0.1]]))
    assert isinstance(among, Spread)
    labels = np.array([label, 0], dtype=np.int32)

    same = Spread(among.behind[:1], among.softmax[:1])

    assert isinstance(alone, PairSpread) or not np.isfinite(np.sum(row))
    np.testing.assert_array_equal(np.reshape(alone.behind, (1, 2)), same.behind)
    np.testing.assert_array_equal(np.reshape(alone.softmax, (1, 2)), same.softmax)
    np.testing.assert_array_equal(
        temperature.probabilities(alone, labels[:1]), temperature.probabilities(among, labels)[:1]
    )
    assert temperature.after(alone, columns) == temperature.after(same, columns)


@pytest.mark.parametrize("steep", [0.2, 1.0, 5.0, 40.0])
def test_the_scale_is_that_of_the_stream(steep: float) -> None:
    temperature = learned(*stream(6000, steep))

    assert np.exp(temperature.scale) == pytest.approx(steep, rel=0.35)


def test_probabilities_that_are_right_stay_as_they_are_and_those_too_sure_become_less_so() -> None:
    scores, columns = stream(6000, 1.0)
    odds = np.exp(scores)
    right = odds / odds.sum(axis=1, keepdims=True)
    sure = odds**4 / (odds**4).sum(axis=1, keepdims=True)

    assert np.exp(learned(right, columns, logs=True).scale) == pytest.approx(1.0, rel=0.25)
    assert np.exp(learned(sure, columns, logs=True).scale) == pytest.approx(0.25, rel=0.25)


def test_it_follows_a_stream_that_changes() -> None:
    before, after = stream(4000, 6.0), stream(4000, 0.5, seed=1)

    temperature = learned(np.concatenate([before[0], after[0]]), np.concatenate([before[1], after[1]]))

    assert np.exp(temperature.scale) == pytest.approx(0.5, rel=0.35)


def test_a_few_events_move_it_little_and_none_not_at_all() -> None:
    scores, columns = stream(4, 50.0)
    new = Temperature.new(logs=False)

    assert abs(learned(scores, columns).learned_scale - new.scale) < 0.5
    assert new.after(new.spread(scores), np.full(4, -1, np.int32)) is new


def test_a_confident_mistake_does_not_flatten_later_predictions() -> None:
    scores, columns = stream(2000, 4.0)
    temperature = learned(scores, columns)
    wrong = np.tile(np.array([[900.0, 0.0, 0.0]], np.float32), (5, 1))

    after = temperature.after(temperature.spread(wrong), np.ones(5, np.int32))

    assert after.learned_scale == pytest.approx(temperature.learned_scale, abs=0.05)


def test_ties_go_to_the_label_and_rows_without_one_have_no_probabilities() -> None:
    temperature = Temperature.new(logs=True)
    scores = np.array([[0.5, 0.5], [0.2, 0.8], [np.nan, 0.5], [np.inf, 1.0]], np.float32)

    found = temperature.probabilities(temperature.spread(scores), np.array([1, 1, -1, -1], np.int32))

    assert found[:2].argmax(axis=1).tolist() == [1, 1]
    assert np.isnan(found[2:]).all()


def test_rows_that_are_not_finite_teach_nothing() -> None:
    scores, columns = stream(64, 3.0)
    new = Temperature.new(logs=False)
    broken = np.concatenate([scores, np.full((3, 3), np.nan, np.float32)])

    alone, together = (
        new.after(new.spread(scores), columns),
        new.after(new.spread(broken), np.concatenate([columns, np.zeros(3, np.int32)])),
    )

    assert together == alone


def test_merged_it_lies_between_both_by_their_weights() -> None:
    one, other = learned(*stream(3000, 4.0)), learned(*stream(100, 1.0, seed=3))

    both = one.merged(other)

    assert other.learned_scale < both.learned_scale < one.learned_scale
    assert abs(both.learned_scale - one.learned_scale) < abs(both.learned_scale - other.learned_scale)
    assert one.merged(Temperature.new(logs=False)).learned_scale == one.learned_scale


def test_it_comes_back_from_its_tensor() -> None:
    temperature = learned(*stream(640, 2.0), logs=False)

    assert Temperature.of(temperature.tensor()) == temperature
    assert Temperature.of(Temperature.new(logs=True).tensor()) == Temperature.new(logs=True)
