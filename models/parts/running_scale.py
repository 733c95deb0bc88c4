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

from thalweg.models.parts.standardise import REACH, Standardiser, limited, within
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
        # Means and M2 of all events and of the present window, (2, F): both are merged by the same calls.
        self._means: Floats = np.zeros((2, width))
        self._m2s: Floats = np.zeros((2, width))
        self._shares: Floats = np.zeros((2, 1))  # reused: an array of two numbers costs more to make than to multiply
        super().__init__(width)
        self.constant: NDArray[np.bool_] = np.ones(width, bool)
        """The columns (F,) that had not varied when the scale was last looked at."""
        self._any_constant = True
        self.move: Move | None = None
        """The last move; valid after `take` said that the scale has changed. None: nothing was scaled before."""
        self._window = 0  # events in the present window

    def stretches(self, events: int) -> Iterator[slice]:
        if events == 1:
            yield slice(0, 1)
            return
        start = 0
        while start < events:
            until = min(self.next_step - self.events, _window_end(self.events) - self.events)
            end = min(events, start + max(1, until))
            yield slice(start, end)
            start = end

    def take(self, rows: Array, clip: float) -> tuple[Floats, bool]:
        if self.events == 0:
            self.shift = rows[0].astype(np.float64)
        z = np.asarray(rows, dtype=np.float64) - self.shift
        z *= self.factor
        inside = within(z, min(clip, REACH))  # the usual case
        if inside or not self._any_constant:
            near = z if inside else limited(z, REACH)
        else:  # what a constant column will become is not known: its values are not limited
            near = limited(z.copy(), REACH)
            near[:, self.constant] = z[:, self.constant]
        n = len(near)
        if n == 1:  # as below: such an event is its own mean
            mean, m2 = near[0], None
        else:
            mean = np.ones(n) @ near / n
            away = near - mean  # no difference of large numbers: a window without variation must come out as such
            m2 = np.einsum("nf,nf->f", away, away)
            m2 /= self.factor * self.factor
        self._add(n, self.shift + mean / self.factor, m2)
        anew = self.events == _window_end(self.events - n) and self._end_window()
        stepped = anew or self.events >= self.next_step
        if stepped:
            stepped = self._stepped()
        return z if inside else limited(z, clip), stepped

    def _add(self, n: int, mean: Floats, m2: Floats | None) -> None:
        """Merge n events into the moments (Chan, Golub and LeVeque 1979); m2 is None where it is 0."""
        events, window = self.events, self._window
        self.events, self._window = events + n, window + n
        shares = self._shares
        shares[0, 0], shares[1, 0] = n / (events + n), n / (window + n)
        delta = mean - self._means
        self._means += delta * shares
        if m2 is not None:
            self._m2s += m2
        delta *= delta
        shares[0, 0], shares[1, 0] = events * n / (events + n), window * n / (window + n)
        delta *= shares
        self._m2s += delta

    # The base class keeps the moments of all events by these names.

    @property
    def _mean(self) -> Floats:
        return np.asarray(self._means[0])

    @_mean.setter
    def _mean(self, mean: Floats) -> None:
        self._means[0] = mean

    @property
    def _m2(self) -> Floats:
        return np.asarray(self._m2s[0])

    @_m2.setter
    def _m2(self, m2: Floats) -> None:
        self._m2s[0] = m2

    def _end_window(self) -> bool:
        """Begin columns anew where the window asks for it; whether there is one."""
        n, mean, m2 = self._window, self._means[1].copy(), self._m2s[1].copy()
        self._window, self._means[1], self._m2s[1] = 0, 0.0, 0.0
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
        self._any_constant = bool(flat.any())
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
        window = {"window_mean": self._means[1], "window_m2": self._m2s[1]}
        counted = {"window": np.array([self._window], np.int64), "constant": self.constant}
        return {**super().tensors(), **window, **counted}

    def restore(self, tensors: Mapping[str, Array], events: int, next_step: int) -> None:
        super().restore(tensors, events, next_step)
        self._window, self.constant = int(tensors["window"][0]), np.array(tensors["constant"])
        self._any_constant = bool(self.constant.any())
        self._means[1], self._m2s[1] = tensors["window_mean"], tensors["window_m2"]


def _window_end(events: int) -> int:
    """The number of events at which the window that these are in ends."""
    if events >= LAST_WINDOW:
        return (events // LAST_WINDOW + 1) * LAST_WINDOW
    return max(FIRST_WINDOW, 1 << events.bit_length())
