"""A scale that says how it moved, and that begins anew in a column whose unit has changed.

`Standardiser` with three differences. The scale in use moves only in columns where it is off by more than TOLERANCE,
and tells the move, so that sums of scaled events can be re-expressed. Beside the moments of all events those of the
last window are kept, windows ending after 64, 128, 256 … 4096, 8192, 12288 … events: where a window's deviation is
below ANEW of the overall one, where values stay beyond what is added (REACH), or where a constant column starts to
vary, the column begins anew with the moments of the window. A column is constant only if it is so to the last digits:
numbers of mean 1e9 and deviation 1 are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.standardise import REACH, Standardiser
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
TOLERANCE = 0.05
"""A column's scale is kept while its deviation is right within this share, and its mean within this many deviations."""
ANEW = 0.02
"""A column begins anew when the deviation of a window is below this share of the overall one."""
FIRST_WINDOW, LAST_WINDOW = 64, 4096
SAME = 1e-12
"""Deviation within a window, by the scale in use, below which all its values are the same, up to rounding."""
FLAT = 1e-14
"""A column that deviates from its mean by less than this share of it is constant, up to rounding."""


@dataclass(frozen=True, slots=True)
class Move:
    """How the scale in use has moved: scaled columns z became `ratio` · z + `offset`."""

    columns: NDArray[np.int64]
    """Those that moved, (K,)."""
    ratio: Floats
    """(K,), > 0."""
    offset: Floats
    """(K,)."""


class RunningScale(Standardiser):
    """Centres and scales (N, F) inputs; deterministic, and independent of batch boundaries up to rounding."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.constant: NDArray[np.bool_] = np.ones(width, bool)
        """The columns (F,) that had not varied when the scale was last looked at."""
        self.move: Move | None = None
        """The last move; valid after `take` said that the scale has changed. None: nothing was scaled before."""
        self._window = 0  # events in the present window
        self._window_mean: Floats = np.zeros(width)
        self._window_m2: Floats = np.zeros(width)

    def stretches(self, events: int) -> Iterator[slice]:
        start = 0
        while start < events:
            until = min(self.next_step - self.events, _window_end(self.events) - self.events)
            end = min(events, start + max(1, until))
            yield slice(start, end)
            start = end

    def take(self, rows: Array, clip: float) -> tuple[Floats, bool]:
        if self.events == 0:
            self.shift = rows[0].astype(np.float64)
        z = np.subtract(rows, self.shift, dtype=np.float64)
        z *= self.factor
        constant = self.constant
        if constant.any():  # what a constant column will become is not known: its values are not limited
            near = np.clip(z, -REACH, REACH)
            near[:, constant] = z[:, constant]
        else:
            near = z.clip(-REACH, REACH, out=z)
        n = len(near)
        mean = np.ones(n) @ near / n
        away = near - mean  # no difference of large numbers: a window without variation must come out as such
        m2 = np.einsum("nf,nf->f", away, away)
        m2 /= self.factor * self.factor
        mean = self.shift + mean / self.factor
        self._window_mean, self._window_m2 = _merged(self._window, self._window_mean, self._window_m2, n, mean, m2)
        self._window += n
        self._merge(n, mean, m2)
        anew = self.events == _window_end(self.events - n) and self._end_window()
        stepped = anew or self.events >= self.next_step
        if stepped:
            stepped = self._stepped()
        return np.clip(z, -clip, clip, out=z), stepped

    def _end_window(self) -> bool:
        """Begin columns anew where the window asks for it; whether there is one."""
        n, mean, m2 = self._window, self._window_mean, self._window_m2
        self._window, self._window_mean, self._window_m2 = 0, np.zeros_like(mean), np.zeros_like(m2)
        recent, overall = np.sqrt(m2 / n), np.sqrt(self._m2 / self.events)
        varies = ~self._flat(mean, m2, n) & (recent * self.factor > SAME)
        beyond = (np.abs(mean - self.shift) * self.factor > REACH / 2) | (recent * self.factor > REACH / 2)
        anew = varies & ((recent < ANEW * overall) | beyond)
        if anew.any():
            self._mean = np.where(anew, mean, self._mean)
            self._m2 = np.where(anew, m2 * (self.events / n), self._m2)
        return bool(anew.any())

    def _stepped(self) -> bool:
        """Move the scale in use where it is off; whether any column has moved."""
        first = self.events == self.next_step == 1
        if self.events >= self.next_step:
            self.next_step = max(self.events + 1, self.events + self.events // 4)
        deviation = np.sqrt(self._m2 / self.events)
        size = np.abs(self._mean)
        self.constant = flat = self._flat(self._mean, self._m2, self.events)
        factor = 1.0 / np.where(flat, np.where(size > 0, size, 1.0), deviation)
        ratio, offset = factor / self.factor, (self.shift - self._mean) * factor
        off = (ratio > 1 + TOLERANCE) | (ratio < 1 / (1 + TOLERANCE)) | (np.abs(offset) > TOLERANCE)
        columns = np.flatnonzero(off)
        if not len(columns):
            return first
        self.shift = np.where(off, self._mean, self.shift)
        self.factor = np.where(off, factor, self.factor)
        self.move = Move(columns, ratio[columns], offset[columns])
        return True

    @staticmethod
    def _flat(mean: Floats, m2: Floats, events: int) -> NDArray[np.bool_]:
        return np.asarray(m2 <= events * np.square(FLAT * mean))

    def tensors(self) -> Mapping[str, Array]:
        window = {"window_mean": self._window_mean, "window_m2": self._window_m2}
        counted = {"window": np.array([self._window], np.int64), "constant": self.constant}
        return {**super().tensors(), **window, **counted}

    def restore(self, tensors: Mapping[str, Array], events: int, next_step: int) -> None:
        super().restore(tensors, events, next_step)
        self._window, self.constant = int(tensors["window"][0]), np.array(tensors["constant"])
        self._window_mean, self._window_m2 = np.array(tensors["window_mean"]), np.array(tensors["window_m2"])


def _window_end(events: int) -> int:
    """The number of events at which the window that these are in ends."""
    if events >= LAST_WINDOW:
        return (events // LAST_WINDOW + 1) * LAST_WINDOW
    return max(FIRST_WINDOW, 1 << events.bit_length())


def _merged(n: int, mean: Floats, m2: Floats, more: int, its_mean: Floats, its_m2: Floats) -> tuple[Floats, Floats]:
    """Mean and M2 of n events and `more` others (Chan, Golub and LeVeque 1979)."""
    if n == 0:
        return its_mean, its_m2
    total = n + more
    delta = its_mean - mean
    return mean + delta * (more / total), m2 + its_m2 + delta * delta * (n * more / total)
