"""Rows with their times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.drift.seasons.period import FIRST_TIME


@dataclass(frozen=True, slots=True)
class TimedRows:
    """Rows with their times."""

    times: NDArray[np.float64]
    """(N,), Unix seconds; 0 where they are not known."""
    values: NDArray[np.float32]
    """(N, F)."""

    @classmethod
    def of(cls, times: NDArray[np.float64] | None, values: NDArray[np.float32]) -> TimedRows:
        """Rows (N, F) at times (N,); those before March 1973 are not known."""
        if times is None:
            return cls(np.zeros(len(values)), values)
        known = (times >= FIRST_TIME) & np.isfinite(times)
        return cls(times if known.all() else np.where(known, times, 0.0), values)

    @classmethod
    def none(cls, width: int) -> TimedRows:
        """No rows."""
        return cls(np.zeros(0), np.zeros((0, width), dtype=np.float32))

    @property
    def count(self) -> int:
        """N."""
        return len(self.times)

    def split(self, first: int) -> tuple[TimedRows, TimedRows]:
        """At most so many of the first rows, and the others."""
        one = TimedRows(self.times[:first], self.values[:first])
        return one, TimedRows(self.times[first:], self.values[first:])

    def part(self, first: int, count: int) -> TimedRows:
        """So many rows from this one on."""
        return TimedRows(self.times[first : first + count], self.values[first : first + count])

    def newest(self, last: int) -> TimedRows:
        """So many of the last rows."""
        return TimedRows(self.times[-last:], self.values[-last:])

    def plus(self, more: TimedRows) -> TimedRows:
        """These rows, then those."""
        if not self.count:
            return more
        if not more.count:
            return self
        return TimedRows(np.concatenate([self.times, more.times]), np.concatenate([self.values, more.values]))
