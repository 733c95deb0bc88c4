"""Weights of experts whose probabilities are mixed, learned online.

Sources: Herbster and Warmuth, "Tracking the Best Expert", Machine Learning 32 (1998): after each outcome a share of all
weight is spread evenly, so that an expert that was wrong for long can come back. Orseau, Lattimore and Legg,
"Soft-Bayes", ALT 2017 (arXiv:1901.02230): the weights move by a part of Bayes' step, towards the best mixture and not
the best expert. Freund et al., "Using and Combining Predictors That Specialize", STOC 1997: an expert that says nothing
about an outcome keeps its weight. With the full step and -η times a loss for a log-probability these are the weights of
Hedge (Freund and Schapire, "A Decision-Theoretic Generalization of On-Line Learning", JCSS 1997).

For every sequence of experts that changes m times within T outcomes, the sum of log p of its experts, less that of the
mixture, is at most (log E + m log(E / share) - T log(1 - share)) / rate, whatever the outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class ExpertWeights:
    """The weights of E experts.

    Args:
        count: E.
        rate: Part of Bayes' step that is taken, above 0 and at most 1.
        share: Weight that is spread evenly after each outcome, 0 to below 1.
    """

    def __init__(self, count: int, rate: float, share: float) -> None:
        self._rate, self._share = rate, share
        self.weights: Floats = np.full(count, 1.0 / count)
        """(E,), above 0 with a share above 0; they sum to 1."""

    def learn(self, logs: Floats) -> Floats:
        """Judge the experts by the next N outcomes, one after the other.

        Args:
            logs: Log-probabilities or log-densities (N, E) of what came; -inf: held impossible; NaN: nothing said.

        Returns:
            The mixture's, (N,), each by the weights from before its outcome; -inf if nobody held it possible, NaN if
            nobody said anything.
        """
        weights, told = self.weights.tolist(), np.empty(len(logs))
        for row, said in enumerate(logs.tolist()):
            told[row] = self._judge(weights, said)
        self.weights = np.array(weights)
        return told

    def _judge(self, weights: list[float], said: Sequence[float]) -> float:
        awake = [place for place, one in enumerate(said) if not math.isnan(one)]
        if not awake:
            return math.nan
        highest = max(said[place] for place in awake)
        if highest == -math.inf:
            return -math.inf
        held = math.fsum(weights[place] for place in awake)
        odds = {place: math.exp(said[place] - highest) for place in awake}
        together = math.fsum(weights[place] * odds[place] for place in awake) / held
        even, kept, rate = self._share / len(weights), 1.0 - self._share, self._rate
        for place, one in odds.items():
            weights[place] *= 1.0 - rate + rate * one / together
        total = math.fsum(weights)  # 1, but for rounding
        for place, weight in enumerate(weights):
            weights[place] = kept * weight / total + even
        return highest + math.log(together)


def gains(logs: Floats, weights: Floats) -> Floats:
    """What each expert adds to the mixture of log-probabilities (N, E) under these weights (E,), (N, E): the mixture's
    log-probability less that of the mixture of the others. 0 where an expert, or every other one, says nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(np.isnan(logs), -np.inf, logs + np.log(weights))
        whole = _mean_of(shares, np.where(np.isnan(logs), 0.0, weights))
        found = np.zeros(logs.shape)
        for place in range(len(weights)):
            others = np.arange(len(weights)) != place
            rest = _mean_of(shares[:, others], np.where(np.isnan(logs), 0.0, weights)[:, others])
            found[:, place] = np.where(np.isnan(logs[:, place]), 0.0, whole - rest)
    return np.where(np.isfinite(found), found, 0.0)


def _mean_of(shares: Floats, weights: Floats) -> Floats:
    highest = shares.max(axis=1, initial=-np.inf)
    total = np.exp(shares - highest[:, None]).sum(axis=1)
    means: Floats = highest + np.log(total) - np.log(weights.sum(axis=1))
    return means


def normalised(weights: Iterable[float]) -> list[float]:
    """The weights, so that they sum to 1."""
    given = list(weights)
    total = math.fsum(given)
    return [weight / total for weight in given]
