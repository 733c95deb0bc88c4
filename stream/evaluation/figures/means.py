"""Means over all events with confidence intervals, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array
from thalweg.stream.evaluation.figures.bounds import Bound, mean_bound

Floats = NDArray[np.float64]


class Means:
    """Means of named columns; NaN values are ignored.

    Sums are taken over each micro-batch and then added in order, so they have the same bits however many
    micro-batches are added at once. Squares are taken of the distance to the first value, so that a spread that is
    small compared with the mean is not lost.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.sums = np.zeros(len(self.names))
        self.counts = np.zeros(len(self.names), dtype=np.int64)
        self.spreads = np.zeros((len(self.names), 4))
        """Per column: events, first value, sum of distances to it, sum of their squares. Fewer events than `counts` if
        the state comes from an older version that did not save them.
        """

    def add(self, name: str, values: Floats, starts: NDArray[np.intp]) -> None:
        """Add events (N,), N > 0, of the micro-batches that begin at `starts` (B,)."""
        row, known = self.names.index(name), ~np.isnan(values)
        if not known.all():
            if not known.any():
                return
            values = np.where(known, values, 0.0)
        count = np.count_nonzero(known)
        with np.errstate(over="ignore", invalid="ignore"):  # a target may be 1e300
            self.sums[row] = _added(self.sums[row], values, starts)
            self.counts[row] += count
            spread = self.spreads[row]
            if not spread[0]:
                spread[1] = values[known.argmax()]
            distance = values - spread[1]
            if count < len(values):
                distance[~known] = 0.0
            spread[0] += count
            spread[2] = _added(spread[2], distance, starts)
            spread[3] = _added(spread[3], distance * distance, starts)

    def count(self, name: str) -> int:
        """Events so far."""
        return int(self.counts[self.names.index(name)])

    def mean(self, name: str) -> float | None:
        """The mean; None before the first event."""
        row = self.names.index(name)
        return float(self.sums[row] / self.counts[row]) if self.counts[row] else None

    def bound(self, name: str) -> Bound | None:
        """The confidence interval of the mean; None if unknown."""
        mean, (count, _, near, square) = self.mean(name), self.spreads[self.names.index(name)].tolist()
        if mean is None or count < 2:
            return None
        if not math.isfinite(square):
            return None
        return mean_bound(mean, math.sqrt(max(0.0, square - near * near / count) / (count - 1)), int(count))

    def restore(self, sums: Array, counts: Array, spreads: Array | None) -> None:
        """Restore sums and counts; without saved spreads these start empty."""
        self.sums, self.counts = sums.copy(), counts.copy()
        self.spreads = np.zeros((len(self.names), 4)) if spreads is None else spreads.copy()


def figures_of(columns: Mapping[str, Floats]) -> dict[str, tuple[float, Bound | None]]:
    """Mean and bound of each column (N,) that has finite values, ignoring NaN."""
    found = {}
    for name, column in columns.items():
        known = column[~np.isnan(column)]
        if len(known):
            with np.errstate(over="ignore", invalid="ignore"):
                mean = float(known.mean())
                deviation = float(known.std(ddof=1)) if len(known) > 1 else math.nan
            found[name] = mean, mean_bound(mean, deviation, len(known))
    return found


def _added(total: float, values: Floats, starts: NDArray[np.intp]) -> float:
    for part in np.add.reduceat(values, starts).tolist():
        total += part
    return total
