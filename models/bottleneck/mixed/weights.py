"""How much each kind of evidence is worth: a small logistic regression over the logits of all, learned online.

Source: mixing in the logistic domain, as PAQ mixes contexts (Mattern, "Mixing Strategies in Data Compression", DCC
2012). Ours differs: several classes, and a Newton step per micro-batch whose curvature is half the Fisher information
and half the squared errors. The two are equal where predictions are calibrated; where they are sure and wrong, the
second half bounds the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.models.bottleneck.softmax import softmax
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

KINDS = ("counts", "faded", "slow", "fast", "prior", "recent")
"""The kinds of evidence, J = 6: see values.py."""
COUNTS, PRIOR = KINDS.index("counts"), KINDS.index("prior")
_CERTAINTY = 8.0
"""Curvature of the start, as of so many events."""
_HORIZON = 1000.0
"""Judged events over which the past decays to 1/e."""


class Weights:
    """Weights w (J,) of J kinds of logits; a class scores Σ w_j · logit_j.

    Args:
        start: Before any event.
        least: The least each may be. That a class came lately never speaks against it: it would, at the very moment at
            which classes change.
    """

    def __init__(self, start: Sequence[float], least: Sequence[float]) -> None:
        self._start: Floats = np.array(start)
        self._least: Floats = np.array(least)
        self.values: Floats = self._start.copy()
        self._curvature: Floats = _CERTAINTY * np.eye(len(start))

    def judge(self, logits: Floats, codes: NDArray[np.int32], weights: Floats, asked: NDArray[np.bool_]) -> None:
        """One step by events that came: logits (n, K, J) from before them, each asked among some classes (n, K), its
        own included.
        """
        telling = asked.sum(axis=1) > 1
        if not telling.any():
            return
        logits, codes, weights, asked = logits[telling], codes[telling], weights[telling], asked[telling]
        n, _, kinds = logits.shape
        shares = softmax(np.where(asked, logits @ self.values, -np.inf))
        expected = np.einsum("nk,nkj->nj", shares, logits)
        errors = logits[np.arange(n), codes] - expected
        spread = (logits - expected[:, None]).reshape(-1, kinds)
        fisher = (spread * (weights[:, None] * shares).reshape(-1, 1)).T @ spread
        left = (1.0 - 1.0 / _HORIZON) ** n
        start = (1.0 - left) * _CERTAINTY
        self._curvature = left * self._curvature + start * np.eye(kinds)
        self._curvature += 0.5 * (fisher + (weights[:, None] * errors).T @ errors)
        slope = weights @ errors + start * (self._start - self.values)
        self.values = np.maximum(self.values + np.linalg.solve(self._curvature, slope), self._least)

    def raise_forgetting(self, factor: float) -> None:
        """What was judged so far counts as `factor` times fewer events."""
        start = _CERTAINTY * np.eye(len(self._start))
        self._curvature = start + (self._curvature - start) / factor

    def tensors(self) -> dict[str, Array]:
        """For a state."""
        return {"values": self.values, "curvature": self._curvature}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore from `tensors()`."""
        self.values, self._curvature = np.array(tensors["values"]), np.array(tensors["curvature"])
