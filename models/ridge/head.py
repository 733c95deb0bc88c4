"""From sums to weights: one Cholesky factorisation, or the inverse carried along by Woodbury steps.

Source: Zhuang et al. (arXiv:2405.17779), the recursive update of R and W. Ours differs: the recursion restarts from
a factorisation, often while events are few (its error arises where R = I/γ is still large), then after every D events;
with P = R Hᵀ and V = P U⁻¹ (Uᵀ U = I + H P) no product of two D × D matrices is formed.
Cost: solve D³/3 + 2 D² C; Woodbury 3 n D² + 2 n D C + …, against n D² for accumulating alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dsymm, dsyrk, dtrsm
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

Floats = NDArray[np.float64]


WIDE = 100.0
"""Mean square of an event's features from which on the penalty grows; standardised inputs have about 1 each."""


def penalty(gamma: float | str, gram: Floats, constant: int | None) -> float:
    """γ: as given, or for `auto` half of what the width of events is above WIDE, and at least 1.

    The width is the mean square of an event's features, at most their number: a thousand numbers are a thousand
    directions to fit noise in, a category of a thousand values is one.
    """
    if not isinstance(gamma, str):
        return gamma
    if constant is None or len(gram) <= WIDE + 2 or gram[constant, constant] <= 0:
        return 1.0
    diagonal = gram.diagonal()
    width = float(diagonal.sum() - diagonal[constant]) / float(diagonal[constant])
    return max(1.0, (min(width, len(gram)) - WIDE) / 2)


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


class Inverse:
    """R = (G + γI)⁻¹ and W, updated recursively; `restore` from the sums whenever they may have drifted."""

    def __init__(self) -> None:
        self.inverse: Floats | None = None
        """(D, D), Fortran order, upper triangle; None: not started."""
        self.steps = 0
        """Events added since the last factorisation."""

    def begin(self, gram: Floats, cross: Floats, gamma: float, constant: int | None) -> Floats:
        """Factorise, keep the inverse, and return W (D, C)."""
        factor = factorise(gram, gamma, constant)
        head, _ = dpotrs(factor, cross, lower=0)
        inverse, _ = dpotri(factor, lower=0, overwrite_c=1)
        self.inverse, self.steps = np.asarray(inverse), 0
        return np.asarray(head)

    def add(self, features: Floats, targets: Floats, weights: Floats | None, head: Floats) -> Floats:
        """W (D, C) after n more events; `head` is W before them."""
        assert self.inverse is not None
        if weights is not None:
            root = np.sqrt(weights)[:, None]
            features, targets = features * root, targets * root
        P = dsymm(1.0, self.inverse, features.T)  # R Hᵀ, (D, n)
        capacity = np.asfortranarray(features @ P)  # (n, n)
        capacity[np.diag_indices(len(capacity))] += 1.0
        factor, info = dpotrf(capacity, lower=0, overwrite_a=1, clean=0)  # Uᵀ U
        if info:
            raise FloatingPointError("the recursion lost positive definiteness")
        V = dtrsm(1.0, factor, P, side=1, lower=0, trans_a=0)  # P U⁻¹, (D, n): R_new = R - V Vᵀ
        self.inverse = dsyrk(-1.0, V, beta=1.0, c=self.inverse, overwrite_c=1)
        residual = dtrsm(1.0, factor, np.asfortranarray(targets - features @ head), lower=0, trans_a=1)  # U⁻ᵀ (Y - H W)
        self.steps += len(features)
        return np.asarray(head + V @ residual)
