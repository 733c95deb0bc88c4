"""The scatter within classes of one event, from sums: what the heads that are likelihoods need of it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from thalweg.models.ridge.heads.solve import solve

Floats = NDArray[np.float64]


class Scatter(Protocol):
    """S (D, D), 0 between the constant feature and others, and 1 for it."""

    @property
    def variance(self) -> float:
        """The mean variance of the features within classes, that of the constant one included, > 0."""

    def solve(self, means: Floats, extra: float) -> Floats:
        """(S + extra I)⁻¹ means, (D, C)."""

    def between(self, head: Floats) -> Floats:
        """headᵀ S head, (C, C)."""


class ScatterOfSums:
    """S from a Gram."""

    def __init__(self, gram: Floats, cross: Floats, class_weight: Floats, constant: int | None) -> None:
        """Of all events.

        Args:
            gram: (D, D); only the upper triangle is read.
            cross: (D, C).
            class_weight: (C,).
            constant: Index of the constant feature.
        """
        within = np.triu(gram)
        within += np.triu(within, 1).T
        within -= (cross / np.maximum(class_weight, 1e-300)) @ cross.T
        within /= max(float(class_weight.sum()), 1e-300)  # of one event
        self.variance = max(float(within.diagonal().mean()), 1e-300)
        if constant is not None:  # the same in all classes
            within[constant, :] = within[:, constant] = 0.0
            within[constant, constant] = 1.0
        self._within = within

    def solve(self, means: Floats, extra: float) -> Floats:
        return solve(np.asfortranarray(self._within), means, extra)

    def between(self, head: Floats) -> Floats:
        return np.asarray(head.T @ self._within @ head)
