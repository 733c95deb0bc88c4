"""The curve keeps the whole course in bounded memory, whatever the clock says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stream.evaluation.curve import Curve, CurvePoint, newest_time


def run(curve: Curve, sizes: list[int], events: int = 0) -> int:
    for size in sizes:
        events += size
        if curve.due(events):
            curve.add("accuracy", CurvePoint(events, float(events), 0.5, math.nan))
    return events


@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=400), most=st.integers(8, 40))
def test_points_are_bounded_ordered_and_reach_from_the_beginning_to_the_end(sizes: list[int], most: int) -> None:
    curve = Curve(most=most, every=64, nearest=16)

    events = run(curve, sizes)

    points = [point.events for point in curve.points]
    assert len(points) < most
    assert points == sorted(set(points))
    if events >= 4 * most * 300:  # so many that it was thinned
        apart = np.diff(points)
        assert len(points) >= most // 2 - 1
        assert points[0] <= events / 4
        assert apart.max() <= 4 * max(apart.min(), 300)
        assert events - points[-1] <= 2 * apart.max()


def test_a_long_stream_leaves_evenly_spaced_points() -> None:
    curve = Curve()

    events = run(curve, [100] * 40_000)

    points = np.array([point.events for point in curve.points])
    assert 256 <= len(points) < 512
    assert points[0] < 0.02 * events
    assert np.diff(points).max() < 0.01 * events
    assert events - points[-1] < 0.01 * events


@given(sizes=st.lists(st.integers(1, 300), min_size=2, max_size=200), cut=st.integers(0, 200))
def test_a_restored_curve_goes_on_as_if_never_stopped(sizes: list[int], cut: int) -> None:
    through, first, second = (Curve(most=12, every=32, nearest=8) for _ in range(3))
    run(through, sizes)

    events = run(first, sizes[:cut])
    second.restore(first.state())
    run(second, sizes[cut:], events)

    assert second.state().sha256() == through.state().sha256()
    assert [point.events for point in second.points] == [point.events for point in through.points]
    assert second.metric == through.metric


def test_another_metric_begins_anew() -> None:
    curve = Curve()

    curve.add("accuracy", CurvePoint(64, 1.0, 0.5, 0.5))
    curve.add("rmse", CurvePoint(128, 2.0, 3.0, 4.0))

    assert curve.metric == "rmse"
    assert curve.points == (CurvePoint(128, 2.0, 3.0, 4.0),)


@pytest.mark.parametrize(("times", "expected"), [([3.0, 1e12, 5.0], 1e12), ([5.0, -1e12], 5.0)])
def test_a_clock_that_jumps_is_told_as_it_was(times: list[float], expected: float) -> None:
    assert newest_time(np.array(times)) == expected


@pytest.mark.parametrize("times", [[], [np.inf], [np.nan]])
def test_a_time_that_is_no_number_is_told_as_none(times: list[float]) -> None:
    assert math.isnan(newest_time(np.array(times)))
