"""Quantiles over the last minute in constant memory: counts by logarithmic bounds, in a ring of time slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SLICE_SECONDS = 10.0
SLICES = 6
"""Number of full slices in the window, besides the current one."""
_BOUNDS = np.logspace(-5, 2, 7 * 24 + 1)  # 10 µs to 100 s, 24 per decade: a quantile is at most 10 % too high


class Recent:
    """Latencies over the last minute, in 10 kB. Not thread-safe."""

    def __init__(self) -> None:
        self._counts = np.zeros((SLICES + 1, len(_BOUNDS) + 1), dtype=np.int64)
        self._slices = np.full(SLICES + 1, -1, dtype=np.int64)  # the number of the time slice in each row
        self._first: float | None = None

    def add(
        self,
        seconds: NDArray[np.float64],
        moments: NDArray[np.float64],
        counts: NDArray[np.int64] | None = None,
    ) -> None:
        """Add durations, (N,), that ended at these times of a monotonic clock, (N,); `counts`: each so often, (N,)."""
        if not len(seconds):
            return
        if self._first is None:
            self._first = float(moments.min())
        places = np.searchsorted(_BOUNDS, seconds, side="left")
        slices = (moments // SLICE_SECONDS).astype(np.int64)
        for number in np.unique(slices).tolist():
            row = number % (SLICES + 1)
            if self._slices[row] < number:
                self._slices[row], self._counts[row] = number, 0
            if self._slices[row] == number:  # otherwise older than a minute, and its row is reused
                held = slices == number
                if counts is None:
                    self._counts[row] += np.bincount(places[held], minlength=len(_BOUNDS) + 1)
                else:
                    np.add.at(self._counts[row], places[held], counts[held])

    def per_second(self, now: float) -> float:
        """Durations per second, over the last minute or since the first."""
        if self._first is None:
            return 0.0
        current = int(now // SLICE_SECONDS)
        span = now - max(self._first, (current - SLICES) * SLICE_SECONDS)
        return float(self._recent(current).sum()) / max(span, 1.0)

    def counts(self, now: float) -> list[int]:
        """Durations over the last minute, by bound."""
        found: list[int] = self._recent(int(now // SLICE_SECONDS)).tolist()
        return found

    @staticmethod
    def quantiles_of(counts: Sequence[int], shares: Sequence[float]) -> list[float] | None:
        """These quantiles of the durations with these `counts`, in seconds; None if there are none."""
        total = int(sum(counts))
        if not total:
            return None
        places = np.searchsorted(np.cumsum(counts), np.ceil(np.array(shares) * total), side="left")
        upper: list[float] = _BOUNDS[np.minimum(places, len(_BOUNDS) - 1)].tolist()
        return upper

    def _recent(self, current: int) -> NDArray[np.int64]:
        held = (self._slices >= current - SLICES) & (self._slices <= current)
        counts: NDArray[np.int64] = self._counts[held].sum(axis=0)
        return counts
