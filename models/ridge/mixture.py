"""Weights of several forgetting rates, by the recent error of each.

Every rate has its own head over the same features; each event is first predicted by all of them, and their squared
errors are summed with exponential decay. Weights are proportional to exp(-loss), the exponentially weighted forecaster
(Vovk 1990; Littlestone and Warmuth 1994) over decayed losses. A mixture of linear heads is one linear head, so serving
costs the same as for a single one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Mixture:
    """Decayed losses of M heads and the weights that follow from them."""

    def __init__(self, members: int, horizon_events: float, *, unit_free: bool) -> None:
        """Without losses.

        Args:
            members: Heads, M.
            horizon_events: Losses decay to 1/e over this many events.
            unit_free: Targets have a unit (regression): compare losses with the smallest, not with 1.
        """
        self.losses: Floats = np.zeros(members)
        """(M,): decayed sums of squared errors."""
        self._fade = 1.0 - 1.0 / horizon_events
        self._horizon = horizon_events
        self._unit_free = unit_free

    def score(self, features: Floats, targets: Floats, heads: Floats) -> None:
        """Add n events: features (n, D), targets (n, C), heads (M, D, C') with C' ≤ C columns solved so far."""
        n = len(features)
        fades = self._fade ** np.arange(n - 1, -1, -1, dtype=np.float64)
        columns = heads.shape[2]
        self.losses *= self._fade**n
        for member, head in enumerate(heads):
            errors = features @ head
            errors -= targets[:, :columns]
            self.losses[member] += fades @ np.einsum("nc,nc->n", errors, errors)

    def add(self, errors: Floats) -> None:
        """Add n events: the errors of each head, (M, n, C)."""
        n = errors.shape[1]
        self.losses *= self._fade**n
        squares = np.einsum("mnc,mnc->mn", errors, errors)
        self.losses += squares[:, 0] if n == 1 else squares @ (self._fade ** np.arange(n - 1.0, -1.0, -1.0))

    def weights(self) -> Floats:
        """(M,), ≥ 0, of sum 1."""
        best = np.minimum.reduce(self.losses)
        excess = self.losses - best
        if self._unit_free:
            excess = excess * (self._horizon / best) if best > 0 else np.where(excess > 0, np.inf, 0.0)
        share = np.exp(-excess)
        share /= np.add.reduce(share)
        return share
