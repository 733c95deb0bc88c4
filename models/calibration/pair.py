"""One row of two classes in plain numbers: the bits of the arrays, at a fifth of the cost of calls on arrays of two.

This is what a binary stream has that is learned row by row. Only the exponential and the logarithm stay NumPy's, whose
last bits are not those of the C library.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

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
    return PairSpread((first, second), _softmax(first, second))


def pair_mixed(spread: PairSpread, even: float) -> tuple[float, float]:
    """Probabilities with the share `even` spread evenly."""
    first, second = spread.softmax
    return first * (1.0 - even) + even / 2, second * (1.0 - even) + even / 2


def pair_corrected(spread: PairSpread, unit: float, used: InUse) -> tuple[float, float]:
    """As `InUse.given`."""
    (first, second), (centre, other) = spread.behind, used.centres
    first = _bent((first * unit - centre) * used.unit) * used.slope + used.offsets[0]
    second = _bent((second * unit - other) * used.unit) * used.slope + used.offsets[1]
    highest = max(first, second)
    return _softmax(max(first - highest, -FARTHEST), max(second - highest, -FARTHEST))


def _softmax(first: float, second: float) -> tuple[float, float]:
    """Of two of which the higher is 0, whose exponential is 1 in each library."""
    of_first, of_second = (1.0, float(np.exp(second))) if first == 0 else (float(np.exp(first)), 1.0)
    both = of_first + of_second
    return of_first / both, of_second / both


def _bent(score: float) -> float:
    return math.copysign(float(np.log(1.0 + abs(score))), score)
