"""Linear discriminants from the sums of ridge: log-likelihoods of classes that are normal with one covariance.

Source: Fisher (1936); Friedman, "Regularized Discriminant Analysis", JASA 84 (1989), shrinkage towards a multiple of
the identity. Ridge on 0 and 1 has the same directions, but its largest score is a worse guess than the largest
likelihood where classes are many, rare, or known from fewer events than there are features.
Cost: one factorisation, D³/6, + D² C. State: 8 D C bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.models.ridge.heads.scatter import Scatter
from thalweg.models.ridge.statistics import Statistics
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
WIDE = 256
"""Features from which on a `Discriminant` is solved beside ridge."""
SHRINKAGE = 1.0
"""Of the mean variance, added to that of each feature, in `Discriminant`: it answers while events are few."""
HORIZON = 500.0
"""Events over which right answers are counted, with exponential decay."""
LEAD = 2.0
"""Right answers that it must be ahead of ridge to answer."""


class Likelihoods(NamedTuple):
    """h · head + intercept is the log-likelihood of each class, up to what is the same for all."""

    head: Floats
    """(D, C)."""
    intercept: Floats
    """(C,)."""
    means: Floats
    """Of the features of each class, (D, C), 0 for the constant."""
    within: Scatter
    """Covariance within classes."""


def likelihoods(
    common: Statistics, cross: Floats, weight: Floats, constant: int | None, shrinkage: float
) -> Likelihoods:
    """Log-likelihoods from sums.

    Args:
        common: Sums of all events, from which the scatter within classes is taken.
        cross: Cross-moments of classes (D, C).
        weight: Their weights (C,).
        constant: Index of the constant feature.
        shrinkage: Share of the mean variance added to that of each feature.
    """
    within = common.scatter(constant)
    means = np.asfortranarray(cross / np.maximum(weight, 1e-300))
    if constant is not None:  # the same in all classes
        means[constant] = 0.0
    head = within.solve(means, shrinkage * within.variance)
    head *= 1.0 + shrinkage
    return Likelihoods(head, -0.5 * np.einsum("dc,dc->c", means, head), means, within)


class Discriminant:
    """One linear head from the sums, and whether to believe it."""

    def __init__(self) -> None:
        """Without events."""
        self._head: Floats | None = None  # (D, C), of the scale of ridge's
        self._right = [0.0, 0.0]  # of ridge, of this one

    @property
    def columns(self) -> int:
        """Classes, C."""
        return 0 if self._head is None else int(self._head.shape[1])

    def solve(self, sums: Statistics, constant: int) -> None:
        """From the sums of all events."""
        found = likelihoods(sums, sums.cross, sums.class_weight, constant, SHRINKAGE)
        head, C = found.head, sums.columns
        share = sums.class_weight / max(float(sums.class_weight.sum()), 1e-300)
        head[constant] = found.intercept + np.log(np.maximum(share, 1e-12))
        head -= head.mean(axis=1, keepdims=True)
        lead = np.einsum("dc,dc->c", found.means, head) + head[constant]  # of the mean of a class over the average
        head *= (1.0 - 1.0 / C) / max(float(lead @ share), 1e-12) if C > 1 else 1.0
        head[constant] += 1.0 / C
        self._head = head

    def score(self, features: Floats, codes: NDArray[np.int32], ridge: Floats) -> None:
        """Count right answers to n events before they are learned.

        Args:
            features: (n, D).
            codes: Their classes (n,).
            ridge: Scores of the head that is the alternative, (n, C').
        """
        if self._head is None:
            return
        fades = (1.0 - 1.0 / HORIZON) ** np.arange(len(codes) - 1, -1, -1)
        fade = (1.0 - 1.0 / HORIZON) ** len(codes)
        for which, answers in enumerate((ridge, features @ self._head)):
            self._right[which] = self._right[which] * fade + float(fades @ (answers.argmax(axis=1) == codes))

    def head(self, columns: int) -> Floats | None:
        """W (D, C) whose scores are like those of ridge, if it is believed and has as many classes; a copy."""
        if self._head is None or self.columns != columns or self._right[1] <= self._right[0] + LEAD:
            return None
        return self._head.copy()

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`; none before the first solve."""
        return {} if self._head is None else {"head": self._head, "right": np.array(self._right)}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore from `tensors()`; copies."""
        self._head = np.array(tensors["head"]) if "head" in tensors else None
        self._right = tensors["right"].tolist() if "right" in tensors else [0.0, 0.0]
