"""Histograms that are filled many values at a time: on the way of a request a value only waits, it is counted later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Histogram:
    """How many values lay at or below each bound, and their sum; constant in size, whatever the number of values.

    Args:
        bounds: Upper bounds, ascending and finite; values beyond the last are counted, too.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.array(bounds, dtype=np.float64)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self.sum = 0.0

    def add(self, values: NDArray[Any]) -> None:
        """Count values, (N,)."""
        places = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self.sum += float(values.sum())

    def cumulative(self) -> list[tuple[float, int]]:
        """Bound and number of values at or below it, ascending; the last bound is infinite."""
        bounds: list[float] = [*self._bounds.tolist(), float("inf")]
        counts: list[int] = np.cumsum(self._counts).tolist()
        return list(zip(bounds, counts))
