"""Weights of several forgetting rates, by the recent error of each; and heads beside them.

Every rate has its own head over the same features; each event is first predicted by all of them, and their squared
errors are summed with exponential decay. Weights are proportional to exp(-loss), the exponentially weighted forecaster
(Vovk 1990; Littlestone and Warmuth 1994) over decayed losses. A mixture of linear heads is one linear head, so serving
costs the same as for a single one. Behind columns each rate has a `Linear` head over the inputs alone as well, which is
weighed with all others, and those alone answer where they were right more often: where labels are noisy, a random layer
may have the smaller squared error and be wrong more often. Where a `PassiveAggressive` head was right more often
lately, that one is served; where features are many, a `Discriminant` likewise.

Where one event in five hundred is of another class than the rest, a hundred events say nothing about which head knows
that class, and all squared errors are small: the horizon is as many times longer, and differences count so many times
more (`Classes.rarity`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.random_features import FeatureMap
from thalweg.models.ridge.classes import Classes
from thalweg.models.ridge.heads.discriminant import WIDE, Discriminant
from thalweg.models.ridge.heads.linear import Gamma, Linear
from thalweg.models.ridge.heads.passive import MOST, PassiveAggressive
from thalweg.models.ridge.params import Params
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

PART = 0.25
"""Of the events so far, which a longer horizon is at most: what heads say at first means little."""


class Mixture:
    """Decayed losses of M heads and the weights that follow from them."""

    def __init__(
        self,
        members: int,
        horizon_events: float,
        *,
        unit_free: bool,
        classes: Classes | None = None,
        beside: PassiveAggressive | None = None,
        discriminant: Discriminant | None = None,
        linear: Linear | None = None,
    ) -> None:
        """Without losses.

        Args:
            members: Heads, M.
            horizon_events: Losses decay to 1/e over this many events.
            unit_free: Targets have a unit (regression): compare losses with the smallest, not with 1.
            classes: Those so far; None: targets are numbers.
            beside: A head beside the mixture; None: there is none.
            discriminant: Another.
            linear: As many heads over the inputs alone; they are weighed with the others.
        """
        self.losses: Floats = np.zeros(members)
        """(M,): decayed sums of squared errors."""
        self._linear = linear
        self._first = 0 if linear is None else linear.first  # of the features that the head beside is over
        self._horizon = horizon_events
        self._classes = classes or Classes()
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
        """Add n events; heads beside learn from them.

        Args:
            rows: The events, of C classes or targets.
            heads: (M, D, C') with C' ≤ C columns solved so far.
            errors: Targets less what each head predicts, (M, n, C), if known: then heads are updated by steps.
        """
        features, targets, n = rows.features, rows.targets, len(rows.features)
        linear = self._linear
        of_linear = None if linear is None else linear.errors(rows)
        if self._beside is not None and self._few and rows.codes is not None:
            mixed = features @ self.weighted(heads) if errors is None else targets - self._mixed(errors, of_linear)
            self._beside.learn(features[:, self._first :], rows.codes, rows.weights, mixed, targets.shape[1])
        if self._discriminant is not None and rows.codes is not None:
            self._discriminant.score(features, rows.codes, features @ self.weighted(heads))
        if linear is not None and of_linear is not None:
            if rows.codes is not None:
                everything = self._weights()
                mixed = (
                    features @ self._summed(heads, everything)
                    if errors is None
                    else targets - self._mixed(errors, of_linear, everything)
                )
                linear.count(rows.codes, mixed, targets - _sum(self._weights(alone=True)[len(heads) :], of_linear))
            linear.losses = self._faded(linear.losses, of_linear)
            if errors is None:
                linear.pause()
            else:
                linear.learn(rows, of_linear)
        if errors is not None:
            self.losses = self._faded(self.losses, errors)
            return
        fades = self._fade ** np.arange(n - 1, -1, -1, dtype=np.float64)
        self.losses *= self._fade**n
        for member, head in enumerate(heads):
            wrong = features @ head
            wrong -= targets[:, : heads.shape[2]]
            self.losses[member] += fades @ np.einsum("nc,nc->n", wrong, wrong)

    @property
    def _fade(self) -> float:
        """By which losses decay per event."""
        classes, horizon = self._classes, self._horizon
        return 1.0 - 1.0 / min(horizon * classes.rarity, max(horizon, PART * classes.total))

    def _faded(self, losses: Floats, errors: Floats) -> Floats:
        """Losses (M,) after n more events of errors (M, n, C)."""
        n = errors.shape[1]
        if n == 1:
            losses = losses * self._fade
            losses += np.einsum("mc,mc->m", errors[:, 0], errors[:, 0])
            return losses
        fades = self._fade ** np.arange(n - 1, -1, -1, dtype=np.float64)
        return np.asarray(losses * self._fade**n + np.einsum("mnc,mnc->mn", errors, errors) @ fades)

    def weights(self) -> Floats:
        """Of the heads, (M,), and of the linear ones after them, (2 M,), if there are some: ≥ 0, of sum 1."""
        return self._weights(alone=self._linear is not None and self._linear.alone)

    def _weights(self, *, alone: bool = False) -> Floats:
        """`alone`: only the linear ones have some."""
        losses = self.losses
        if self._linear is not None and len(self._linear.losses):
            others = np.full_like(losses, np.inf) if alone else losses
            losses = np.concatenate([others, self._linear.losses])
        best = np.minimum.reduce(losses)
        share = best - losses
        if self._unit_free:
            share = share * (self._horizon / best) if best > 0 else np.where(share < 0, -np.inf, 0.0)
        elif self._classes.rarity > 1.0:
            share = share * self._classes.rarity
            if self._linear is not None:  # of a rare class there are fewer events than random features to tell it by
                share[: len(self.losses)] -= math.log(self._classes.rarity)
                share -= np.maximum.reduce(share)
        np.exp(share, out=share)
        share /= np.add.reduce(share)
        return np.asarray(share)

    def weighted(self, heads: Floats) -> Floats:
        """The mixture W (D, C) of heads (M, D, C) and of the linear ones; a copy."""
        return heads[0].copy() if len(heads) == 1 else self._summed(heads, self.weights())

    def _summed(self, heads: Floats, weights: Floats) -> Floats:
        found = _sum(weights[: len(heads)], heads)
        if self._linear is not None and len(weights) > len(heads):
            self._linear.add_to(found, weights[len(heads) :])
        return found

    def served(self, heads: Floats, constant: int | None) -> Floats:
        """The head (D, C) that answers: the mixture of heads (M, D, C), or the one beside it; a copy.

        `constant`: index of the constant feature.
        """
        beside = self._beside
        if beside is not None and beside.believed and beside.columns == heads.shape[2]:
            head = beside.head(None if constant is None else -1)
            return np.pad(head, ((self._first, 0), (0, 0))) if self._first else head
        other = None if self._discriminant is None else self._discriminant.head(heads.shape[2])
        return self.weighted(heads) if other is None else other

    def solve(self, members: Sequence[Statistics], slowest: Statistics, gamma: Gamma, constant: int | None) -> None:
        """Solve for the heads beside, from the sums of all events.

        Args:
            members: Of each decay.
            slowest: One of them.
            gamma: Gives the ridge coefficient.
            constant: Index of the constant feature.
        """
        if self._discriminant is not None and constant is not None:
            self._discriminant.solve(slowest, constant)
        if self._linear is not None:
            self._linear.solve(members, gamma, self.losses)

    def renew(self, members: Sequence[Statistics], gamma: Gamma, most: int) -> None:
        """Heads are updated by Woodbury steps from now on, or need room for more: as of `Recursion.renew`."""
        if self._linear is not None:
            self._linear.renew(members, gamma, most, self.losses)

    def _mixed(self, errors: Floats, of_linear: Floats | None, weights: Floats | None = None) -> Floats:
        """Errors (M, n, C) of the heads and of the linear ones, summed by weight, (n, C)."""
        weights, M = self.weights() if weights is None else weights, len(errors)
        found = _sum(weights[:M], errors)
        return found if of_linear is None or len(weights) == M else found + _sum(weights[M:], of_linear)

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`."""
        found: dict[str, Array] = {"losses": self.losses}
        for prefix, head in self._prefixed():
            if head is not None:
                found |= {prefix + name: array for name, array in head.tensors().items()}
        return found

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore from `tensors()`, among others; copies."""
        self.losses = np.array(tensors["losses"])
        for prefix, head in self._prefixed():
            if head is not None:
                head.restore({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})

    def _prefixed(self) -> tuple[tuple[str, PassiveAggressive | Discriminant | Linear | None], ...]:
        return ("beside.", self._beside), ("discriminant.", self._discriminant), ("linear.", self._linear)


def _sum(weights: Floats, arrays: Floats) -> Floats:
    """Of arrays (M, …), the sum by weights (M,), (…)."""
    return np.asarray((weights @ arrays.reshape(len(arrays), -1)).reshape(arrays.shape[1:]))


def mixture_of(params: Params, features: FeatureMap, known: Classes) -> Mixture:
    """The mixture for D features: where several decays forget, with the heads beside it. `known`: the learner's."""
    size, several = features.size, len(params.forgetting) > 1 and params.balance == "none"
    classes = several and params.task == "classification"
    behind_columns = params.standardise is False  # where the layer sees a part of the inputs
    apart = several and behind_columns and features.expansion > 0 and features.direct and features.bias
    return Mixture(
        len(params.forgetting),
        params.mixture_horizon_events,
        unit_free=params.task == "regression",
        classes=known,
        beside=PassiveAggressive(size - (features.expansion if apart else 0)) if classes else None,
        discriminant=Discriminant() if classes and size >= WIDE and features.bias else None,
        linear=Linear(size, features.expansion, params.forgetting) if apart else None,
    )
