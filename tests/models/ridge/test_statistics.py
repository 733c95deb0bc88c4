"""Sums over events: fading, weights, class moments, adding and taking away."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.models.ridge.statistics import Rows, Statistics

GENERATOR = np.random.default_rng(0)
N, D, C = 90, 6, 4
H, X = GENERATOR.standard_normal((N, D)), GENERATOR.standard_normal((N, 3)) + 1e3
CODES = GENERATOR.integers(0, C, N).astype(np.int32)
W = GENERATOR.uniform(0.2, 3, N)
CUTS = st.lists(st.integers(1, 40), max_size=6)


def rows(part: slice, weights: bool = True) -> Rows:
    return Rows(H[part], np.eye(C)[CODES[part]], W[part] if weights else None, CODES[part], X[part])


def added(cuts: list[int], decay: float) -> Statistics:
    statistics, start = Statistics(D, C, decay=decay, moments=3, class_grams=True), 0
    for size in [*cuts, N]:
        statistics.add(rows(slice(start, start + size)))
        start += size
    return statistics


def assert_close(got: Statistics, wanted: Statistics) -> None:
    for name, array in got.tensors().items():
        np.testing.assert_allclose(array, wanted.tensors()[name], rtol=1e-9, atol=1e-9, err_msg=name)


@given(cuts=CUTS, decay=st.sampled_from([1.0, 0.99, 0.7]))
def test_all_sums_are_those_of_the_definition_however_events_are_cut(cuts: list[int], decay: float) -> None:
    got = added(cuts, decay)

    weight = W * decay ** np.arange(N - 1, -1, -1)
    upper = np.triu_indices(D)
    np.testing.assert_allclose(got.gram[upper], ((weight[:, None] * H).T @ H)[upper], atol=1e-10)
    np.testing.assert_allclose(got.cross, H.T @ (weight[:, None] * np.eye(C)[CODES]), atol=1e-10)
    assert got.class_mean is not None
    assert got.class_m2 is not None
    assert got.class_grams is not None
    for code in range(C):
        mine = code == CODES
        mean = np.average(X[mine], axis=0, weights=weight[mine])
        np.testing.assert_allclose(got.class_weight[code], weight[mine].sum(), rtol=1e-10)
        np.testing.assert_allclose(got.class_mean[code], mean, rtol=1e-12)
        np.testing.assert_allclose(got.class_m2[code], weight[mine] @ (X[mine] - mean) ** 2, rtol=1e-8, atol=1e-9)
        gram = (weight[mine, None] * H[mine]).T @ H[mine]
        np.testing.assert_allclose(got.class_grams[code][upper], gram[upper], atol=1e-10)


@given(start=st.integers(0, 60), count=st.integers(1, 25))
def test_what_is_taken_away_leaves_no_trace(start: int, count: int) -> None:
    got, never = added([], 1.0), Statistics(D, C, moments=3, class_grams=True)

    got.subtract(rows(slice(start, start + count)))

    never.add(rows(slice(0, start)))
    never.add(rows(slice(start + count, N)))
    np.testing.assert_allclose(got.gram, never.gram, atol=1e-10)
    np.testing.assert_allclose(got.cross, never.cross, atol=1e-10)
    assert got.class_mean is not None
    assert never.class_mean is not None
    np.testing.assert_allclose(got.class_mean, never.class_mean, rtol=1e-9)


@given(cut=st.integers(1, N - 1))
def test_parts_merge_to_the_whole_also_under_another_order_of_classes(cut: int) -> None:
    order = np.array([2, 0, 3, 1])
    left, right = (Statistics(D, C, moments=3, class_grams=True) for _ in range(2))
    left.add(rows(slice(0, cut)))
    some = rows(slice(cut, N))
    assert some.codes is not None
    theirs = np.argsort(order)[some.codes].astype(np.int32)
    right.add(Rows(some.features, np.eye(C)[theirs], some.weights, theirs, some.inputs))

    right.reorder(order, C)
    left.merge(right)

    assert_close(left, added([], 1.0))


def test_sums_that_fade_are_neither_merged_nor_reduced() -> None:
    fading = added([], 0.9)

    with pytest.raises(ValueError, match="ages are not known"):
        fading.subtract(rows(slice(0, 1)))
    with pytest.raises(ValueError, match="order of events"):
        fading.merge(added([], 0.9))


def test_no_events_change_nothing_and_nothing_fades() -> None:
    statistics = added([], 0.9)
    before = statistics.gram.copy()

    statistics.add(rows(slice(0, 0)))

    np.testing.assert_array_equal(statistics.gram, before)


def test_more_classes_leave_what_is_there() -> None:
    grown, whole = added([], 1.0), added([], 1.0)

    grown.grow(7)

    assert grown.columns == 7
    np.testing.assert_array_equal(grown.cross[:, :C], whole.cross)
    assert not grown.cross[:, C:].any()
    grown.grow(3)  # never shrinks
    assert grown.columns == 7
