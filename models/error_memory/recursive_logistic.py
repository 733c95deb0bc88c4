"""Logistic regression of a few features, by recursive Newton steps with slow forgetting.

One step per micro-batch on the running curvature A = Σ λ^age · p(1-p) x xᵀ, regularised by a prior towards the first
weights: the logistic counterpart of recursive least squares with a forgetting factor (Haykin, Adaptive Filter Theory).
No learning rate to tune, features of any scale; cost per micro-batch: n·d² + d³/3.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.models.error_memory.ctr_network import sigmoid
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
_FURTHEST = 30.0  # larger weights mean that two features are collinear: they are clipped


class RecursiveLogistic:
    """`weights` (d,) such that σ(x · weights) is the probability.

    Args:
        start: Initial weights (d,), the mean of the prior.
        prior: Strength of the prior as curvature, about four times as many events.
        memory: Events after which weights decay to 1/e.
    """

    def __init__(self, start: Floats, prior: float, memory: float) -> None:
        self._start = start
        self.weights: Floats = start.copy()
        self._curvature: Floats = prior * np.eye(len(start))
        self._prior, self._memory = prior, memory

    def learn(self, rows: Floats, labels: Floats, importance: Floats, beside: float = 0.0) -> None:
        """One step with events (n, d), labels (n,) in 0 … 1, and weights (n,); `beside`: log-odds that are added."""
        if not len(rows):
            return
        given = sigmoid(rows @ self.weights + beside)
        kept = float(np.exp(-len(rows) / self._memory))
        bend = importance * given * (1.0 - given)
        self._curvature = kept * self._curvature + (rows * bend[:, None]).T @ rows
        self._curvature[np.diag_indices_from(self._curvature)] += (1.0 - kept) * self._prior
        step = np.linalg.solve(self._curvature, rows.T @ (importance * (labels - given)))
        self.weights = (self.weights + step).clip(-_FURTHEST, _FURTHEST)

    def forget(self, last: int) -> None:
        """What was learned of the last so many features, which mean something else from now on."""
        if last:
            self.weights[-last:] = self._start[-last:]
            self._curvature[-last:], self._curvature[:, -last:] = 0.0, 0.0
            self._curvature[range(-last, 0), range(-last, 0)] = self._prior

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""
        return {"weights": self.weights, "curvature": self._curvature}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` these are; of the first features alone: nothing is known of the others."""
        known = len(tensors["weights"])
        self.weights = np.concatenate([tensors["weights"], self._start[known:]])
        self._curvature = self._prior * np.eye(len(self._start))
        self._curvature[:known, :known] = tensors["curvature"]
