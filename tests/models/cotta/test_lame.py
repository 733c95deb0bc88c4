"""Predictions of one window corrected together, and whose window it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.models.cotta.lame import NEIGHBOURS, STEPS, affinities, corrected
from thalweg.models.cotta.windows import Window

Floats = NDArray[np.float64]


def drawn(windows: int, size: int, classes: int, width: int, seed: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Probabilities, features of length 1, and places that hold an input: the first always does."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(classes, 0.5), (windows, size))
    features = random.standard_normal((windows, size, width))
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    present = random.random((windows, size)) < 0.8
    present[:, 0] = True
    return shares, features, present


def dense(shares: Floats, features: Floats, present: NDArray[np.bool_]) -> Floats:
    """One window as the paper defines it, place by place, absent places left out; z of those present."""
    rows = np.flatnonzero(present)
    q, f = shares[rows], features[rows]
    m = len(rows)
    w = np.zeros((m, m))
    for i in range(m):
        others = sorted((float(((f[i] - f[j]) ** 2).sum()), j) for j in range(m) if j != i)
        for _, j in others[:NEIGHBOURS]:
            w[i, j] += 0.5
            w[j, i] += 0.5
    z = q / q.sum(axis=1, keepdims=True)
    for _ in range(STEPS):
        new = np.array([q[i] * np.exp(np.sum([w[i, j] * z[j] for j in range(m)], axis=0)) for i in range(m)])
        new /= new.sum(axis=1, keepdims=True)
        if np.abs(new - z).max() < 1e-9:
            return new
        z = new
    return z


@settings(max_examples=20)
@given(size=st.integers(1, 9), classes=st.integers(2, 5), seed=st.integers(0, 10_000))
def test_a_window_is_corrected_as_a_direct_dense_computation_has_it(size: int, classes: int, seed: int) -> None:
    shares, features, present = drawn(3, size, classes, 8, seed)

    found = corrected(shares, features, present)

    for window in range(3):
        wanted = dense(shares[window], features[window], present[window])
        assert found[window][present[window]] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_window_corrected_alone_has_the_same_bits_as_beside_others(seed: int) -> None:
    shares, features, present = drawn(6, 9, 4, 8, seed)

    together = corrected(shares, features, present)

    for window in range(6):
        one = slice(window, window + 1)
        assert (corrected(shares[one], features[one], present[one]) == together[one]).all()


def test_an_input_alone_keeps_its_probabilities() -> None:
    shares, features, present = drawn(4, 7, 3, 8, seed=0)
    present[:, 1:] = False

    found = corrected(shares, features, present)

    assert found[:, 0] == pytest.approx(shares[:, 0], abs=1e-9)
    assert not affinities(features, present).any()


def test_an_unsure_input_takes_the_class_of_those_that_look_like_it() -> None:
    shares = np.array([[[0.45, 0.55], *[[0.9, 0.1]] * 6]])
    features = np.tile(np.array([1.0, 0.0]), (1, 7, 1))

    found = corrected(shares, features, np.ones((1, 7), dtype=bool))

    assert found[0, 0].argmax() == 0


def in_runs(window: Window, caller: int, inputs: int = 800) -> None:
    """So many inputs of a caller, a hundred of a class at a time."""
    for start in range(0, inputs, 10):
        shares = np.full((10, 4), 0.02)
        shares[:, start // 100 % 4] = 0.94
        features = np.tile(np.array([[float(caller), 0.0]], np.float32), (10, 1))
        window.take(np.full(10, caller), features, shares)


def test_a_caller_is_corrected_by_its_own_inputs_alone_and_the_one_not_heard_for_longest_is_dropped() -> None:
    window = Window(rows=3, callers=2, classes=4)
    for caller in (9, 7):
        in_runs(window, caller)

    before = window.of(np.array([7, 9, 8]))
    in_runs(window, 8)  # 9 was not heard for longest
    after = window.of(np.array([7, 9, 8]))

    assert before.features[:, :, 0].tolist() == [[7.0] * 3, [9.0] * 3, [0.0] * 3]
    assert before.held.sum(axis=1).tolist() == [3, 3, 0]
    assert np.isnan(before.factors[2]).all()
    assert after.held.sum(axis=1).tolist() == [3, 0, 3]


def test_a_window_is_used_only_while_the_classes_of_its_caller_come_in_runs() -> None:
    window, random = Window(rows=3, callers=2, classes=4), np.random.default_rng(0)
    in_runs(window, 1)
    for _ in range(80):
        shares = np.full((10, 4), 0.02)
        shares[np.arange(10), random.integers(0, 4, 10)] = 0.94
        window.take(np.full(10, 2), np.ones((10, 2), np.float32), shares)

    before = window.of(np.array([1, 2]))

    assert before.held.sum(axis=1).tolist() == [3, 0]


def test_features_that_are_not_finite_are_not_kept() -> None:
    window = Window(rows=3, callers=2, classes=2)

    window.take(np.array([1, 1]), np.array([[np.nan, 0.0], [1.0, 0.0]], np.float32), np.full((2, 2), 0.5))

    assert window.tensors()["counts"].tolist() == [1]
