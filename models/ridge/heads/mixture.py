"""Weights of several forgetting rates, by the recent error of each; and two heads beside them.

Every rate has its own head over the same features; each event is first predicted by all of them, and their squared
errors are summed with exponential decay. Weights are proportional to exp(-loss), the exponentially weighted forecaster
(Vovk 1990; Littlestone and Warmuth 1994) over decayed losses. A mixture of linear heads is one linear head, so serving
costs the same as for a single one. Where a `PassiveAggressive` head was right more often lately, that one is served;
where features are many, a `Discriminant` likewise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.models.ridge.heads.discriminant import WIDE, Discriminant
from thalweg.models.ridge.heads.passive import MOST, PassiveAggressive
from thalweg.models.ridge.params import Params
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]


class Mixture:
    """Decayed losses of M heads and the weights that follow from them."""

    def __init__(
        self,
        members: int,
        horizon_events: float,
        *,
        unit_free: bool,
        beside: PassiveAggressive | None = None,
        discriminant: Discriminant | None = None,
    ) -> None:
        """Without losses.

        Args:
            members: Heads, M.
            horizon_events: Losses decay to 1/e over this many events.
            unit_free: Targets have a unit (regression): compare losses with the smallest, not with 1.
            beside: A head beside the mixture; None: there is none.
            discriminant: Another.
        """
        self.losses: Floats = np.zeros(members)
        """(M,): decayed sums of squared errors."""
        self._fade = 1.0 - 1.0 / horizon_events
        self._horizon = horizon_events
        self._unit_free = unit_free
        self._beside, self._discriminant = beside, discriminant
        self._few = False  # whether the present micro-batch is one of few events

    def begin(self, events: int, *, late: bool) -> None:
        """A micro-batch of this many events is to be learned, in one or several parts.

        `late`: others were predicted before its labels came: the run of its labels is over.
        """
        self._few = events <= MOST and not late
        if self._beside is not None and not self._few:
            self._beside.pause()

    def score(self, rows: Rows, heads: Floats, errors: Floats | None = None) -> None:
        """Add n events.

        Args:
            rows: The events, of C classes or targets.
            heads: (M, D, C') with C' ≤ C columns solved so far.
            errors: Targets less what each head predicts, (M, n, C), if known.
        """
        features, targets, n = rows.features, rows.targets, len(rows.features)
        if self._beside is not None and self._few and rows.codes is not None:
            mixed = features @ self.weighted(heads) if errors is None else targets - self._weighted(errors)
            self._beside.learn(features, rows.codes, rows.weights, mixed, targets.shape[1])
        if self._discriminant is not None and rows.codes is not None:
            self._discriminant.score(features, rows.codes, features @ self.weighted(heads))
        if n == 1 and errors is not None:  # as below
            self.losses *= self._fade
            self.losses += np.einsum("mc,mc->m", errors[:, 0], errors[:, 0])
            return
        fades = self._fade ** np.arange(n - 1, -1, -1, dtype=np.float64)
        self.losses *= self._fade**n
        if errors is not None:
            self.losses += np.einsum("mnc,mnc->mn", errors, errors) @ fades
            return
        for member, head in enumerate(heads):
            wrong = features @ head
            wrong -= targets[:, : heads.shape[2]]
            self.losses[member] += fades @ np.einsum("nc,nc->n", wrong, wrong)

    def weights(self) -> Floats:
        """(M,), ≥ 0, of sum 1."""
        best = np.minimum.reduce(self.losses)
        share = best - self.losses
        if self._unit_free:
            share = share * (self._horizon / best) if best > 0 else np.where(share < 0, -np.inf, 0.0)
        np.exp(share, out=share)
        share /= np.add.reduce(share)
        return np.asarray(share)

    def weighted(self, heads: Floats) -> Floats:
        """The mixture W (D, C) of heads (M, D, C); a copy."""
        return self._weighted(heads) if len(heads) > 1 else heads[0].copy()

    def served(self, heads: Floats, constant: int | None) -> Floats:
        """The head (D, C) that answers: the mixture of heads (M, D, C), or the one beside it; a copy.

        `constant`: index of the constant feature.
        """
        beside = self._beside
        if beside is not None and beside.believed and beside.columns == heads.shape[2]:
            return beside.head(constant)
        other = None if self._discriminant is None else self._discriminant.head(heads.shape[2])
        return self.weighted(heads) if other is None else other

    def solve(self, sums: Statistics, constant: int | None) -> None:
        """Solve for the head of the discriminant, if there is one, from the sums of all events."""
        if self._discriminant is not None and constant is not None:
            self._discriminant.solve(sums, constant)

    def _weighted(self, arrays: Floats) -> Floats:
        """Of (M, …), the sum by weight, (…)."""
        flat = arrays.reshape(len(arrays), -1)
        return np.asarray((self.weights() @ flat).reshape(arrays.shape[1:]))

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`."""
        found: dict[str, Array] = {"losses": self.losses}
        for prefix, head in (("beside.", self._beside), ("discriminant.", self._discriminant)):
            if head is not None:
                found |= {prefix + name: array for name, array in head.tensors().items()}
        return found

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore from `tensors()`, among others; copies."""
        self.losses = np.array(tensors["losses"])
        for prefix, head in (("beside.", self._beside), ("discriminant.", self._discriminant)):
            if head is not None:
                head.restore({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})


def mixture_of(params: Params, size: int, constant: int | None) -> Mixture:
    """The mixture for D features: where several decays forget, with the heads beside it."""
    several = len(params.forgetting) > 1 and params.balance == "none" and params.task == "classification"
    return Mixture(
        len(params.forgetting),
        params.mixture_horizon_events,
        unit_free=params.task == "regression",
        beside=PassiveAggressive(size) if several else None,
        discriminant=Discriminant() if several and size >= WIDE and constant is not None else None,
    )
