"""From sums to weights by one Cholesky factorisation.

Cost: D³/3 + 2 D² C, against n D² for accumulating n events.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotrs

Floats = NDArray[np.float64]
Penalty = float | Floats
"""γ, or one for each feature (D,)."""

WIDE = 100.0
"""Mean square of an event's features from which on the penalty grows; standardised inputs have about 1 each."""


def penalty(gamma: float | str, gram: Floats, constant: int | None) -> float:
    """γ: as given, or for `auto` half of what the width of events is above WIDE, and at least 1.

    The width is the mean square of an event's features, at most their number: a thousand numbers are a thousand
    directions to fit noise in, a category of a thousand values is one.
    """
    return penalty_of(gamma, gram.diagonal(), constant)


def penalty_of(gamma: float | str, diagonal: Floats, constant: int | None) -> float:
    """The same, of the Gram's diagonal (D,)."""
    if not isinstance(gamma, str):
        return gamma
    if constant is None:
        return 1.0
    total = float(diagonal[constant])
    return penalty_of_squares(gamma, len(diagonal), float(diagonal.sum()) - total, total)


def penalty_of_squares(gamma: float | str, size: int, squares: float, total: float) -> float:
    """The same, of the sum of the squares of D features but the constant one, and of the weight of the events."""
    if not isinstance(gamma, str):
        return gamma
    if size <= WIDE + 2 or total <= 0:
        return 1.0
    return max(1.0, (min(squares / total, size) - WIDE) / 2)


LARGE, MOST_FIRED = 512, 0.9
"""From so many features on those that never fired are left out of a factorisation, if so few have: behind columns each
number has one that says that it is missing."""
FLAT = 1e-12
"""A feature that deviates by less than this share of its mean is constant, up to rounding."""


def scaled_penalty(
    gamma: float | str, diagonal: Floats, sums: Floats, present: Floats, origin: Floats | None
) -> Penalty:
    """γ sⱼ² for each feature (D,): the head is the one that features divided by their scales sⱼ would have under γ.

    sⱼ² is the variance of a feature by the share of the events in which it is not 0: of a number its variance, of a
    category, which is 0 or 1, about 1 however rare it is. All follows from sums over events, so it is the same for
    whoever has the same sums. `auto` is as in `penalty`, of features so divided.

    Args:
        gamma: γ, or `auto`.
        diagonal: Of the Gram (D,), of features from their origin; the last is the constant one.
        sums: Of the features from their origin (D,).
        present: Weight of the events in which each feature is not 0 (D,).
        origin: (D,); None: 0.
    """
    total = float(diagonal[-1])
    if total <= 0:
        return 1.0 if isinstance(gamma, str) else gamma
    mean, share = sums / total, np.clip(present / total, 1e-12, 1.0)
    variance = diagonal / total - np.square(mean)
    size = np.abs(mean if origin is None else mean + origin)
    varies = variance > np.maximum(np.square(FLAT * size), FLAT * np.square(mean))
    if isinstance(gamma, str):
        width = float(share[varies].sum())
        gamma = 1.0 if len(diagonal) <= WIDE + 2 else max(1.0, (width - WIDE) / 2)
    flat = np.where(mean != 0, np.square(mean), 1.0)  # of the same direction as the intercept, which takes it
    return np.asarray(gamma * np.where(varies, variance / share, flat))


def solve(gram: Floats, cross: Floats, gamma: Penalty, constant: int | None = None) -> Floats:
    """W (D, C) of (G + γI) W = Q; the constant feature is not penalised. Reads the upper triangle of G only.

    Raises:
        FloatingPointError: The sums are not finite, which is a bug.
    """
    if len(gram) >= LARGE and (fired := _fired(gram, cross)) is not None:
        head = np.zeros(cross.shape, order="F")
        if len(fired):
            part = np.asfortranarray(gram[np.ix_(fired, fired)])
            at = None if constant is None else int(np.searchsorted(fired, constant % len(gram)))
            own = gamma if isinstance(gamma, float | int) else gamma[fired]
            head[fired] = _solved(part, np.asfortranarray(cross[fired]), own, at)
        return head
    return _solved(gram, cross, gamma, constant)


def _solved(gram: Floats, cross: Floats, gamma: Penalty, constant: int | None) -> Floats:
    factor = factorise(gram, gamma, constant)
    head, _ = dpotrs(factor, cross, lower=0)
    if not np.isfinite(head).all():
        raise FloatingPointError("the sums of the ridge are not finite")
    return np.asarray(head)


def _fired(gram: Floats, cross: Floats) -> NDArray[np.intp] | None:
    """The features that were not 0 in some event, whose weights alone are not 0; None: nearly all of them."""
    silent = (gram.diagonal() == 0.0) & ~cross.any(axis=1)
    fired = np.flatnonzero(~silent)
    return fired if len(fired) <= MOST_FIRED * len(gram) else None


def factorise(gram: Floats, gamma: Penalty, constant: int | None = None) -> Floats:
    """Upper Cholesky factor of G + γI (D, D), Fortran order; values below the diagonal are undefined.

    Sums that rounding has made indefinite (removed events, features that differ by many powers of
    ten) get a larger γ, in powers of ten, until they are positive definite.
    """
    extra, first = gamma, True
    while True:
        penalised = gram.copy(order="F")
        penalised.ravel(order="K")[:: len(gram) + 1] += extra  # its diagonal
        if constant is not None and gram[constant, constant] > 0 and first:
            penalised[constant, constant] = gram[constant, constant] * (1 + 1e-12)
        factor, info = dpotrf(penalised, lower=0, clean=0, overwrite_a=1)
        if info == 0:
            return np.asarray(factor)
        extra, first = larger(extra, gram.diagonal()), False
        if not np.isfinite(extra).all():
            raise FloatingPointError("the sums of the ridge are not finite")


def larger(extra: Penalty, diagonal: Floats) -> Penalty:
    """The next penalty to try for sums with this diagonal (D,); one for each feature grows by the feature's own sum."""
    if isinstance(extra, float | int):
        return max(extra, 1e-15 * float(diagonal.sum())) * 10
    return np.asarray(np.maximum(extra, 1e-15 * diagonal) * 10)
