"""Each class is forgotten by a clock of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.models.ridge.clocks import PAUSE, ClassClocks, pauses_within
from thalweg.models.ridge.statistics import Rows, Statistics

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]
H = np.random.default_rng(0).standard_normal((3000, 4))


def counted(codes: Codes, decay: float, cuts: list[int]) -> tuple[ClassClocks, Statistics]:
    clocks, sums, start = ClassClocks(4, decay), Statistics(4, int(codes.max()) + 1, decay=decay), 0
    clocks.grow(sums.columns)
    for size in [*cuts, *[PAUSE] * (len(codes) // PAUSE + 1)]:
        some = codes[start : start + size]
        if len(some):
            clocks.add(some, sums)
            sums.add(Rows(H[start : start + len(some)], np.eye(sums.columns)[some], codes=some))
        start += size
    return clocks, sums


def by_definition(codes: Codes, decay: float, code: int) -> tuple[Floats, float]:
    """Sums of one class whose clock ticks with each event, but at most PAUSE times between two of its own."""
    places = np.flatnonzero(codes == code)
    ticks = np.minimum(np.diff(np.append(places, len(codes) - 1)), PAUSE)
    ages = np.cumsum(ticks[::-1])[::-1]
    weights = decay**ages
    return weights @ H[places], float(weights.sum())


ORDERED = np.repeat(np.arange(3, dtype=np.int32), [400, 500, 300])
RETURNING = np.concatenate([ORDERED, np.repeat(np.arange(3, dtype=np.int32), [30, 250, 20])])
RARE = np.where(np.arange(1500) % 170 == 0, 1, 0).astype(np.int32)


@pytest.mark.parametrize("codes", [ORDERED, RETURNING, RARE], ids=["ordered", "returning", "rare"])
@pytest.mark.parametrize("decay", [0.9999, 0.99, 0.9])
@settings(max_examples=8)
@given(cuts=st.lists(st.integers(1, PAUSE), max_size=6))
def test_sums_of_a_class_are_those_by_its_own_clock_however_the_log_is_cut(
    codes: Codes, decay: float, cuts: list[int]
) -> None:
    clocks, sums = counted(codes, decay, cuts)

    cross, weight = clocks.own(sums)

    for code in range(sums.columns):
        wanted, total = by_definition(codes, decay, code)
        np.testing.assert_allclose(weight[code], total, rtol=1e-9)
        np.testing.assert_allclose(cross[:, code], wanted, rtol=1e-7, atol=1e-9 * total)


def test_a_class_that_was_never_away_has_the_common_sums() -> None:
    codes = (np.arange(1000) % 3).astype(np.int32)

    clocks, sums = counted(codes, 0.99, [])

    cross, weight = clocks.own(sums)
    np.testing.assert_array_equal(cross, sums.cross)
    np.testing.assert_array_equal(weight, sums.class_weight)
    assert not clocks.away().any()


def test_a_class_outlasts_an_absence_in_which_its_common_sums_vanish_altogether() -> None:
    clocks, sums = ClassClocks(4, 0.9), Statistics(4, 2, decay=0.9)
    clocks.grow(2)
    first, other = np.zeros(50, np.int32), np.ones(100, np.int32)
    clocks.add(first, sums)
    sums.add(Rows(H[:50], np.eye(2)[first], codes=first))
    before = clocks.own(sums)[1][0]

    for step in range(200):  # 0.9 to the power of 20,000 is no number any more
        clocks.add(other, sums)
        sums.add(Rows(H[:100], np.eye(2)[other], codes=other))
        sums.drop_denormals(100 * step, 100 * step + 100)

    assert sums.class_weight[0] == 0
    np.testing.assert_allclose(clocks.own(sums)[1][0], before * 0.9**PAUSE, rtol=1e-6)
    assert clocks.away().tolist() == [True, False]


def test_a_rare_class_that_comes_as_usual_is_not_away() -> None:
    clocks, _ = counted(RARE[:170], 0.999, [])
    late, _ = counted(RARE, 0.999, [])

    assert not clocks.away()[1]
    assert not late.away()[1]


def test_a_gap_within_a_batch_is_seen_only_if_a_clock_would_stop_in_it() -> None:
    assert not pauses_within(np.zeros(5000, np.int32))
    assert not pauses_within(ORDERED)
    assert pauses_within(RETURNING)
    assert not pauses_within(RARE[:PAUSE])
