"""Alarms on made streams with daily and weekly seasons, by event time and by row numbers, which is the control.

1,000 rows a day at random times. One column follows the day, one the week, one both, one nothing, each with noise of
deviation 1 and seasons of amplitude 2; predictions are codes whose share follows the day. Three seeds each.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.report import Result, at_most, show
from benchmarks.scale import Scale
from thalweg.stream.drift.drift import DriftWatch
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.drift.signs import Observed

_DAY, _WEEK, _START = 86_400.0, 7 * 86_400.0, 1.7e9
_PER_DAY, _SEEDS = 1000, 3
_KNOWN = 14 * _PER_DAY  # two weeks


def made(days: int, seed: int, shift: float, stronger: bool) -> tuple[Observed, int]:
    """A stream, and the row at which, two thirds in, the first column shifts by so much, or all seasons double."""
    rng = np.random.default_rng(seed)
    count = days * _PER_DAY
    times = _START + np.sort(rng.random(count)) * days * _DAY
    change = 2 * count // 3
    day, week = 2 * np.pi * times / _DAY, 2 * np.pi * times / _WEEK
    amplitude = np.where(np.arange(count) >= change, 4.0 if stronger else 2.0, 2.0)
    columns = rng.normal(size=(count, 5))
    columns[:, 0] += amplitude * np.sin(day)
    columns[:, 1] += amplitude * np.cos(week)
    columns[:, 2] += amplitude * (np.sin(day + 1) + np.cos(week + 1)) / 2
    columns[:, 4] = rng.random(count) < 0.5 + 0.4 * np.sin(day)
    columns[change:, 0] += shift
    nothing = np.full(count, np.nan)
    return Observed(times, nothing, nothing, nothing, True, columns.astype(np.float32)), change


def starts(seen: Observed) -> list[int]:
    """The rows at which alarms are raised after two weeks."""
    watch = DriftWatch(DriftParams(), ("day", "week", "both", "noise", "label"), np.arange(5) == 4, 1)
    for first in range(0, len(seen.times), 1024):
        rows = slice(first, first + 1024)
        parts = {name: getattr(seen, name)[rows] for name in ("times", "loss", "baseline", "confidence", "columns")}
        watch.observe(replace(seen, **parts))
    return [alarm.start for alarm in watch.alarms if alarm.start > _KNOWN]


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Alarms after two weeks without a change, with a shift, and with seasons that double."""
    days = scale.of(45, quick=24, tiny=15)
    results: list[Result] = []
    for timed in (True, False):
        by = "by event time" if timed else "by row number (control)"
        false, delays, told = 0, [], []
        for seed in range(scale.of(_SEEDS, quick=1, tiny=1)):
            for shift, stronger in ((0.0, False), (1.0, False), (0.0, True)):
                seen, change = made(days, seed, shift, stronger)
                if not timed:
                    seen = replace(seen, times=np.arange(len(seen.times), dtype=np.float64))
                found = starts(seen)
                after = [at - change for at in found if at >= change] if shift or stronger else []
                false += len(found) - len(after)
                if shift:
                    delays.append(after[0] if after else 100_000)
                if stronger:
                    told.append(len(after))
        rows = f"{len(delays) * 3} streams of {days} days"
        figures = (
            (
                f"seasons {by}: alarms of no change per 5,000 rows",
                5000 * false / (3 * len(delays) * days * _PER_DAY),
                1.0,
                rows,
            ),
            (f"seasons {by}: delay of a shift by 1", float(max(delays)), 400.0, f"rows: {delays}; 100,000: not found"),
            (f"seasons {by}: alarms for seasons that double", float(max(told)), 1.0, f"alarms: {told}"),
        )
        for name, value, most, note in figures:
            unit = "rows" if "delay" in name else ""
            results.append(
                at_most(name, value, unit, most, note)
                if timed
                else Result(name=name, value=value, unit=unit, note=note)
            )
    return results


if __name__ == "__main__":
    show("Drift, seasons", run(Scale.asked()))
