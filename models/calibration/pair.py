"""One row of two classes in plain numbers: the bits of the arrays, at a fifth of the cost of calls on arrays of two.

This is what a binary stream has that is learned row by row. Only the exponential and the logarithm stay NumPy's, whose
last bits are not those of the C library.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.models.calibration.bias_corrected import FARTHEST, InUse
from thalweg.proto.schema import Array


class PairSpread(NamedTuple):
    """As `Spread`, of one row of two classes; all numbers are finite."""

    behind: tuple[float, float]
    """Scaled scores minus the higher one, in nats, 0 to -30."""
    softmax: tuple[float, float]

    @property
    def columns(self) -> int:
        """Classes: two."""
        return 2

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both, as arrays (1, 2)."""
        return np.array((self.behind,)), np.array((self.softmax,))


def pair_spread(scores: Array, scale: float, farthest: float, smallest: float | None) -> PairSpread | None:
    """The spread of scores (1, 2); None if one is not finite.

    Args:
        scores: Of one row.
        scale: Factor of the scores.
        farthest: The lower is at most this many nats behind.
        smallest: The scores are probabilities, whose logarithms count, those below as this one; None: as they are.
    """
    (first, second), *_ = scores.tolist()
    if not math.isfinite(first + second):
        return None
    if smallest is not None:
        first, second = float(np.log(max(first, smallest))), float(np.log(max(second, smallest)))
    highest = max(first, second)
    first, second = max((first - highest) * scale, -farthest), max((second - highest) * scale, -farthest)
    of_first, of_second = float(np.exp(first)), float(np.exp(second))
    both = of_first + of_second
    return PairSpread((first, second), (of_first / both, of_second / both))


def pair_mixed(spread: PairSpread, even: float) -> tuple[float, float]:
    """Probabilities with the share `even` spread evenly."""
    first, second = spread.softmax
    return first * (1.0 - even) + even / 2, second * (1.0 - even) + even / 2


def pair_corrected(spread: PairSpread, unit: float, used: InUse) -> tuple[float, float]:
    """As `InUse.given`."""
    first, second = (
        _bent((behind * unit - centre) * used.unit) * used.slope + offset
        for behind, centre, offset in zip(spread.behind, used.centres, used.offsets)
    )
    highest = max(first, second)
    first, second = max(first - highest, -FARTHEST), max(second - highest, -FARTHEST)
    of_first, of_second = float(np.exp(first)), float(np.exp(second))
    both = of_first + of_second
    return of_first / both, of_second / both


def _bent(score: float) -> float:
    return math.copysign(float(np.log(1.0 + abs(score))), score)
