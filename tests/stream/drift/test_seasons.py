"""Drift: what the time of day, of the week and of the year explains is no drift."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from thalweg.memory.snapshots.state import State
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.drift.drift import DriftWatch
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.drift.signs import Observed

NAMES = ("day", "week", "both", "noise", "label")
CODES = np.array([False, False, False, False, True])
DAY = 86_400.0
WEEK = 7 * DAY
START = 1.7e9


def watch(**params: Any) -> DriftWatch:
    return DriftWatch(DriftParams.of(params), NAMES, CODES, 1)


def seasonal(days: float, per_day: int = 1000, seed: int = 0, strength: float = 2.0) -> Observed:
    """Events at random times with daily and weekly seasons, without labels."""
    rng = np.random.default_rng(seed)
    count = int(days * per_day)
    times = START + np.sort(rng.random(count)) * days * DAY
    day, week = 2 * np.pi * times / DAY, 2 * np.pi * times / WEEK
    columns = rng.normal(size=(count, 5))
    columns[:, 0] += strength * np.sin(day)
    columns[:, 1] += strength * np.cos(week)
    columns[:, 2] += strength * (np.sin(day + 1) + np.cos(week + 1)) / 2
    columns[:, 4] = rng.random(count) < 0.5 + 0.4 * np.sin(day)
    nothing = np.full(count, np.nan)
    return Observed(times, nothing, nothing, nothing, True, columns.astype(np.float32))


def part(of: Observed, rows: Any) -> Observed:
    arrays = {name: getattr(of, name)[rows] for name in ("times", "loss", "baseline", "confidence", "columns")}
    return replace(of, **arrays)


def fed(watched: DriftWatch, events: Observed, every: int = 1024) -> DriftWatch:
    for first, end in itertools.pairwise([*range(0, len(events.times), every), len(events.times)]):
        watched.observe(part(events, slice(first, end)))
    return watched


def days(alarms: list[Alarm]) -> list[float]:
    return [(alarm.start_time - START) / DAY for alarm in alarms]


@pytest.mark.parametrize(("seed", "per_day"), [(1, 1000), (2, 200)])
def test_after_two_weeks_daily_and_weekly_seasons_raise_no_alarm(seed: int, per_day: int) -> None:
    events = seasonal(30, per_day, seed)

    assert [day for day in days(fed(watch(), events).alarms) if day > 14] == []


def test_a_season_with_gaps_and_an_empty_night_raises_no_alarm_after_two_weeks() -> None:
    events = seasonal(45)
    hour, age = events.times % DAY / 3600, (events.times - START) / DAY
    open_hours = part(events, (hour > 6) & (hour < 20) & ~((age > 18) & (age < 21)))

    assert [day for day in days(fed(watch(), open_hours).alarms) if day > 14] == []


@pytest.mark.parametrize("column", [0, 3])
def test_a_shift_on_top_of_the_seasons_is_found_and_with_row_numbers_for_times_it_is_not(column: int) -> None:
    events = seasonal(30)
    shifted = events.times >= START + 25 * DAY
    events.columns[shifted, column] += 1.0
    numbered = replace(events, times=np.arange(len(events.times), dtype=np.float64))
    change = int(shifted.argmax()) + 1

    timed = [alarm for alarm in fed(watch(), events).alarms if alarm.start_time > START + 14 * DAY]
    untimed = [alarm for alarm in fed(watch(), numbered).alarms if change <= alarm.start < change + 1000]

    assert [alarm.features[0][0] for alarm in timed] == [NAMES[column]]
    assert 0 <= timed[0].start - change <= 400
    assert len(untimed) == (column == 3)  # what has no season needs no time


def test_a_season_that_becomes_stronger_is_told_once() -> None:
    events = seasonal(45)
    stronger = seasonal(45, strength=4.0)
    events.columns[events.times >= START + 25 * DAY] = stronger.columns[stronger.times >= START + 25 * DAY]

    alarms = [day for day in days(fed(watch(), events).alarms) if day > 14]

    assert len(alarms) == 1
    assert 25 < alarms[0] < 26


def test_a_season_of_the_year_is_no_drift_from_the_third_year_on() -> None:
    rng = np.random.default_rng(3)
    events = seasonal(1, 20_000)
    age = np.sort(rng.random(20_000)) * 5
    columns = rng.normal(size=(20_000, 5)).astype(np.float32)
    columns[:, 1] += 2.0 * np.sin(2 * np.pi * age)
    columns[age > 4.5, 1] += 1.5
    yearly = replace(events, times=START + age * 365.2425 * DAY, columns=columns)

    (alarm,) = (one for one in fed(watch(), yearly).alarms if one.start > 8000)

    assert 18_000 < alarm.start < 18_400


def test_predictions_whose_shares_follow_the_time_of_day_are_no_drift_and_others_are() -> None:
    events = seasonal(20)
    events.columns[:, :4] = np.random.default_rng(4).normal(size=(len(events.times), 4))
    moved = replace(events, columns=events.columns.copy())
    moved.columns[events.times >= START + 15 * DAY, 4] = 1.0

    calm, told = fed(watch(), events).alarms, fed(watch(), moved).alarms

    assert [day for day in days(calm) if day > 2] == []
    assert [alarm.signal for alarm, day in zip(told, days(told)) if day > 2] == ["predictions"]
    assert 15 < days(told)[-1] < 15.5


def test_times_of_which_some_are_wrong_teach_the_same_seasons() -> None:
    events = seasonal(28)
    rng = np.random.default_rng(5)
    wrong = rng.random(len(events.times)) < 0.01
    events.times[wrong] += rng.choice([-400, -2, 3, 5000, 1e6], wrong.sum()) * DAY
    events.times[rng.random(len(events.times)) < 0.005] = 0.0
    nearly = np.arange(len(events.times)) + rng.normal(size=len(events.times)) * 20

    alarms = fed(watch(), part(events, np.argsort(nearly, kind="stable"))).alarms

    assert [alarm.start for alarm in alarms if alarm.start > 14_500] == []


def test_times_without_order_are_as_no_times() -> None:
    events = seasonal(12)
    times = np.random.default_rng(6).permutation(events.times)
    numbers = np.arange(len(times), dtype=np.float64)

    by_times, by_numbers = (fed(watch(), replace(events, times=one)) for one in (times, numbers))

    assert [alarm.start for alarm in by_times.alarms] == [alarm.start for alarm in by_numbers.alarms] != []


def test_row_numbers_leave_no_trace_in_the_state() -> None:
    events = seasonal(3)
    numbered = replace(events, times=np.arange(3000, dtype=np.float64))

    names = fed(watch(), numbered).state().tensors
    timed = fed(watch(), events).state().tensors

    assert not [name for name in names if "seasons" in name or "times" in name]
    assert [name for name in timed if "seasons" in name]


@pytest.mark.parametrize("every", [1, 17, 20_000])
def test_however_events_with_seasons_are_cut_the_same_state_comes_of_them(every: int) -> None:
    events = seasonal(16, 300 if every == 1 else 1000)
    events.columns[4000:4010] = np.nan
    params = {"follow_events": 2000, "digest_events": 500}

    one, other = fed(watch(**params), events, 128), fed(watch(**params), events, every)

    assert one.state().sha256() == other.state().sha256()
    assert one.scores() == other.scores()
    assert one.alarms == other.alarms


@pytest.mark.parametrize("cut", [400, 15_003])
def test_a_restored_watch_goes_on_alike_with_its_seasons(cut: int) -> None:
    events = seasonal(24)
    events.columns[18_000:, 0] += 1.0
    first = fed(watch(), part(events, slice(0, cut)))
    second = watch()
    kept = first.state()
    second.restore(State(dict(kept.tensors), json.loads(json.dumps(kept.meta))))

    for one in (first, second):
        fed(one, part(events, slice(cut, None)))

    assert first.alarms == second.alarms
    assert first.state().sha256() == second.state().sha256()


def test_the_state_of_seasons_is_bounded() -> None:
    short, long = (fed(watch(), seasonal(days, 200)).state() for days in (15, 60))

    sizes = [sum(t.nbytes for n, t in state.tensors.items() if "seasons" in n) for state in (short, long)]

    assert sizes[0] <= sizes[1] <= 2 * 132 * 36 * 5 * 4 + 50_000


def test_values_beyond_all_measure_leave_the_seasons_finite() -> None:
    events = seasonal(24)
    rng = np.random.default_rng(7)
    rows = rng.integers(0, len(events.times), 200)
    events.columns[rows, rng.integers(0, 4, 200)] = rng.choice([np.inf, -np.inf, 3e38, -3e38, np.nan], 200)

    watched = fed(watch(), events)

    assert [day for day in days(watched.alarms) if day > 14] == []
    held = [t for n, t in watched.state().tensors.items() if "seasons" in n and not n.endswith(".at")]
    assert held
    assert all(np.isfinite(tensor).all() for tensor in held)
