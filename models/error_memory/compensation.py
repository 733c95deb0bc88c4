"""How remembered errors correct a prediction: the fast learner of ReLoop2, Zhu et al., KDD 2023 (arXiv:2306.08808).

A neighbour is a triple (similarity, label, base score at the time). Neighbours are weighted by a softmax over
similarities; their error is added to the base score, in probability space.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


class Neighbourhood(NamedTuple):
    """Weighted means of each query's neighbours; a query without any has `found` False and zeros."""

    label: Floats
    """ȳ, (N,)."""
    base: Floats
    """ȳ_base, (N,)."""
    found: NDArray[np.bool_]
    """(N,)."""
    weights: Floats
    """a, (N, k); they sum to 1 where there are neighbours."""


def attend(similarities: Floats, labels: Floats, bases: Floats, temperature: float) -> Neighbourhood:
    """Softmax with temperature τ over similarities (N, k); -inf marks a missing neighbour."""
    there = similarities > -np.inf
    found: NDArray[np.bool_] = np.logical_or.reduce(there, axis=1)
    best = np.where(found, np.max(similarities, axis=1, initial=-np.inf), 0.0)
    with np.errstate(under="ignore"):
        weights = np.where(there, np.exp((np.where(there, similarities, 0.0) - best[:, None]) / temperature), 0.0)
    total = weights.sum(axis=1)
    weights /= np.where(found, total, 1.0)[:, None]
    return Neighbourhood((weights * labels).sum(axis=1), (weights * bases).sum(axis=1), found, weights)


def compensation(base: Floats, near: Neighbourhood, gamma: float, strength: float) -> Floats:
    """The correction of base scores (N,): λ·(γ (ȳ - y_base) + (1 - γ)(ȳ - ȳ_base)), with the sum kept in 0 … 1.

    γ = 1 moves towards the neighbours' labels, γ = 0 adds their mean error. Without neighbours: 0.
    """
    error = gamma * (near.label - base) + (1.0 - gamma) * (near.label - near.base)
    wanted = np.clip(base + strength * error, 0.0, 1.0)
    added: Floats = np.where(near.found, wanted - base, 0.0)
    return added
