"""The Page-Hinkley test in arrays: the same as River's, up to rounding, at a hundredth of its time.

Page, "Continuous inspection schemes", Biometrika 1954. A mean is forgotten by `ALPHA` a value, as in River.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ALPHA = 0.9999
_LEAST = 30  # values before the first test
_COUNTS: Floats = np.arange(16_385.0)
_GROWN: Floats = ALPHA**-_COUNTS  # ALPHA to the power -n


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
        before, upto = self._count, self._count + len(values)
        grown_by = _GROWN[before + 1 : upto + 1]
        totals = _summed(self._total, values)
        excess = values - totals / _COUNTS[before + 1 : upto + 1]
        excess -= self._delta
        excess *= grown_by
        grown = _summed(self._grown, excess)
        sums = grown / grown_by
        lowest = np.minimum.accumulate(np.minimum(sums, self._lowest))
        self._count, self._total, self._grown = upto, float(totals[-1]), float(grown[-1])
        rises = np.subtract(sums, lowest, out=sums)
        self._lowest, self._rise = float(lowest[-1]), float(rises[-1])
        found = rises > self._threshold
        if before + 1 < _LEAST:
            found[: _LEAST - before - 1] = False
        place = int(found.argmax())
        return place if found[place] else -1

    def score(self) -> float:
        """The rise, relative to the threshold."""
        return self._rise / self._threshold


def _summed(start: float, values: Floats) -> Floats:
    """Running sums of values (N,) from a start: added in order."""
    held = np.empty(len(values) + 1)
    held[0], held[1:] = start, values
    return np.asarray(held.cumsum()[1:])
