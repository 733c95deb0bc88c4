"""Windows that are compared together: what is found in one depends on none of the others, nor on how rows were cut."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import kolmogorov

from thalweg.stream.drift.inputs import ColumnsWatch
from thalweg.stream.drift.reference import BINS, STEP, Reference, quantiles
from thalweg.stream.drift.windows import Windows, told

COLUMNS = 6


def reference(rng: np.random.Generator) -> Reference:
    rows = rng.normal(size=(1000, COLUMNS)).astype(np.float32)
    none = np.zeros(COLUMNS, dtype=np.bool_)
    return Reference(rows, none, none, np.random.default_rng(0), None, 1e-5)


def compared(base: Reference, shifts: list[float]) -> Windows:
    """Windows of three steps, of which the first column has moved."""
    rng = np.random.default_rng(1)
    steps = []
    for shift in shifts:
        rows = rng.normal(size=(3 * STEP, COLUMNS)).astype(np.float32)
        rows[:, 0] += shift
        bins = base.binned(rows)
        steps.append(base.windows(base.counts_by_step(bins, 3), base.embedding_by_step(bins, 3)))
    share, mean = (np.concatenate(part) for part in zip(*steps))
    return Windows(base, share, mean, 150.0)


def alone(base: Reference, windows: Windows, number: int) -> Windows:
    part = slice(number, number + 1)
    return Windows(base, windows._share[part], windows._mean[part], 150.0)


def test_each_window_is_as_if_it_were_alone() -> None:
    base = reference(np.random.default_rng(0))
    windows = compared(base, shifts := [0.0, 1.0, 0.1, 2.0, 0.0, 0.6])

    for number in range(len(shifts)):
        one, moving = alone(base, windows, number), windows.moving(number)
        np.testing.assert_array_equal(windows.distances[number], one.distances[0])
        np.testing.assert_equal(windows.scores(number), one.scores(0))
        np.testing.assert_equal(moving, one.moving(0))
        if moving is not None:
            assert windows.told(number) == one.told(0) == told(windows.distances[number], 150.0)
            assert windows.strongest(number) == one.strongest(0)
    assert [windows.moving(number) is not None for number in range(4)] == [False, True, False, True]
    assert windows.told(3)[0][0] == 0


def test_many_windows_have_the_distances_of_each_alone_bit_by_bit() -> None:
    base = reference(np.random.default_rng(0))
    windows = compared(base, np.linspace(0.0, 2.0, 120).tolist())

    together = base.distances(windows._share)  # so many columns of windows are summed in another way

    each = [base.distances(windows._share[number : number + 1])[0] for number in range(120)]
    np.testing.assert_array_equal(together, each)


def test_a_missing_value_changes_no_other_bin() -> None:
    base, rows = reference(np.random.default_rng(0)), np.random.default_rng(1).normal(size=(200, COLUMNS))
    whole, gaps = rows.astype(np.float32), rows.astype(np.float32)
    gaps[::3, 1], gaps[::5, 4], gaps[7, 0] = np.nan, np.inf, -np.inf
    missing = ~np.isfinite(gaps)

    of_whole, of_gaps = base.binned(whole), base.binned(gaps)

    np.testing.assert_array_equal(of_gaps[~missing], of_whole[~missing])
    assert set((of_gaps[missing] % BINS).tolist()) == {BINS - 1}
    np.testing.assert_array_equal(of_gaps // BINS, np.tile(np.arange(COLUMNS), (200, 1)))


@pytest.mark.parametrize("seed", range(5))
def test_the_columns_told_are_those_of_benjamini_and_hochberg(seed: int) -> None:
    distances = np.random.default_rng(seed).uniform(0.0, 0.25, 30)
    p = kolmogorov(np.sqrt(150.0) * distances)
    passing = [rank for rank, one in enumerate(np.sort(p), 1) if one <= 0.01 * rank / 30]
    chosen = set(np.argsort(p, kind="stable")[: max(passing, default=0)].tolist())

    found = told(distances, 150.0)

    assert {column for column, _ in found} <= chosen
    assert len(found) == min(10, len(chosen))
    assert [distance for _, distance in found] == [
        round(float(one), 4) for one in sorted(distances)[::-1][: len(found)]
    ]


@pytest.mark.parametrize("apart", [0.01, 0.9, 30.0, 1800.0])
def test_seasons_learn_the_same_bits_from_steps_together_as_one_by_one(apart: float) -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(4000, 3)).astype(np.float32)
    rows[::97, 0], rows[::50, 1] = 1e6, np.nan  # values beyond reach, and missing ones
    times = 1.6e9 + apart * np.arange(len(rows))
    times[2500] = 0.0  # one that is not known

    def fed(cut: int) -> ColumnsWatch:
        watch = ColumnsWatch(("a", "b", "c"), np.zeros(3, dtype=np.bool_))
        for first in range(0, len(rows), cut):
            watch.feed(rows[first : first + cut], (), times[first : first + cut])
        return watch

    one_by_one, together = fed(STEP).tensors(), fed(len(rows)).tensors()

    assert any(name.startswith("seasons.") for name in together)
    for name, tensor in one_by_one.items():
        np.testing.assert_array_equal(tensor, together[name], err_msg=name)


def test_quantiles_are_those_of_numpy_with_and_without_missing_values() -> None:
    values = np.random.default_rng(3).normal(size=(500, 4))
    np.testing.assert_array_equal(quantiles(values, [0.005, 0.5]), np.quantile(values, [0.005, 0.5], axis=0))
    values[::7, 2] = np.nan
    np.testing.assert_array_equal(quantiles(values, [0.005, 0.5]), np.nanquantile(values, [0.005, 0.5], axis=0))
