"""From sums to weights by one Cholesky factorisation.

Cost: D³/3 + 2 D² C, against n D² for accumulating n events.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotrs

Floats = NDArray[np.float64]


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
    if constant is None or len(diagonal) <= WIDE + 2 or diagonal[constant] <= 0:
        return 1.0
    width = float(diagonal.sum() - diagonal[constant]) / float(diagonal[constant])
    return max(1.0, (min(width, len(diagonal)) - WIDE) / 2)


def solve(gram: Floats, cross: Floats, gamma: float, constant: int | None = None) -> Floats:
    """W (D, C) of (G + γI) W = Q; the constant feature is not penalised. Reads the upper triangle of G only.

    Raises:
        FloatingPointError: The sums are not finite, which is a bug.
    """
    factor = factorise(gram, gamma, constant)
    head, _ = dpotrs(factor, cross, lower=0)
    if not np.isfinite(head).all():
        raise FloatingPointError("the sums of the ridge are not finite")
    return np.asarray(head)


def factorise(gram: Floats, gamma: float, constant: int | None = None) -> Floats:
    """Upper Cholesky factor of G + γI (D, D), Fortran order; values below the diagonal are undefined.

    Sums that rounding has made indefinite (removed events, features that differ by many powers of
    ten) get a larger γ, in powers of ten, until they are positive definite.
    """
    diagonal = np.arange(len(gram))
    extra = gamma
    while True:
        penalised = gram.copy(order="F")
        penalised[diagonal, diagonal] += extra
        if constant is not None and gram[constant, constant] > 0 and extra == gamma:
            penalised[constant, constant] = gram[constant, constant] * (1 + 1e-12)
        factor, info = dpotrf(penalised, lower=0, clean=0, overwrite_a=1)
        if info == 0:
            return np.asarray(factor)
        extra = max(extra, 1e-15 * float(np.trace(gram))) * 10
        if not np.isfinite(extra):
            raise FloatingPointError("the sums of the ridge are not finite")
