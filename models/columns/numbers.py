"""Numbers and times as features: centred and scaled by their running mean and deviation; times also as cycles.

Moments are exact after every event and are summed one event after the other, so that equal bits come of any cutting
into batches. The scale in use changes only after 1, 2, 3 … 8, 10, 12, 15, 18, 22 … events, as in `Standardiser`:
between two steps features do not depend on where a batch ends, and few published versions carry a new scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import pi

import numpy as np
from numpy.typing import NDArray

from thalweg.models.columns.layout import CYCLES, Layout, Span
from thalweg.proto.schema import Array, Inputs

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Features = NDArray[np.float32]

CLIP = 6.0
"""Scaled features are within ± this many standard deviations."""
REACH = 60.0
"""Values further from the mean than this many deviations are clipped to that distance before they are summed."""
BEYOND = 1e100
"""Numbers from this size on are missing values, as NaN and infinities are: their squares could not be summed."""
_PLAIN_CLIP = 1e30  # float32 must hold a number that is not scaled
_DAY = 86_400.0
_PERIODS = np.array([_DAY, 7 * _DAY, 365.2425 * _DAY])[None, :, None]
_MONDAY = np.array([0.0, 3.0 / 7.0, 0.0])[None, :, None]  # Unix time began on a Thursday
ANEW, ENOUGH = 0.02, 16
"""A number begins anew where the values since the last step, at least so many, deviate by less than this share of all:
its unit has changed, or the first values were wrong."""
_SAME = 1e-7
"""Deviation, by the scale in use, up to which values are the same but for rounding."""
_LEAST = 1e-100  # of a deviation: then no number overflows when it is scaled


class NumberColumns:
    """How number and datetime columns become features; holds nothing that is learned."""

    def __init__(self, layout: Layout) -> None:
        self.scaled = layout.scaled
        self._plain = layout.plain
        self._sources: list[tuple[str, int, int]] = []  # column, first row, rows or 0 for one value per event
        rows: dict[str, int] = {}
        extra = layout.plain
        numbers = [(span, span.first) for span in layout.numbers]
        for span, first in [*numbers, *((span, span.trend) for span in layout.times)]:
            if first < 0:
                first, extra = extra, extra + 1  # a time without a trend
            rows[span.column.name] = first
            self._sources.append((span.column.name, first, span.column.length))
        self._rows = extra
        self._times = [rows[span.column.name] for span in layout.times]
        cycles = layout.times[0].first if layout.times else 0
        self._cycles = slice(cycles, cycles + 2 * len(CYCLES) * len(layout.times))
        told = [span for span in [*layout.numbers, *layout.times] if span.missing >= 0]
        self._flags = self._flagged([one for one in told if not one.column.length], rows)
        self._lists = [(one.missing, rows[one.column.name], one.column.length) for one in told if one.column.length]

    @staticmethod
    def _flagged(spans: list[Span], rows: Mapping[str, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        places = np.array([one.missing for one in spans], dtype=np.intp)
        return places, np.array([rows[one.column.name] for one in spans], dtype=np.intp)

    def gather(self, inputs: Inputs, events: int) -> tuple[Floats, Mask | None]:
        """Values (R, N), 0 where missing, and which are missing; None: none is."""
        values = np.empty((self._rows, events))
        for name, first, length in self._sources:
            if length:
                values[first : first + length] = inputs[name].T
            else:
                values[first] = inputs[name]
        missing = ~(np.abs(values) < BEYOND)
        if not missing.any():
            return values, None
        values[missing] = 0.0
        return values, missing

    def fill(self, out: Features, values: Floats, missing: Mask | None, scaled: Floats) -> None:
        """Write all features of numbers and times; `scaled` (S, N) are those that are scaled."""
        out[:, : self.scaled] = scaled.T
        if self._plain > self.scaled:
            out[:, self.scaled : self._plain] = values[self.scaled : self._plain].clip(-_PLAIN_CLIP, _PLAIN_CLIP).T
        if self._times:
            self._fill_cycles(out[:, self._cycles], values, missing)
        if missing is None:
            return
        places, rows = self._flags
        out[:, places] = missing[rows].T
        for place, first, length in self._lists:
            out[:, place] = missing[first : first + length].any(axis=0)

    def _fill_cycles(self, out: Features, values: Floats, missing: Mask | None) -> None:
        turns = values[self._times][:, None, :] / _PERIODS  # (T, 3, N)
        turns += _MONDAY
        turns -= np.floor(turns)
        turns *= 2.0 * pi
        pairs = out.reshape(len(out), len(CYCLES) * len(self._times), 2)  # (N, 3 T, sin and cos)
        for part, wave in enumerate((np.sin(turns), np.cos(turns))):
            if missing is not None:
                wave *= ~missing[self._times][:, None, :]
            pairs[:, :, part] = wave.reshape(pairs.shape[1], len(out)).T


class RunningScale:
    """Running mean and deviation of S numbers, missing values left out.

    A number without a value before the last step is 0, whatever comes.
    """

    def __init__(self, numbers: int) -> None:
        self.events = 0
        self.next_step = 1
        """The scale in use changes after this many events."""
        self._seen = np.zeros(numbers, np.bool_)  # whether there was a value
        self._known = np.zeros(numbers, np.bool_)  # whether there was one before the last step
        self._origin, self._unit = np.zeros(numbers), np.ones(numbers)  # of the sums; the scale in use where known
        self._count, self._sum, self._squares = np.zeros(numbers), np.zeros(numbers), np.zeros(numbers)  # since a step
        self._total, self._mean, self._m2 = np.zeros(numbers), np.zeros(numbers), np.zeros(numbers)  # until then

    def in_use(self) -> tuple[Floats, Floats]:
        """The shift and the factor in use, (S, 1); a factor of 0 where nothing is known."""
        return np.where(self._known, self._origin, 0.0)[:, None], np.where(self._known, self._unit, 0.0)[:, None]

    def take(self, values: Floats, missing: Mask | None) -> Floats:
        """Scale values (S, n) by the scale in use, then add them to the moments; `events` is not advanced."""
        if not len(values):
            return values
        if not self._seen.all():
            self._look_for_first(values, missing)
        z = (values - self._origin[:, None]) * self._unit[:, None]
        np.clip(z, -REACH, REACH, out=z)
        if missing is not None:
            z[missing] = 0.0
            self._count += z.shape[1] - missing.sum(axis=1)
        else:
            self._count += z.shape[1]
        sums = np.empty((2, len(z), z.shape[1] + 1))
        sums[0, :, 0], sums[1, :, 0] = self._sum, self._squares
        sums[0, :, 1:] = z
        np.multiply(z, z, out=sums[1, :, 1:])
        # one event after the other, never in pairs, so that the bits do not depend on how many come at once
        self._sum, self._squares = np.add.accumulate(sums, axis=2)[:, :, -1].copy()
        np.clip(z, -CLIP, CLIP, out=z)
        return z if self._known.all() else np.where(self._known[:, None], z, 0.0)

    def _look_for_first(self, values: Floats, missing: Mask | None) -> None:
        for row in np.flatnonzero(~self._seen).tolist():
            present = range(values.shape[1]) if missing is None else np.flatnonzero(~missing[row])
            if len(present):
                self._origin[row], self._seen[row] = values[row, present[0]], True

    def steps_after(self, events: int) -> bool:
        """Whether `advance` by so many makes a step."""
        return self.events + events >= self.next_step

    def advance(self, events: int) -> bool:
        """Count events; whether they have made a step, after which there is another scale in use."""
        self.events += events
        if self.events < self.next_step:
            return False
        self.next_step = max(self.events + 1, self.events + self.events // 4)
        self._step()
        return True

    def _step(self) -> None:
        self._total, self._mean, self._m2 = self._anew(*self._moments())
        self._known = self._seen.copy()
        deviation = np.sqrt(self._m2 / np.where(self._total > 0, self._total, 1.0))
        size = np.abs(self._mean)
        flat = deviation <= 1e-12 * size  # constant so far, up to rounding
        spread = np.where(flat, np.where(size > 0, size, 1.0), deviation)
        self._origin = np.where(self._known, self._mean, 0.0)
        self._unit = np.where(self._known, 1.0 / np.maximum(spread, _LEAST), 1.0)
        self._count, self._sum, self._squares = np.zeros((3, len(size)))

    def _moments(self) -> tuple[Floats, Floats, Floats]:
        """Number of values, mean, and sum of squared deviations from it, of all events."""
        return _combined((self._total, self._mean, self._m2), self._recent())

    def _recent(self) -> tuple[Floats, Floats, Floats]:
        """The same of those since the last step."""
        count = np.where(self._count > 0, self._count, 1.0)
        mean = self._origin + self._sum / count / self._unit
        m2 = np.maximum(self._squares - self._sum * self._sum / count, 0.0) / (self._unit * self._unit)
        return self._count, mean, m2

    def _anew(self, total: Floats, mean: Floats, m2: Floats) -> tuple[Floats, Floats, Floats]:
        """The moments of all events, in place of them those since the last step where a number begins anew."""
        count, recent, recent_m2 = self._recent()
        events = np.maximum(count, 1.0)
        deviation = np.sqrt(recent_m2 / events)
        varies = deviation * self._unit > _SAME * (1.0 + np.abs(recent - self._origin) * self._unit)
        small = deviation < ANEW * np.sqrt(m2 / np.maximum(total, 1.0))
        anew = varies & small & (count >= ENOUGH)
        return total, np.where(anew, recent, mean), np.where(anew, recent_m2 * (total / events), m2)

    def merge(self, other: RunningScale) -> None:
        """Add the events of another that has the same scale in use; it stays in use until the next step."""
        self._total, self._mean, self._m2 = _combined(self._moments(), other._moments())
        newly = other._seen & ~self._seen
        self._origin = np.where(newly, other._origin, self._origin)
        self._seen = self._seen | other._seen
        self._count, self._sum, self._squares = np.zeros((3, len(newly)))
        self.events += other.events
        self.next_step = max(self.next_step, other.next_step, self.events + 1)

    def tensors(self) -> dict[str, Array]:
        """For a snapshot; the two counters are saved separately."""
        return {
            "numbers": np.stack([self._origin, self._unit, self._total, self._mean, self._m2]),
            "sums": np.stack([self._count, self._sum, self._squares]),
            "seen": np.stack([self._seen, self._known]),
        }

    def restore(self, tensors: Mapping[str, Array], events: int, next_step: int) -> None:
        """Restore from `tensors()` and the counters."""
        self.events, self.next_step = events, next_step
        self._origin, self._unit, self._total, self._mean, self._m2 = np.array(tensors["numbers"])
        self._count, self._sum, self._squares = np.array(tensors["sums"])
        self._seen, self._known = np.array(tensors["seen"])


def _combined(
    mine: tuple[Floats, Floats, Floats], theirs: tuple[Floats, Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """Counts, means and sums of squared deviations of both (Chan, Golub and LeVeque 1979)."""
    (count, mean, m2), (more, other, other_m2) = mine, theirs
    total = count + more
    share = more / np.where(total > 0, total, 1.0)
    apart = np.where((count > 0) & (more > 0), other - mean, 0.0)
    found = np.where(count > 0, mean + apart * share, np.where(more > 0, other, 0.0))
    return total, found, m2 + np.where(more > 0, other_m2 + apart * apart * count * share, 0.0)
