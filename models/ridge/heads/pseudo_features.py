"""Balanced heads: the ridge solution as if every class were as frequent as the largest.

Source: Zhuang et al. (arXiv:2405.17779), the pseudo-features generator, eq. for mean and variance per class; and, for
`reweighted`, their sibling AIR (weights by inverse class frequency). Ours differs: the learned sums are
never modified, a balanced head is computed from a copy, so computing it twice gives the same head; noise is seeded by
(seed, events, class), so replicas agree; variances come from (weight, mean, M2) and cannot be negative; the number of
pseudo-inputs per class is limited, with larger weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from thalweg.models.ridge.heads.solve import Penalty, solve
from thalweg.models.ridge.params import Params
from thalweg.models.ridge.statistics import Rows, Statistics

Floats = NDArray[np.float64]
Noise = Callable[[int, int, int], Floats]
"""(class column, rows, F) → standard normal numbers (rows, F)."""


def seeded_noise(seed: int, events: int) -> Noise:
    """Noise that depends on the model's seed, the number of events learned and the class."""

    def draw(code: int, rows: int, width: int) -> Floats:
        return np.random.Generator(np.random.PCG64([seed, events, code])).standard_normal((rows, width))

    return draw


def deviations(statistics: Statistics) -> Floats:
    """Standard deviation of inputs per class (C, F), by n - 1; 0 where fewer than two events were seen."""
    assert statistics.class_m2 is not None
    weight = statistics.class_weight[:, None]
    variance = np.divide(statistics.class_m2, weight - 1.0, out=np.zeros_like(statistics.class_m2), where=weight >= 2.0)
    return np.sqrt(variance)


def rows_needed(weight: Floats, most_rows: int) -> NDArray[np.int64]:
    """Pseudo-inputs per class (C,) that balance classes of these weights (C,); a class without events gets none."""
    missing = np.where(weight > 0, weight.max(initial=0.0) - weight, 0.0)
    return np.minimum(np.ceil(missing), most_rows).astype(np.int64)


def topped_up(
    statistics: Statistics, features: Callable[[Floats], Floats], nu: float, most_rows: int, noise: Noise
) -> Statistics:
    """A copy of the sums in which every class has the weight of the largest.

    Args:
        statistics: With class moments; not changed.
        features: From inputs (n, F) to features (n, D), as for events.
        nu: Factor on the deviations.
        most_rows: Most pseudo-inputs per class.
        noise: Source of standard normal numbers.
    """
    assert statistics.class_mean is not None
    scratch = statistics.copy()
    weight = statistics.class_weight
    if len(weight) == 0:
        return scratch
    spread, peak, width = deviations(statistics), weight.max(), statistics.class_mean.shape[1]
    for code, rows in enumerate(rows_needed(weight, most_rows).tolist()):
        if not rows:
            continue
        missing = float(peak - weight[code])
        pseudo = statistics.class_mean[code] + nu * spread[code] * noise(code, rows, width)
        targets = np.zeros((rows, len(weight)))
        targets[:, code] = 1.0
        share = missing / rows
        scratch.add(Rows(features(pseudo), targets, None if share == 1.0 else np.full(rows, share)))
    return scratch


def reweighted_head(statistics: Statistics, gamma: Penalty, constant: int | None) -> Floats:
    """W (D, C) of (Σ w_c G_c + γI) W = Q diag(w), w_c ∝ 1 / class weight over classes seen, Σ w_c = C."""
    assert statistics.class_grams is not None
    weight = statistics.class_weight
    share = np.divide(1.0, weight, out=np.zeros_like(weight), where=weight > 0)
    if share.any():
        share *= len(weight) / share.sum()
    gram = np.zeros_like(statistics.gram)
    for factor, part in zip(share, statistics.class_grams):
        gram += factor * part
    return statistics.from_zero(solve(gram, np.asfortranarray(statistics.cross * share), gamma, constant))


def solved(
    statistics: Statistics,
    params: Params,
    features: Callable[[Floats], Floats],
    gamma: Penalty,
    constant: int | None,
    noise: Noise,
) -> Floats:
    """W (D, C) from the sums, balanced as the parameters want it; arguments as above."""
    if params.balance == "reweighted":
        return reweighted_head(statistics, gamma, constant)
    if params.balance == "pseudo_features":
        statistics = topped_up(statistics, features, params.pseudo_noise, params.pseudo_rows, noise)
    return statistics.solve(gamma, constant)
