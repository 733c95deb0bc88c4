"""A scale that tells its moves and begins anew."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.models.parts.running_scale import RunningScale

Floats = NDArray[np.float64]


def rows(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((count, 3)) * [1, 1e4, 1e-3] + [5, -2e4, 0]


def scaled(log: Floats, cuts: list[int], scale: RunningScale | None = None) -> tuple[Floats, RunningScale]:
    scale, start, parts = scale or RunningScale(3), 0, []
    for size in [*cuts, len(log)]:
        some = log[start : start + size]
        start += size
        parts += [scale.take(some[part], 6.0)[0].copy() for part in scale.stretches(len(some))]
    return np.concatenate(parts), scale


@given(cuts=st.lists(st.integers(1, 50), max_size=8))
def test_however_the_log_is_cut_each_event_is_scaled_the_same(cuts: list[int]) -> None:
    log = rows(400)
    log[:70, 1] *= 1e6

    np.testing.assert_allclose(scaled(log, cuts)[0], scaled(log, [])[0], rtol=1e-7, atol=1e-7)


def test_a_column_whose_first_rows_came_in_another_unit_begins_anew() -> None:
    log = rows(1000)
    log[:64] *= 1e6

    z, scale = scaled(log, [])

    np.testing.assert_allclose(1 / scale.factor, log[64:].std(axis=0), rtol=0.3)
    assert (np.abs(z[300:].std(axis=0) - 1) < 0.3).all()


def test_a_column_that_becomes_a_million_times_as_large_is_followed_within_a_few_windows() -> None:
    log = rows(4000)
    log[512:] *= 1e6

    z, _ = scaled(log, [])

    assert (z[3500:].std(axis=0) > 0.2).all()


def test_mean_a_billion_and_deviation_one_is_no_constant() -> None:
    log = np.random.default_rng(0).standard_normal((500, 3)) + 1e9

    z, scale = scaled(log, [])

    np.testing.assert_allclose(scale.factor, 1.0, rtol=0.2)
    np.testing.assert_allclose(z[100:].std(axis=0), 1.0, rtol=0.2)


def test_a_constant_column_is_not_divided_by_rounding_errors_and_is_followed_once_it_varies() -> None:
    log = np.full((3000, 3), 0.1)
    log[1000:, 1] = np.random.default_rng(0).standard_normal(2000) * 50

    z, scale = scaled(log, [])

    assert np.abs(z[:, [0, 2]]).max() < 1e-9
    assert 0.7 < 50 * scale.factor[1] < 1.4


def test_a_window_without_variation_does_not_begin_anew() -> None:
    log = rows(2000)
    log[64:128, 0] = log[5, 0]

    _, scale = scaled(log, [])

    assert 0.8 < scale.factor[0] < 1.25


def test_the_scale_stays_while_it_is_right() -> None:
    _, scale = scaled(rows(4000), [])
    before = scale.factor.copy(), scale.shift.copy()

    scaled(rows(8000, 1), [], scale)

    np.testing.assert_array_equal(scale.factor, before[0])
    np.testing.assert_array_equal(scale.shift, before[1])


def test_a_move_leads_from_the_old_scale_to_the_new_one() -> None:
    log, scale = rows(300), RunningScale(3)
    for part in scale.stretches(300):
        z = (log[:5] - scale.shift) * scale.factor if scale.events else None
        shift = scale.shift
        _, stepped = scale.take(log[part], 6.0)
        if stepped and z is not None and scale.move is not None and shift is not scale.shift:
            move = scale.move
            z[:, move.columns] = z[:, move.columns] * move.ratio + move.offset
            np.testing.assert_allclose(z, (log[:5] - scale.shift) * scale.factor, rtol=1e-9, atol=1e-9)


def test_restored_moments_go_on_as_if_never_stopped() -> None:
    log = rows(300)
    _, whole = scaled(log, [77])
    _, half = scaled(log[:77], [])
    again = RunningScale(3)

    again.restore(half.tensors(), half.events, half.next_step)
    scaled(log[77:], [], again)

    for name, array in again.tensors().items():
        np.testing.assert_array_equal(array, whole.tensors()[name])
