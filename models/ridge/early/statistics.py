"""The statistics of the first events of a wide table, from the events themselves.

Ridge on n events of D features has the same solution in the space of the events: with H (n, D) the head is
Hᵀ (H Hᵀ + γI)⁻¹ Y (Saunders, Gammerman and Vovk, "Ridge Regression Learning Algorithm in Dual Variables", 1998), here
with weights, and with an intercept that is not penalised: rows and targets are counted from their weighted means. The
scatter within classes is inverted likewise, by Woodbury's identity. Nothing is approximated.
Cost of a solve: n² D / 2, once for all decays, + n³ / 3 + 2 n D C, against D³ / 6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thalweg.models.ridge.early.held import Held
from thalweg.models.ridge.heads.scatter import Scatter
from thalweg.models.ridge.heads.solve import Penalty, penalty_of_squares, solve
from thalweg.models.ridge.statistics import Rows, Statistics

Floats = NDArray[np.float64]


class EarlyStatistics(Statistics):
    """`Statistics` of the events that are held, at one decay; what they hold changes them all.

    `gram` and `cross` are computed each time that they are asked for.
    """

    def __init__(self, held: Held, decay: float, first: int = 0) -> None:
        """Of these events and of their features from `first` on."""
        self._held, self._first = held, first
        super().__init__(held.map.size - first, 0, decay=decay)

    def _begin_sums(self, size: int, columns: int) -> None:
        """There are none."""

    @property
    def _features(self) -> Floats:
        return self._held.features[:, self._first :]

    @property
    def _age_weighted(self) -> Floats:
        """(n,)."""
        n = self._held.events
        weights = self._held.weights
        return weights if self.decay == 1.0 else weights * self.decay ** np.arange(n - 1, -1, -1, dtype=np.float64)

    # As arrays

    @property
    def gram(self) -> Floats:
        features = self._features
        return np.asfortranarray((features.T * self._age_weighted) @ features)

    @gram.setter
    def gram(self, array: Floats) -> None:
        raise NotImplementedError("the events themselves are held")

    @property
    def cross(self) -> Floats:
        return np.asfortranarray((self._features.T * self._age_weighted) @ self._held.targets)

    @cross.setter
    def cross(self, array: Floats) -> None:
        raise NotImplementedError("the events themselves are held")

    @property
    def class_weight(self) -> Floats:
        return self._age_weighted @ self._held.targets if self._held.classes else np.zeros(self.columns)

    @class_weight.setter
    def class_weight(self, array: Floats) -> None:
        """It follows from the events."""

    @property
    def columns(self) -> int:
        return int(self._held.targets.shape[1])

    def grow(self, columns: int) -> None:
        self._held.grow(columns)

    def from_feature(self, first: int) -> Statistics:
        return EarlyStatistics(self._held, self.decay, self._first + first)

    # Solving

    def penalty(self, gamma: float | str, constant: int | None) -> Penalty:
        weights = self._age_weighted
        squares = float(weights @ self._held.products(self._first).diagonal())
        return penalty_of_squares(gamma, self.size, squares, float(weights.sum()))

    def solve(self, gamma: Penalty, constant: int | None) -> Floats:
        weights, targets = self._age_weighted, self._held.targets
        total, root = float(weights.sum()), np.sqrt(weights)
        if total <= 0:
            return np.zeros((self.size, self.columns))
        share, products = weights / total, self._held.products(self._first)
        mean_product, mean_target = share @ products, share @ targets
        centred = products - mean_product - mean_product[:, None] + mean_product @ share
        centred *= root
        centred *= root[:, None]
        found = solve(np.asfortranarray(centred), np.asfortranarray((targets - mean_target) * root[:, None]), gamma)
        found *= root[:, None]
        found -= share[:, None] * found.sum(axis=0)  # rows are counted from their mean
        head = self._features.T @ found
        head[-1] = mean_target - (share @ self._features[:, :-1]) @ head[:-1]
        return head

    def scatter(self, constant: int | None) -> Scatter:
        products = self._held.products(self._first)
        return ScatterOfEvents(self._features, products, self._held.targets, self._age_weighted)

    # What needs sums

    def _accumulate(self, rows: Rows, weights: Floats | None, fade: float, sign: float) -> None:
        raise NotImplementedError("events are added to those that are held")


class ScatterOfEvents:
    """S = Bᵀ B / total, where B (n, D) are the events from the means of their classes, times the roots of weights."""

    def __init__(self, features: Floats, products: Floats, targets: Floats, weights: Floats) -> None:
        """Of features (n, D), the last of which is constant, products without it (n, n), targets (n, C) and weights."""
        self._features, self._total = features, max(float(weights.sum()), 1e-300)
        self._root = np.sqrt(weights)
        self._classes = targets * self._root[:, None]
        self._classes /= np.sqrt(np.maximum(weights @ targets, 1e-300))  # (n, C), orthonormal
        within = products * self._root
        within *= self._root[:, None]
        within = self._less_classes(self._less_classes(within).T)
        self._within = (within + within.T) / 2  # B Bᵀ
        self.variance = max(float(self._within.trace()) / self._total / features.shape[1], 1e-300)

    def _less_classes(self, array: Floats) -> Floats:
        """Rows (n, …) from the means of their classes."""
        return np.asarray(array - self._classes @ (self._classes.T @ array))

    def _seen(self, array: Floats) -> Floats:
        """B array."""
        return self._less_classes(self._root[:, None] * (self._features[:, :-1] @ array[:-1]))

    def solve(self, means: Floats, extra: float) -> Floats:
        small = solve(np.asfortranarray(self._within), np.asfortranarray(self._seen(means)), self._total * extra)
        found = means.copy()
        found[:-1] -= self._features[:, :-1].T @ (self._root[:, None] * self._less_classes(small))
        found[:-1] /= extra
        found[-1] /= 1.0 + extra
        return found

    def between(self, head: Floats) -> Floats:
        seen = self._seen(head)
        return np.asarray(seen.T @ seen / self._total + np.outer(head[-1], head[-1]))
