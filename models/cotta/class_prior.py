"""Which classes come now: a running class prior, and whether the traffic is correlated enough for it to be used.

Source: prior correction as in Marsden, Döbler and Yang, "Universal Test-time Adaptation through Weight Ensembling,
Diversity Weighting, and Prior Correction" (ROID), WACV 2024: a prediction is multiplied by the share of each class
among recent ones. Ours differs: the prior is used only while a short one predicts the next rows better than every
long one. A network that merely prefers a class under a new corruption does so in both, in any order of the rows; only
classes that come in runs are told apart by time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

_HALF_LIVES = (4.0, 48.0, 400.0, 3000.0)
"""In rows: of the prior that is used, then of those that it must beat."""
_FLOOR = 0.2
"""The share of a prior that is uniform: a confident prediction is never overruled, whatever came before."""
_LEAST, _MOST, _OPENS, _CLOSES = -5.0, 30.0, 10.0, 0.0
"""Bounds of the evidence, in nats, and where the gate opens and closes."""
_COST, _SPREAD, _FORGET = 0.5, 0.47, 0.999
"""Evidence lost with each row while the short prior is spread more than this (as `diversity`), and by itself: a
preference of the network is spread more than runs are, and of a run without an end nothing is left."""
_MEAN_ROWS, _BEGINS = 400.0, 3.0
"""Half-life of a further prior that must be beaten, and rows that its uniform beginning counts as: until it has seen
as many as it looks back on, it is their mean.
"""
_DIVERSITY_ROWS, _MANY = 100.0, 50


class ClassPrior:
    """One thread uses it.

    Args:
        classes: Outputs, K.
        careful: Whether the mean of all rows must be beaten, too. A network that prefers a class looks like a run to
            slow priors that are uniform yet; then what never changed opens nothing. Otherwise a run that was there
            from the beginning does, so that the statistics of batch norms are not misled by it.
    """

    def __init__(self, classes: int, *, careful: bool = False) -> None:
        half_lives = np.array([*_HALF_LIVES, *[_MEAN_ROWS] * careful])[:, None]
        self._rates = 1 - 0.5 ** (1 / half_lives)
        self._least_rows = np.where(np.arange(len(half_lives)) < len(_HALF_LIVES), np.inf, _BEGINS)[:, None]
        self._priors = np.full((len(half_lives), classes), 1 / classes)
        self._recent = np.zeros(classes)
        self._evidence, self._open, self._rows = 0.0, False, 0.0

    @property
    def open(self) -> bool:
        """Whether the traffic is correlated."""
        return self._open

    @property
    def factors(self) -> Floats:
        """What probabilities (…, K) are multiplied by; ones where the traffic is not correlated."""
        classes = len(self._recent)
        return self._floored()[0] * classes if self._open else np.ones(classes)

    @property
    def diversity(self) -> float:
        """Entropy of the mean recent prediction, as a share of the largest possible; 1 before the first row."""
        total = float(self._recent.sum())
        return entropy(self._recent / total) if total else 1.0

    def few(self, least_diversity: float) -> bool:
        """Whether few classes come: in runs, or by a mean recent prediction of less entropy than this."""
        return self._open or self.diversity < least_diversity

    def _floored(self) -> Floats:
        return (1 - _FLOOR) * self._priors + _FLOOR / len(self._recent)

    def take(self, shares: Floats) -> None:
        """Probabilities (B, K) of rows that were answered under the present `factors`, without them."""
        likely = np.log(shares @ self._floored().T)  # (B, priors): as they stood when these rows were answered
        spread = entropy(self._priors[0])
        for better in likely[:, 0] - likely[:, 1:].max(axis=1) - _COST * max(0.0, spread - _SPREAD):
            self._evidence = float(np.clip(_FORGET * self._evidence + better, _LEAST, _MOST))
        for row in shares:
            self._rows += 1
            rate = np.maximum(self._rates, 1 / (self._rows + self._least_rows))
            self._priors = (1 - rate) * self._priors + rate * row
        self._recent = self._recent * 0.5 ** (len(shares) / _DIVERSITY_ROWS) + shares.sum(axis=0)
        self._open = self._evidence > (_CLOSES if self._open else _OPENS)

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""
        gate = np.array([self._evidence, float(self._open), self._rows])
        return {"priors": self._priors.copy(), "recent": self._recent.copy(), "gate": gate}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` these are; with other priors, or of a version that had none, begin."""
        if "gate" not in tensors or tensors["priors"].shape != self._priors.shape:
            return
        self._priors, self._recent = np.array(tensors["priors"]), np.array(tensors["recent"])
        self._evidence, self._open = float(tensors["gate"][0]), bool(tensors["gate"][1])
        self._rows = float(tensors["gate"][2]) if len(tensors["gate"]) > 2 else 0.0  # an earlier version had no need


def entropy(shares: Floats) -> float:
    """As a share of the largest possible; many classes count as fifty, for a window holds no more."""
    known = shares[shares > 0]
    return float(-(known * np.log(known)).sum() / np.log(min(max(len(shares), 2), _MANY)))
