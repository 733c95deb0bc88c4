"""Seasons of columns: what the time of day, of the week and of the year explains is no drift.

A period is cut into cells. Each time it passes, the mean of a column in each cell is compared with the level of that
passage, so neither a shift of the level nor a trend becomes a season. The profile is the mean over the latest
passages. It is believed of a column once the profile of earlier passages explained half of the next one, and of a cell
once two passages were seen there; each passage judges it again. Each period is learned on what the others leave.

Only event times are read. Times before March 1973 are the numbers of rows without a time, and have no season.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.drift.reference import quantiles
from thalweg.stream.drift.seasons.period import FIRST_TIME, Period

Floats = NDArray[np.float32]

PERIODS = ((86_400.0, 24, 7), (604_800.0, 84, 4), (365.2425 * 86_400.0, 24, 4))
"""Seconds, cells and remembered passages of a day, a week and a year. Seven days: the week averages out."""
AT_ONCE = 225.0
"""Rows within so many seconds, a sixteenth of the smallest cell, are taken together."""
_MOST_AT_ONCE = 1024
EVERY = 4
"""Of rows that come quickly, one in four is learned from."""
_QUICK = AT_ONCE / EVERY  # seconds of 64 rows
_FAR = 8.0  # usual deviations; values beyond are cut to that
_LARGEST = np.float32(1e30)  # of them: sums stay finite


class Prepared(NamedTuple):
    """Several steps of rows that come quickly, ready to be learned."""

    first: list[float]
    last: list[float]
    total: list[float]
    """Times of each step: the oldest, the newest, and the sum of those that are learned from."""
    rows: int
    """Of a step that are learned from."""
    sums: Floats
    """(S, 2, M), of deviations from the usual level and of their number."""
    usual: Floats
    """(S, M), their mean absolute value."""


class Seasons:
    """The seasons of M columns. Its state is bounded: 5 float32 per column and cell, 132 cells.

    Args:
        columns: M.
    """

    def __init__(self, columns: int) -> None:
        self._periods = [Period(*of, columns) for of in PERIODS]
        self._center = np.zeros(columns, dtype=np.float32)
        self._reach = np.zeros(columns, dtype=np.float32)
        self._sums: Floats = np.zeros((2, columns), dtype=np.float32)  # of rows that come at once, and their numbers
        self._at: NDArray[np.float64] = np.zeros(4)  # first, last and summed time, and number, of those rows
        self._explained: tuple[float, Floats] | None = None  # the latest time asked for alone

    @property
    def seen(self) -> bool:
        """Whether there were times."""
        return bool(self._at[3]) or any(period.origin is not None for period in self._periods)

    @property
    def adopted(self) -> bool:
        """Whether any season explains anything."""
        return any(period.adopted is not None for period in self._periods)

    def center(self, values: Floats) -> None:
        """Measure deviations from the median of these values (N, M), NaN where missing, from now on."""
        sound = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
        sound[:, np.isnan(sound).all(axis=0)] = 0.0
        low, center, high = quantiles(sound, [0.005, 0.5, 0.995])
        reach = np.maximum(self._reach, (high - low) / 2 + np.abs(center) * 1e-6 + 1e-9)
        self._reach = np.minimum(reach, _LARGEST).astype(np.float32)
        with np.errstate(over="ignore"):
            moved = (center - self._center).astype(np.float32)
            self._center = center.astype(np.float32)
            self._flush()
            for period in self._periods:
                period.recenter(moved)

    def break_passages(self) -> None:
        """The level of the columns changed: what is learned from now on has another one."""
        self._flush()
        for period in self._periods:
            period.break_passage()

    def learn(self, times: NDArray[np.float64], values: Floats) -> bool:
        """Learn from rows (N,), (N, M), NaN where missing; N at most 64. Returns whether a passage has ended."""
        sound = times >= FIRST_TIME
        if not sound.all():
            times, values = times[sound], values[sound]
        if not len(times):
            return False
        first, last = float(times.min()), float(times.max())
        each = 1
        if last - first <= _QUICK:  # there are more than enough
            each, times, values = EVERY, times[::EVERY], values[::EVERY]
        rest, known = self._deviations(values)
        self._reached(np.abs(rest).mean(axis=0))
        ended, begun = self._begin(first, last)
        if last - first > AT_ONCE:
            return self._spread(times, rest, known.astype(np.float32)) or ended
        sums = np.float32(each) * np.stack([rest.sum(axis=0), known.sum(axis=0, dtype=np.float32)])
        return self._gather(sums, first, last, float(times.sum()), len(times), begun=begun) or ended

    def prepare(self, times: NDArray[np.float64], values: Floats) -> Prepared | None:
        """What `learn` needs of several steps S of rows (S, N) that come quickly, computed together; None: not so, or a
        value would be cut.

        Args:
            times: (S, N).
            values: Of one row in `EVERY`, (S · N / EVERY, M).
        """
        first, last = times.min(axis=1), times.max(axis=1)
        if not first.min() >= FIRST_TIME or (last - first).max() > _QUICK:
            return None
        rest, known = self._deviations(values)
        with np.errstate(over="ignore", invalid="ignore"):
            if (np.abs(rest) >= _FAR * self._reach).any():  # how far it may reach depends on the steps before
                return None
        count = len(times)
        rest, known = rest.reshape(count, -1, rest.shape[1]), known.reshape(count, -1, rest.shape[1])
        sums = np.stack([rest.sum(axis=1), known.sum(axis=1, dtype=np.float32)], axis=1)
        sums *= np.float32(EVERY)
        totals = np.ascontiguousarray(times[:, ::EVERY]).sum(axis=1)
        of_times = (first.tolist(), last.tolist(), totals.tolist())
        return Prepared(*of_times, rest.shape[1], sums, np.abs(rest).mean(axis=1))

    def learn_prepared(self, steps: Prepared, number: int) -> bool:
        """As `learn`, of one of the steps; all before it must have been learned."""
        first, last = steps.first[number], steps.last[number]
        self._reached(steps.usual[number])
        ended, begun = self._begin(first, last)
        return self._gather(steps.sums[number], first, last, steps.total[number], steps.rows, begun=begun) or ended

    def _deviations(self, values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Deviations from the usual level, 0 where unknown, and which are known, (N, M) each."""
        far = _FAR * self._reach
        with np.errstate(over="ignore", invalid="ignore"):
            rest = np.clip(values - self._center, -far, far)
        known = np.isfinite(values)
        return (rest if known.all() else np.where(known, rest, np.float32(0.0))), known

    def _reached(self, usual: Floats) -> None:
        self._reach = np.minimum(np.maximum(self._reach, usual), _LARGEST)

    def _begin(self, first: float, last: float) -> tuple[bool, bool]:
        """Whether a passage has ended, since rows that came at once are over, and whether such rows are gathered."""
        if not self._at[3] > 0:
            return False, False
        if max(last, self._at[1]) - min(first, self._at[0]) > AT_ONCE:
            return self._flush(), False
        return False, True

    def _gather(self, sums: Floats, first: float, last: float, total: float, rows: int, *, begun: bool) -> bool:
        """Add rows to those that came at once; whether a passage has ended."""
        self._sums += sums
        oldest, newest = (min(first, self._at[0]), max(last, self._at[1])) if begun else (first, last)
        self._at = np.array([oldest, newest, self._at[2] + total, self._at[3] + rows])
        return bool(self._at[3] >= _MOST_AT_ONCE) and self._flush()

    def _flush(self) -> bool:
        """Learn from the rows that came at once, as one; whether a passage has ended."""
        if not self._at[3]:
            return False
        ended = self._spread(np.array([self._at[2] / self._at[3]]), self._sums[:1], self._sums[1:])
        self._sums, self._at = np.zeros_like(self._sums), np.zeros(4)
        return ended

    def _spread(self, times: NDArray[np.float64], sums: Floats, numbers: Floats) -> bool:
        """Let each period learn what the others leave of sums of so many rows (N, M) at times (N,)."""
        parts = [period.explained(times) for period in self._periods]
        found = [part for part in parts if part is not None]
        rest = sums - numbers * np.sum(found, axis=0) if found else sums
        day, week, _ = self._periods
        ended = [
            period.learn(times, rest if part is None else rest + numbers * part, numbers)
            for period, part in zip(self._periods, parts)
        ]
        if ended[1]:
            week.give(day)
        return any(ended)

    def adopt(self, usual: Floats) -> NDArray[np.bool_] | None:
        """Explain by what was learned, if that differs by a tenth of the usual deviation (M,) of any column.

        Returns:
            None if nothing has changed; else the columns (M,) that a period explains which explained nothing before.
        """
        if not any(period.differs(usual) for period in self._periods):
            return None
        self._explained = None
        fresh = np.zeros(len(usual), dtype=np.bool_)
        for number, period in enumerate(self._periods):
            first = period.adopted is None
            change = period.adopt()
            if change is None:
                continue
            if first:
                fresh |= period.believed
            for longer in self._periods[number + 1 :]:
                longer.leave(period, change, first=first)
        return fresh

    def explained(self, times: NDArray[np.float64]) -> Floats | None:
        """What the seasons add to values at these times (N,), (N, M) or (1, M) for all; None for nothing."""
        if not self.adopted:
            return None
        first, last = float(times.min()), float(times.max())
        if first < FIRST_TIME or last - first > AT_ONCE:
            return self._sum(times)
        time = np.round((first + last) / AT_ONCE) * (AT_ONCE / 2)
        if self._explained is None or self._explained[0] != time:
            self._explained = time, self._sum(np.array([time]))
        return self._explained[1]

    def _sum(self, times: NDArray[np.float64]) -> Floats:
        parts = [part for period in self._periods if (part := period.explained(times)) is not None]
        return np.asarray(np.sum(parts, axis=0), dtype=np.float32)

    def rows(self) -> NDArray[np.float64]:
        """Rows of one passage of the longest period that explains each column, (M,); 0 where none does."""
        found = np.zeros(len(self._center))
        for period in self._periods:
            if period.adopted is not None:
                found = np.where(period.adopted.any(axis=0), np.maximum(found, period.rows), found)
        return found

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For a snapshot; nothing where there were no times."""
        if not self.seen:
            return {}
        found: dict[str, NDArray[Any]] = {"center": self._center, "reach": self._reach, "sums": self._sums}
        found["at"] = self._at
        for number, period in enumerate(self._periods):
            found |= {f"{number}.{name}": tensor for name, tensor in period.tensors().items()}
        return found

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Become the one whose `tensors()` these are."""
        if not tensors:
            return
        self._center, self._reach = tensors["center"].copy(), tensors["reach"].copy()
        self._sums, self._at, self._explained = tensors["sums"].copy(), tensors["at"].copy(), None
        for number, period in enumerate(self._periods):
            start = f"{number}."
            period.restore({n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)})
