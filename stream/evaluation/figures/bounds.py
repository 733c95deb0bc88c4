"""Bounds of 95 % confidence intervals.

All of them assume independent and identically distributed events. Events of a stream seldom are: where errors are
correlated the true intervals are wider, and under drift a figure over all events averages over different times.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Bound: TypeAlias = tuple[float, float]
"""Lower, upper."""
Floats: TypeAlias = NDArray[np.float64]

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
_FEWEST_GROUPS = 10


def share_bound(hits: float, count: float) -> Bound:
    """For a share, `hits` of `count` > 0 (Wilson 1927); valid also where it is 0 or 1."""
    low, high = share_bounds(np.array([hits]), np.array([count]))
    return float(low[0]), float(high[0])


def share_bounds(hits: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """The same for several shares, (C,) each."""
    middle = (hits + Z * Z / 2) / (counts + Z * Z)
    half = Z / (counts + Z * Z) * np.sqrt(hits * (counts - hits) / counts + Z * Z / 4)
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def mean_of_shares_bound(hits: Floats, counts: Floats) -> Bound:
    """For the mean of independent shares, (C,), counts > 0: the Wilson intervals of each, combined by their squared
    distances (Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine
    2008).
    """
    shares, (low, high) = hits / counts, share_bounds(hits, counts)
    middle, many = float(shares.mean()), len(shares)
    below = math.sqrt(float(((shares - low) ** 2).sum())) / many
    above = math.sqrt(float(((high - shares) ** 2).sum())) / many
    return max(0.0, middle - below), min(1.0, middle + above)


def mean_bound(mean: float, deviation: float, count: int) -> Bound | None:
    """For the mean of `count` values with this standard deviation (Student); None if it is not defined."""
    if count < 2 or not (math.isfinite(mean) and math.isfinite(deviation)):
        return None
    half = float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count)
    return mean - half, mean + half


def positive_bound(bound: Bound | None) -> Bound | None:
    """For the mean of values that are never below 0: of few or unequal values, Student's lower bound may be."""
    return None if bound is None else (max(0.0, bound[0]), bound[1])


def root_bound(square: Bound | None) -> Bound | None:
    """For the root of a mean square with these bounds: the root of each, because the root is monotonic."""
    return None if square is None else (math.sqrt(max(0.0, square[0])), math.sqrt(max(0.0, square[1])))


def ranking_bound(auc: float, positives: int, negatives: int) -> Bound:
    """For an area under the ROC curve; `positives`, `negatives` > 0.

    Source: Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2",
    Statistics in Medicine 2006, method 5: the variance of Hanley and McNeil (1982) at the bound instead of at the
    estimate, so that a perfect ranking of few events does not get an interval of width 0.
    """
    return _below(auc, positives, negatives), 1.0 - _below(1.0 - auc, positives, negatives)


def _below(auc: float, positives: int, negatives: int) -> float:
    pairs, extra = positives * negatives, (positives + negatives) / 2 - 1

    def reaches(area: float) -> bool:
        variance = area * (1 - area) * (1 + extra * (1 - area) / (2 - area) + extra * area / (1 + area)) / pairs
        return auc - area <= Z * math.sqrt(variance)

    low, high = 0.0, auc
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return low


def weighted_mean_bound(values: Floats, weights: Floats) -> Bound | None:
    """For the weighted mean of the values of G independent groups, (G,), within [0, 1]; None for fewer than ten groups.

    The variance of a ratio of sums (Cochran, Sampling Techniques, 1977, section 6.4), with groups as the sampling
    unit.
    """
    groups = len(values)
    if groups < _FEWEST_GROUPS:
        return None
    mean = float((weights * values).sum() / weights.sum())
    spread = float(((weights * (values - mean)) ** 2).sum()) * groups / (groups - 1)
    half = float(stdtrit(groups - 1, 0.975)) * math.sqrt(spread) / float(weights.sum())
    return max(0.0, mean - half), min(1.0, mean + half)
