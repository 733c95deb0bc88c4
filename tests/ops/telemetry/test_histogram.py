"""A tally counts as the definition of a histogram says, in whatever portions values come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.ops.telemetry.histogram import Histogram

BOUNDS = (0.5, 1.0, 4.0)
values = st.lists(st.one_of(st.floats(0, 10), st.sampled_from(BOUNDS)), max_size=30)


@given(portions=st.lists(values, max_size=5))
def test_at_each_bound_stands_how_many_values_do_not_exceed_it(portions: list[list[float]]) -> None:
    tally = Histogram(BOUNDS)

    for portion in portions:
        tally.add(np.array(portion, dtype=np.float64))

    everything = [value for portion in portions for value in portion]
    assert tally.cumulative() == [(bound, sum(v <= bound for v in everything)) for bound in (*BOUNDS, float("inf"))]
    assert tally.sum == pytest.approx(sum(everything))
