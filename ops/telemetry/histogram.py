"""Histograms to which many values are added at once, so that a request only queues its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Histogram:
    """Counts of values at or below each bound, and their sum, in constant memory.

    Args:
        bounds: Upper bounds, ascending and finite; there is an infinite one in addition.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.array(bounds, dtype=np.float64)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self.sum = 0.0

    def add(self, values: NDArray[Any], counts: NDArray[np.int64] | None = None) -> None:
        """Add values, (N,), each as often as `counts` says, (N,); None: once."""
        places = np.searchsorted(self._bounds, values, side="left")
        if counts is None:
            self._counts += np.bincount(places, minlength=len(self._counts))
            self.sum += float(values.sum())
        else:
            np.add.at(self._counts, places, counts)
            self.sum += float((values * counts).sum())

    @property
    def counts(self) -> list[int]:
        """Values in each bucket, the infinite one last."""
        found: list[int] = self._counts.tolist()
        return found

    @classmethod
    def of(cls, bounds: Sequence[float], counts: Sequence[int], sum: float) -> Histogram:
        """The histogram with these counts, as many as bounds and one more. Raises ValueError for another number."""
        made = cls(bounds)
        if len(counts) != len(made._counts):
            raise ValueError(f"expected {len(made._counts)} counts, got {len(counts)}")
        made._counts[:] = counts
        made.sum = sum
        return made

    def cumulative(self) -> list[tuple[float, int]]:
        """Each bound with the number of values at or below it, ascending; the last bound is infinite."""
        bounds: list[float] = [*self._bounds.tolist(), float("inf")]
        counts: list[int] = np.cumsum(self._counts).tolist()
        return list(zip(bounds, counts))
