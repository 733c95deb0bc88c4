"""The sample of learned rows is a function of what was learned."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thalweg.models.bottleneck.row_sample import CAPACITY, RowSample


def events(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 9, (count, 6)), generator.integers(0, 3, count).astype(np.int32), np.ones(count)


def sample(*parts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> RowSample:
    made = RowSample(6)
    made.grow(3)
    for part in parts:
        made.add(*part)
    return made


def same(one: RowSample, other: RowSample) -> bool:
    pairs = zip(one.tensors().items(), other.tensors().items())
    return one.meta() == other.meta() and all(a == b and np.array_equal(x, y) for (a, x), (b, y) in pairs)


@given(seed=st.integers(0, 100), cut=st.integers(0, 3000))
def test_it_does_not_depend_on_order_or_on_who_learned_what(seed: int, cut: int) -> None:
    ids, codes, weights = events(3000)
    order = np.random.default_rng(seed).permutation(3000)
    parts = [(ids[o], codes[o], weights[o]) for o in (order[:cut], order[cut:])]

    whole = sample((ids, codes, weights))

    assert CAPACITY // 4 < len(whole) <= CAPACITY
    assert same(sample(*parts), whole)
    merged = sample(parts[0])
    merged.merge(sample(parts[1]), np.arange(3))
    assert same(merged, whole)


def test_rows_are_chosen_without_regard_to_what_they_are() -> None:
    ids, codes, weights = events(20_000)

    chosen = sample((ids, codes, weights))

    assert abs(chosen.ids.mean() - 4.0) < 0.3
    assert np.abs(chosen.weights.sum(axis=0) / chosen.weights.sum() - 1 / 3).max() < 0.12


def test_equal_rows_are_one_row_with_all_their_weight() -> None:
    ids, codes, weights = events(100)
    row = np.full((5000, 6), 3)

    both = sample((ids, codes, weights), (row, np.zeros(5000, np.int32), np.full(5000, 2.0)))

    assert len(both) == 101
    assert both.weights.max() == 10_000
    assert both.mean_weights().max() == 2.0


def test_rows_that_fade_away_make_room_for_new_ones() -> None:
    made = sample(events(20_000))
    for start in range(200):
        made.fade(0.9)
        made.add(*events(50, 1 + start))

    assert CAPACITY // 8 < len(made) <= CAPACITY
    assert made.mean_weights().min() > 0.04
