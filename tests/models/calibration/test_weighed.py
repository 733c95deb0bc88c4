"""Probabilities of classes of which some are rare: never much worse than the rates, in the order of the scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.models.calibration.short_rows import row_highest, row_product, row_sum
from thalweg.models.calibration.temperature import Spread, Temperature
from thalweg.models.calibration.weighed import Calibration

Floats = NDArray[np.float64]
ROWS = st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=5)


def rare(rate: float, count: int, seed: int, *, useless: bool = False) -> tuple[Floats, NDArray[np.int32], Floats]:
    """Scores as of a regression on 0 and 1, labels, and true probabilities."""
    random = np.random.default_rng(seed)
    odds = np.log(rate) - 0.7 + 1.2 * random.standard_normal(count)
    true = 1.0 / (1.0 + np.exp(-odds))
    columns = (random.random(count) < true).astype(np.int32)
    told = random.permutation(true) if useless else true
    return np.stack([1.0 - told, told], axis=1), columns, true


def taught(scores: Floats, columns: NDArray[np.int32], size: int = 16, calibration: Any = None) -> tuple[Floats, Any]:
    """Probabilities of the true classes as they were predicted, and the calibration at the end."""
    calibration, said = calibration or Calibration.new(logs=False), []
    for start in range(0, len(columns), size):
        part = slice(start, start + size)
        spread = calibration.spread(scores[part])
        found = calibration.probabilities(spread, scores[part].argmax(axis=1).astype(np.int32))
        said.append(found)
        calibration = calibration.after(spread, columns[part])
    return np.concatenate(said), calibration


def loss(said: Floats, columns: NDArray[np.int32]) -> float:
    """Sum of -log p."""
    return float(-np.log(np.maximum(said[np.arange(len(columns)), columns], 1e-15)).sum())


def rates(columns: NDArray[np.int32], classes: int, size: int = 16) -> Floats:
    """The shares of the classes before each micro-batch."""
    came = np.eye(classes)[columns]
    before = np.cumsum(came, axis=0) - came + 0.5
    before = before[np.arange(len(columns)) // size * size]
    return np.asarray(before / before.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("useless", [False, True])
@pytest.mark.parametrize("rate", [0.02, 0.002, 0.0001])
def test_probabilities_of_a_rare_class_are_no_worse_than_its_rate(rate: float, useless: bool) -> None:
    scores, columns, _ = rare(rate, 20_000, 3, useless=useless)

    said, _ = taught(scores, columns)

    assert loss(said, columns) < loss(rates(columns, 2), columns) + 8.0  # nats, in all of 20,000 events


def test_scores_that_know_a_rare_class_are_worth_more_than_its_rate_and_keep_their_order() -> None:
    scores, columns, true = rare(0.005, 20_000, 5)

    said, _ = taught(scores, columns)

    alone, _ = taught(scores, columns, calibration=Temperature.new(logs=False))
    assert loss(said, columns) < loss(alone, columns)
    assert loss(said, columns) < 0.97 * loss(rates(columns, 2), columns)
    late = slice(10_000, None)
    order, own = said[late, 1].argsort(), true[late].argsort()
    ranks, expected = np.empty(10_000), np.empty(10_000)
    ranks[order], expected[own] = np.arange(10_000), np.arange(10_000)
    assert np.corrcoef(ranks, expected)[0, 1] > 0.8


def ranking(of: Floats, columns: NDArray[np.int32]) -> float:
    """AUC: the share of pairs in the right order."""
    ones, zeros = of[columns == 1], np.sort(of[columns == 0])
    return float(np.searchsorted(zeros, ones).mean() / len(zeros))


def test_probabilities_of_a_class_in_three_hundred_rank_about_as_well_as_its_scores() -> None:
    """Where the one scale counts as much as the rest, its moves cost 0.03 of AUC, and log loss."""
    lost, gained = [], []
    for seed in range(1, 5):
        scores, columns, true = rare(0.003, 12_000, seed)
        said, _ = taught(0.1 * scores + 0.45, columns)  # small margins, as of a regression from few outcomes
        late = slice(3000, None)
        lost.append(ranking(true[late], columns[late]) - ranking(said[late, 1], columns[late]))
        gained.append(loss(rates(columns, 2), columns) - loss(said, columns))

    assert np.mean(lost) < 0.02
    assert min(gained) > 5.0  # nats


def test_many_classes_of_which_one_is_rare() -> None:
    random = np.random.default_rng(0)
    columns = np.where(random.random(20_000) < 1e-3, 4, random.integers(0, 4, 20_000)).astype(np.int32)
    scores = 0.2 + 0.05 * random.standard_normal((20_000, 5))
    scores[:, 4] -= 0.2

    said, _ = taught(scores, columns)

    assert loss(said, columns) < loss(rates(columns, 5), columns) + 20.0


def test_scores_of_classes_that_come_alike_are_as_good_as_by_the_scale_alone() -> None:
    random = np.random.default_rng(1)
    scores = random.standard_normal((10_000, 3))
    given = np.exp(2.0 * scores)
    given /= given.sum(axis=1, keepdims=True)
    columns = (random.random((10_000, 1)) > np.cumsum(given, axis=1)).sum(axis=1).astype(np.int32)

    said, _ = taught(scores, columns)

    alone, _ = taught(scores, columns, calibration=Temperature.new(logs=False))
    assert loss(said, columns) < loss(alone, columns) + 10.0


@given(rows=ROWS, columns=st.lists(st.integers(-1, 2), min_size=5, max_size=5), logs=st.booleans())
def test_whatever_was_learned_rows_sum_to_one_and_the_first_is_the_first(
    rows: list[list[float]], columns: list[int], logs: bool
) -> None:
    scores = np.array(rows)
    label = scores.argmax(axis=1).astype(np.int32)
    calibration = Calibration.new(logs=logs)
    for _ in range(3):
        spread = calibration.spread(scores)
        found = calibration.probabilities(spread, label)
        np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-6)
        assert (found.argmax(axis=1) == label).all()
        calibration = calibration.after(spread, np.array(columns[: len(rows)], dtype=np.int32))
    assert all(np.isfinite(tensor).all() for tensor in calibration.tensors().values())


@given(row=st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=2), seed=st.integers(0, 3))
def test_one_row_of_two_classes_has_the_bits_that_it_has_among_others(row: list[float], seed: int) -> None:
    scores, columns, _ = rare(0.05, 320, seed)
    _, calibration = taught(scores, columns)
    calibration = replace(calibration, used=(0.3, 0.5, 0.2))
    alone = calibration.spread(np.array([row]))
    among = calibration.spread(np.array([row, [0.3, 0.1]]))
    assert not isinstance(alone, Spread)
    label = np.array([row.index(max(row)), 0], dtype=np.int32)

    found = calibration.probabilities(alone, label[:1])

    np.testing.assert_array_equal(found, calibration.probabilities(among, label)[:1])


def assert_same(one: Calibration, other: Calibration) -> None:
    """Bit for bit."""
    mine, theirs = one.tensors(), other.tensors()
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        np.testing.assert_array_equal(tensor, theirs[name])


@pytest.mark.parametrize("logs", [False, True])
def test_rows_of_two_classes_that_are_learned_one_by_one_lead_to_the_state_of_arrays(logs: bool) -> None:
    scores, columns, _ = rare(0.05, 700, 1)
    columns[::7] = -1
    plain = arrays = Calibration.new(logs=logs).sized(2)
    sizes = [1] * 40 + [3, 1, 1, 2] * 60  # some alone, some with others: they wait in the order in which they came
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        spread = plain.spread(scores[part])
        plain = plain.after(spread, columns[part])
        arrays = arrays.after(Spread(np.array(spread.behind).reshape(-1, 2), spread_of(spread)), columns[part])
        start += size
        if start == 301:
            plain = Calibration.of(plain.tensors())

    assert plain.held > 1
    assert plain.corrected.events > 0
    assert_same(plain, arrays)


def spread_of(spread: Any) -> Floats:
    """Its softmax as an array."""
    return np.array(spread.softmax).reshape(-1, 2)


@pytest.mark.parametrize("classes", [1, 2, 3, 9])
def test_the_highest_and_the_sums_of_short_rows_have_the_bits_of_reductions(classes: int) -> None:
    random = np.random.default_rng(classes)
    one, other = random.standard_normal((2, 500, classes))
    one[3, 0] = np.nan

    np.testing.assert_array_equal(row_highest(one), np.maximum.reduce(one, axis=1))
    np.testing.assert_array_equal(row_sum(one), np.add.reduce(one, axis=1))
    np.testing.assert_array_equal(row_product(one, other), np.einsum("ij,ij->i", one, other))


def test_it_comes_back_from_its_tensors_and_one_of_before_answers_as_it_did() -> None:
    scores, columns, _ = rare(0.05, 640, 0)
    label = scores.argmax(axis=1).astype(np.int32)
    _, calibration = taught(scores, columns)

    again = Calibration.of(calibration.tensors())
    for one in (calibration.in_use(), again, Calibration.of(calibration.in_use().tensors())):
        assert one.alike(calibration)
    spread = calibration.spread(scores)
    after, expected = again.after(spread, columns).tensors(), calibration.after(spread, columns).tensors()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(after[name], tensor)

    before = Calibration.of({"temperature": calibration.temperature.tensor()})
    np.testing.assert_array_equal(
        before.probabilities(spread, label), calibration.temperature.probabilities(spread, label)
    )


def test_columns_in_another_order_and_new_ones_keep_what_is_known_of_their_classes() -> None:
    scores, columns, _ = rare(0.05, 640, 0)
    _, calibration = taught(scores, columns)
    calibration = calibration.learned

    turned = calibration.at([1, 0])
    more = calibration.sized(3)

    assert turned.corrected.counts.tolist() == calibration.corrected.counts[::-1].tolist()
    np.testing.assert_allclose(
        turned.probabilities(turned.spread(scores[:5, ::-1]), np.ones(5, np.int32))[:, ::-1],
        calibration.at([0, 1]).probabilities(calibration.spread(scores[:5]), np.zeros(5, np.int32)),
        atol=1e-6,
    )
    assert more.corrected.counts.tolist() == [*calibration.corrected.counts.tolist(), 0.0]
    assert 0 < more.corrected.used.shares[2] < 0.01


def test_events_that_wait_are_learned_though_a_class_has_come_since() -> None:
    scores, columns, _ = rare(0.05, 20, 0)
    calibration = Calibration.new(logs=False)
    for row in range(10):
        calibration = calibration.after(calibration.spread(scores[row : row + 1]), columns[row : row + 1])
    assert calibration.held == 10

    more = calibration.sized(3).at([2, 1, 0])

    assert more.held == 0
    assert more.corrected.counts[::-1].round().tolist() == [*np.bincount(columns[:10], minlength=2).tolist(), 0]


@pytest.mark.parametrize("run", [100, 400, 600])
def test_where_scores_are_worth_more_and_less_in_turn_one_scale_is_no_better(run: int) -> None:
    """Weights that follow all that is said are always those of the events before: 8 % worse, in runs of 400."""
    random, count = np.random.default_rng(1), 16_000
    columns = (random.random(count) < 0.5).astype(np.int32)
    right = random.random(count) < np.where(np.arange(count) // run % 2, 0.6, 0.97)
    named = np.where(right, columns, 1 - columns)
    ahead = np.abs(random.normal(size=count)) * 0.15 + 0.05
    scores = np.stack([np.where(named == 0, ahead, -ahead), np.where(named == 1, ahead, -ahead)], axis=1)

    said, _ = taught(scores, columns)

    temperature, alone = Temperature.new(logs=False), []
    for start in range(0, count, 16):
        part = slice(start, start + 16)
        spread = temperature.spread(scores[part])
        alone.append(temperature.probabilities(spread, named[part].astype(np.int32)))
        temperature = temperature.after(spread, columns[part])
    assert loss(said, columns) < 1.01 * loss(np.concatenate(alone), columns)
