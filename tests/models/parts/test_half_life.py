"""Weights by age: a function of events and their times, never above their own weight, whatever times come."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.models.contract.learner import ParamsError
from thalweg.models.contract.registry import find
from thalweg.models.parts.half_life import HalfLife
from thalweg.proto.event import Batch, ClassLabels

TIMES = st.lists(
    st.one_of(st.floats(-1e12, 1e12), st.sampled_from([math.nan, math.inf, -math.inf])), min_size=1, max_size=20
)


def batch(times: list[float], codes: list[int] | None = None) -> Batch:
    count = len(times)
    labels = ClassLabels(np.array(codes or [0] * count, np.int32), ("a",))
    return Batch({}, labels, np.full(count, 2.0), np.array(times))


@given(times=TIMES, seconds=st.floats(1e-6, 1e9))
def test_weights_and_factors_are_finite_and_never_grow(times: list[float], seconds: float) -> None:
    half_life = HalfLife(seconds)
    for time in times:
        factor = half_life.advance(batch([time]))
        assert 0.0 <= factor <= 1.0
    weights = half_life.weights(batch(times))

    assert np.isfinite(weights).all()
    assert ((weights >= 0.0) & (weights <= 2.0)).all()


def test_an_event_of_one_half_life_ago_has_half_its_weight_and_an_unlabelled_one_moves_nothing() -> None:
    half_life = HalfLife(10.0)
    half_life.advance(batch([100.0, 900.0], [0, -1]))

    assert half_life.time == 100.0
    assert half_life.weights(batch([100.0, 90.0, 80.0])).tolist() == [2.0, 1.0, 0.5]
    assert half_life.advance(batch([110.0])) == 0.5
    assert half_life.advance(batch([50.0])) == 1.0


def test_two_sums_meet_at_the_later_time() -> None:
    early, late, none = HalfLife(10.0), HalfLife(10.0), HalfLife(10.0)
    early.advance(batch([100.0]))
    late.advance(batch([120.0]))

    assert none.meet(early) == (1.0, 1.0)
    assert late.meet(early) == (1.0, 0.25)
    assert early.meet(late) == (0.25, 1.0)
    assert none.meet(HalfLife(10.0)) == (1.0, 1.0)
    assert (early.time, none.time) == (120.0, 100.0)


@pytest.mark.parametrize("learner", ["ridge", "nearest_mean", "error_memory"])
@pytest.mark.parametrize("seconds", [1e300, 1e-300, 1e12, 1e-6])
def test_a_half_life_that_no_clock_has_is_refused_by_every_learner(learner: str, seconds: float) -> None:
    params = find(learner).params_type  # type: ignore[attr-defined]

    with pytest.raises(ParamsError, match=r"half_life_seconds: expected 0 .* or 0\.001 to 1e\+11 seconds"):
        params.of({"half_life_seconds": seconds})
    assert params.of({"half_life_seconds": 3600}).half_life_seconds == 3600
