"""Drift: every change is found once, nothing is found where nothing changed, and a restart changes nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import ParamsError
from thalweg.stream.drift.drift import DriftWatch
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.drift.signs import Observed

COLUMNS = ("x[0]", "x[1]", "x[2]", "label")


def watch(**params: Any) -> DriftWatch:
    return DriftWatch(DriftParams.of(params), COLUMNS, np.array([False, False, False, True]), 1)


def stream(count: int, *, seed: int = 0, moved: int | None = None, worse: int | None = None) -> Observed:
    """Events of which the first column moves, and the loss rises, from an event on."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(count, 4)).astype(np.float32)
    columns[:, 3] = rng.integers(0, 2, count)
    loss = (rng.random(count) < 0.1).astype(np.float64)
    if moved is not None:
        columns[moved:, 0] += 1.0
    if worse is not None:
        loss[worse:] = rng.random(count - worse) < 0.5
    nothing = np.full(count, np.nan)
    return Observed(np.arange(count, dtype=np.float64), loss, nothing, nothing, True, columns)


def part(of: Observed, first: int, end: int) -> Observed:
    return Observed(
        of.times[first:end],
        of.loss[first:end],
        of.baseline[first:end],
        of.confidence[first:end],
        of.bounded,
        of.columns[first:end],
    )


def fed(watched: DriftWatch, events: Observed, cuts: list[int]) -> DriftWatch:
    edges = [0, *sorted(cuts), len(events.times)]
    for first, end in itertools.pairwise(edges):
        watched.observe(part(events, first, end))
    return watched


def test_a_rise_of_the_loss_is_one_alarm_with_its_beginning_and_its_end() -> None:
    alarms = fed(watch(), stream(6000, worse=3000), []).alarms

    assert [(alarm.signal, alarm.kind, alarm.features) for alarm in alarms] == [("loss", "concept", ())]
    (alarm,) = alarms
    assert 2950 <= alarm.since <= 3060
    assert 3000 < alarm.start <= 3100
    assert alarm.since <= alarm.start <= alarm.peak
    assert alarm.end is not None
    assert 0.25 < alarm.severity <= 0.8
    assert (alarm.start_time, alarm.end_time) == (alarm.start - 1, alarm.end - 1)  # event 1 came at 0 seconds


def test_inputs_that_move_are_one_alarm_that_names_them() -> None:
    (alarm,) = fed(watch(), stream(6000, moved=3000), []).alarms

    assert (alarm.signal, alarm.kind) == ("inputs", "inputs")
    assert 3000 < alarm.start <= 3200
    assert abs(alarm.since - 3000) <= 192
    assert alarm.features[0][0] == "x[0]"
    assert len(alarm.features) == 1
    assert 0.1 < alarm.features[0][1] < 0.6  # 0.38 when all of the window has moved


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_told_of_a_stream_without_a_change(seed: int) -> None:
    assert fed(watch(), stream(10_000, seed=seed), []).alarms == []


def test_becoming_better_is_no_drift() -> None:
    events = stream(6000, worse=0)
    events.loss[3000:] = stream(3000).loss

    assert fed(watch(), events, []).alarms == []


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 3999), max_size=30))
def test_however_events_are_cut_the_same_alarms_come_of_them(cuts: list[int]) -> None:
    events = stream(4000, worse=2000, moved=2500)

    one, other = fed(watch(), events, list(range(64, 4000, 64))), fed(watch(), events, cuts)

    assert one.alarms == other.alarms
    assert one.state().sha256() == other.state().sha256()
    assert len(one.alarms) == 1


@pytest.mark.parametrize("every", [7, 999])
def test_long_signals_without_bounds_are_cut_alike_too(every: int) -> None:
    events = stream(20_000)
    loss = np.random.default_rng(2).normal(3.0, 1.0, 20_000)
    loss[60:90] += 40.0  # before it is known what is usual
    loss[12_000:] += 2.0
    events = replace(events, loss=loss, bounded=False)

    one, other = fed(watch(), events, list(range(64, 20_000, 64))), fed(watch(), events, list(range(5, 20_000, every)))

    assert one.alarms == other.alarms
    assert any(12_000 < alarm.start < 12_200 for alarm in one.alarms)


def test_under_other_settings_alarms_stay_and_numbers_go_on() -> None:
    first = fed(watch(), stream(4000, worse=2000), [])
    second = watch(detectors=["ddm"])
    second.restore(first.state())

    second.observe(stream(4000, seed=9, moved=2000))

    assert second.alarms[0] == first.alarms[0]
    assert [alarm.number for alarm in second.alarms] == [1, 2]
    assert second.alarms[1].signal == "inputs"
    assert 6000 < second.alarms[1].start <= 6200


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 3999))
def test_a_restored_watch_goes_on_alike(cut: int) -> None:
    events = stream(4000, worse=2000, moved=2500)
    first = watch()
    first.observe(part(events, 0, cut))
    kept = first.state()
    second = watch()
    second.restore(State({name: tensor.copy() for name, tensor in kept.tensors.items()}, kept.meta))

    for one in (first, second):
        one.observe(part(events, cut, 4000))

    assert first.alarms == second.alarms
    assert first.state().sha256() == second.state().sha256()


def test_without_labels_confidence_speaks_and_with_them_it_does_not() -> None:
    events = stream(6000)
    confidence = np.random.default_rng(1).normal(0.9, 0.02, 6000)
    confidence[3000:] -= 0.2
    silent = np.full(6000, np.nan)

    (alarm,) = fed(watch(), replace(events, loss=silent, confidence=confidence), [700]).alarms

    assert alarm.signal == "confidence"
    assert 3000 < alarm.start <= 3100
    assert fed(watch(), replace(events, confidence=confidence), [700]).alarms == []


def test_columns_without_values_or_that_never_change_raise_nothing() -> None:
    events = stream(4000)
    events.columns[:, 0] = 7.0
    events.columns[:, 1] = np.nan
    events.columns[::3, 2] = np.inf

    assert fed(watch(), events, []).alarms == []


def test_watches_by_nothing_when_nothing_is_asked_for() -> None:
    assert fed(watch(detectors=[], inputs=[]), stream(4000, worse=2000, moved=2000), []).alarms == []


def test_what_cannot_be_used_is_named() -> None:
    with pytest.raises(ParamsError, match="dowsing"):
        watch(detectors=["dowsing"])


def test_a_clock_that_jumps_moves_the_times_of_alarms_and_nothing_else() -> None:
    events = stream(6000, worse=3000)
    jumps = events.times.copy()
    jumps[1000:] -= 1e9
    jumps[2500:3060] = 1e12

    (usual,), (alarm,) = (fed(watch(), one, []).alarms for one in (events, replace(events, times=jumps)))

    assert replace(alarm, start_time=usual.start_time, end_time=usual.end_time) == usual


def test_answers_that_are_always_right_or_always_wrong_raise_nothing() -> None:
    for loss in (0.0, 1.0):
        assert fed(watch(), replace(stream(4000), loss=np.full(4000, loss)), []).alarms == []
