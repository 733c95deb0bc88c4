"""The running scale: exact moments, and steps that depend on the number of events alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.models.parts.running_scale import RunningScale
from thalweg.models.parts.standardise import Standardiser, limited, within
from thalweg.models.parts.standardise import scaled as scaled_by

Floats = NDArray[np.float64]


def rows(count: int, seed: int = 0) -> Floats:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((count, 3)) * [1, 1e4, 1e-3] + [5, -2e4, 0]


def scaled(log: Floats, cuts: list[int]) -> tuple[Floats, Standardiser]:
    standardiser, start, parts = Standardiser(3), 0, []
    for size in [*cuts, len(log)]:
        some = log[start : start + size]
        start += size
        parts += [standardiser.take(some[part], 6.0)[0] for part in standardiser.stretches(len(some))]
    return np.concatenate(parts), standardiser


@given(cuts=st.lists(st.integers(1, 50), max_size=8))
def test_however_the_log_is_cut_each_event_is_scaled_the_same(cuts: list[int]) -> None:
    log = rows(300)

    cut, whole = scaled(log, cuts)[0], scaled(log, [])[0]

    np.testing.assert_allclose(cut, whole, rtol=1e-9, atol=1e-9)


def test_the_scale_becomes_that_of_the_data() -> None:
    log = rows(5000)

    z, standardiser = scaled(log, [])

    np.testing.assert_allclose(1 / standardiser.factor, log.std(axis=0), rtol=0.05)
    assert np.abs(z[1000:].mean(axis=0)).max() < 0.1
    assert np.abs(z[1000:].std(axis=0) - 1).max() < 0.1


def test_the_first_event_is_its_own_centre() -> None:
    z, _ = scaled(rows(1), [])

    assert (z == 0).all()


def test_a_constant_input_is_no_division_by_zero() -> None:
    log = np.full((100, 3), 0.1)

    z, standardiser = scaled(log, [])

    assert np.abs(z).max() < 1e-9
    assert np.isfinite(standardiser.factor).all()


def test_an_input_that_starts_to_vary_late_is_followed() -> None:
    log = rows(4000)
    log[:1000, 1] = 7.0

    _, standardiser = scaled(log, [])

    assert 0.3 < 1e4 * standardiser.factor[1] < 3


def test_one_absurd_number_moves_the_scale_by_a_bounded_share() -> None:
    log, absurd = rows(4000), rows(4000)
    absurd[500, 0] = 3e38

    spoiled, clean = scaled(absurd, [])[1], scaled(log, [])[1]

    assert spoiled.factor[0] > 0.4 * clean.factor[0]


def test_restored_moments_go_on_as_if_never_stopped() -> None:
    log = rows(200)
    _, whole = scaled(log, [77])
    _, half = scaled(log[:77], [])
    again = Standardiser(3)

    again.restore(half.tensors(), half.events, half.next_step)
    for part in again.stretches(123):
        again.take(log[77:][part], 6.0)

    for name, array in again.tensors().items():
        np.testing.assert_array_equal(array, whole.tensors()[name])


@pytest.mark.parametrize("mean", [1e9, -1e10])
def test_numbers_that_vary_little_beside_their_mean_are_no_constants(mean: float) -> None:
    drawn = np.random.default_rng(0).normal(size=(600, 1))
    standardiser = Standardiser(1)
    found = [standardiser.take(mean + drawn[part], 6.0)[0] for part in standardiser.stretches(600)]

    assert np.std(np.concatenate(found)[-100:]) == pytest.approx(np.std(drawn[-100:]), rel=0.1)


@pytest.mark.parametrize("count", [1, 16, 17, 5000])
@given(seed=st.integers(0, 1000), factor=st.sampled_from([0.1, 1.0, 3.0]), missing=st.integers(0, 2))
def test_numbers_are_clipped_as_by_numpy_however_many_they_are(
    count: int, seed: int, factor: float, missing: int
) -> None:
    generator = np.random.default_rng(seed)
    z = generator.standard_normal((1, count)) * factor
    z[0, generator.integers(0, count, missing)] = np.nan
    with np.errstate(invalid="ignore"):
        expected = np.clip(z, -2.0, 2.0)

    inside = within(z, 2.0)
    found = limited(z.copy(), 2.0)

    np.testing.assert_array_equal(found, expected)
    if inside:
        np.testing.assert_array_equal(z, expected)


def test_nothing_is_clipped_of_no_numbers() -> None:
    assert limited(np.zeros((0, 3)), 2.0).shape == (0, 3)


def test_rows_of_float32_are_scaled_alike_one_by_one_and_together() -> None:
    log = rows(300).astype(np.float32)
    shift, factor = log.mean(axis=0, dtype=np.float64), 1.0 / log.std(axis=0, dtype=np.float64)

    together, into = scaled_by(log, shift, factor, 2.0), np.empty((300, 3))

    np.testing.assert_array_equal(together, [scaled_by(row[None], shift, factor, 2.0)[0] for row in log])
    assert scaled_by(log, shift, factor, 2.0, out=into) is into
    np.testing.assert_array_equal(into, together)


@pytest.mark.parametrize("beyond", [5.0, 30.0, 200.0])
def test_a_row_far_out_is_clipped_when_it_is_learned(beyond: float) -> None:
    scale, log = RunningScale(3), rows(1000)
    for part in scale.stretches(len(log)):
        scale.take(log[part], 6.0)
    deviation, before = 1 / scale.factor, scale._mean.copy()
    far = scale.shift + beyond * deviation

    z, _ = scale.take(far[None], 6.0)

    np.testing.assert_allclose(z, [[min(beyond, 6.0)] * 3])
    moved = (scale._mean - before) * scale.events / deviation  # as if it were at most 60 deviations away
    np.testing.assert_allclose(moved, min(beyond, 60.0), atol=0.5)
