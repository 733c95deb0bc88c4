"""Numbers are scaled by their running deviation, however far from zero they are."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.models.columns.numbers import RunningScale


@pytest.mark.parametrize("mean", [0.0, 1e9, -1e10])
@pytest.mark.parametrize("deviation", [1.0, 5.0])
def test_numbers_that_vary_little_beside_their_mean_are_no_constants(mean: float, deviation: float) -> None:
    drawn = np.random.default_rng(0).normal(size=(1, 600))
    scale = RunningScale(1)
    found = []
    for start in range(0, 600, 20):
        found.append(scale.take(mean + deviation * drawn[:, start : start + 20], None))
        scale.advance(20)

    assert np.corrcoef(np.concatenate(found, axis=1)[0, 300:], drawn[0, 300:])[0, 1] > 0.99
    assert np.std(found[-1]) == pytest.approx(1.0, rel=0.4)


def test_a_constant_stays_one() -> None:
    scale = RunningScale(1)
    for _ in range(10):
        found = scale.take(np.full((1, 20), 1e9 + 0.1), None)
        scale.advance(20)

    assert np.abs(found).max() < 1e-3
