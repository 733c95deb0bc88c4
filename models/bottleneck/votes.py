"""How the fetched values of label counts vote, and how many independent votes the heads are worth.

A head whose key holds n events, c_y of them of class y, votes log((c_y + S·π_y) / (n + S)) - log π_y: how much likelier
the class is here than anywhere, π being the share of each class in all events and S the `strength` of that prior. A key
that holds nothing abstains. The answer is softmax(scale · mean vote + log π′), where π′ is π, but of no class less than
0.3 times the largest. With independent heads the scale would be their number (naive Bayes); heads see the same input,
so it is a few, and it is fitted: to the log loss of a sample of learned rows, each predicted from the counts without
one of its own events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.key_tables import Ids
from thalweg.models.bottleneck.codes import Codes
from thalweg.models.bottleneck.row_sample import RowSample
from thalweg.models.bottleneck.softmax import softmax
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

FIRST_SCALE = 2.0
"""The scale before anything is known."""
_PRIOR_ROWS = 8.0  # how many rows the first scale counts as
_LEAST_SCALE = 0.25
_FIT_NUMBERS = 1 << 18  # votes computed for a fit: bounds its time for many classes
_FEWEST_ROWS = 16
_STEPS = 20
_LEAST_SHARE = 0.3
"""Of the most frequent class: no class is expected less often, so that one of long ago is known when it returns."""


class FitRows(NamedTuple):
    """Learned rows that the scale is fitted to: P pairs of a row and one of its classes."""

    ids: Array
    """(P, C·k) int32."""
    columns: NDArray[np.int64]
    """(P,) the class."""
    own: Floats
    """(P,) the weight of one event of the row, which is left out."""
    weights: Floats
    """(P,) of the class at this row."""

    @classmethod
    def of(cls, sample: RowSample) -> FitRows:
        """Those of a sample; fewer if there are many classes."""
        votes = max(1, sample.ids.shape[1] * sample.weights.shape[1])
        rows, columns = np.nonzero(sample.weights[: max(_FEWEST_ROWS, _FIT_NUMBERS // votes)] > 0)
        own = sample.mean_weights()
        return cls(sample.ids[rows], columns, own[rows], sample.weights[rows, columns])


def class_shares(counts: Array, top_k: int) -> Floats:
    """The share of each class in all events, (K,), of counts (C, M, K): every event is counted in every head."""
    totals: Floats = counts[0].sum(axis=0, dtype=np.float64) / top_k
    return (totals + 0.5) / (totals.sum() + 0.5 * len(totals)) if len(totals) else totals


def least_shares(shares: Floats) -> Floats:
    """Logarithms (K,) of shares, none less than _LEAST_SHARE of the largest."""
    logs: Floats = np.log(np.maximum(shares, _LEAST_SHARE * shares.max(initial=0.0)))
    return logs


def fetched(values: Array, ids: Ids | Array) -> NDArray[np.float32]:
    """Values (C·k, N, K) of a table (C, M, K) at the keys (N, C·k)."""
    heads = len(values)
    taken: NDArray[np.float32] = values[np.repeat(np.arange(heads), ids.shape[1] // heads)[:, None], ids.T]
    return taken


def count_votes(counts: NDArray[np.float32], shares: Floats, strength: float) -> Floats:
    """Mean votes (N, K) of counts (C·k, N, K), which are overwritten."""
    whole = np.add.reduce(counts, axis=2, keepdims=True)
    whole += np.float32(strength)
    counts += (strength * shares).astype(np.float32)
    counts /= whole
    np.log(counts, out=counts)
    # one head after another, so that a row's sum has the same bits whatever the other rows
    votes: Floats = np.add.reduce(counts, axis=0, dtype=np.float64) / len(counts)
    votes -= np.log(shares)
    return votes


class CountVotes:
    """Immutable label counts (C, M, K) float32.

    Args:
        counts: Taken over.
        top_k: Nearest keys per head that vote.
        strength: Events that the prior of a key counts as.
        scale: A number, or the rows that it is fitted to when it is first needed.
    """

    def __init__(self, counts: Array, top_k: int, strength: float, scale: float | FitRows) -> None:
        self._counts, self._top_k, self._strength = counts, top_k, strength
        self._given = scale
        self._prior = class_shares(counts, top_k)
        self._offset = least_shares(self._prior)

    @cached_property
    def scale(self) -> float:
        """How many independent votes the heads are worth; at most as many as there are."""
        if not isinstance(self._given, FitRows):
            return self._given
        return self._fitted(self._given)

    def logits(self, codes: Codes, rows: Array) -> Floats:
        """(N, K) of gathered inputs (N, F)."""
        _, ids = codes.ids(rows, self._top_k)
        votes = count_votes(fetched(self._counts, ids.reshape(len(ids), -1)), self._prior, self._strength)
        logits: Floats = self.scale * votes + self._offset
        return logits

    def _fitted(self, rows: FitRows) -> float:
        """Gauss-Newton steps on the mean log loss as a function of the logarithm of the scale."""
        count, classes = len(rows.columns), self._counts.shape[2]
        if not count or classes < 2:
            return FIRST_SCALE
        counts = fetched(self._counts, rows.ids)
        own = counts[:, np.arange(count), rows.columns] - rows.own
        counts[:, np.arange(count), rows.columns] = np.maximum(own, 0.0)
        votes = count_votes(counts, self._prior, self._strength)
        weights = rows.weights * (count / rows.weights.sum())
        right = votes[np.arange(count), rows.columns]
        first, most = math.log(FIRST_SCALE), math.log(max(FIRST_SCALE, self._counts.shape[0]))
        log_scale = first
        for _ in range(_STEPS):
            scale = math.exp(log_scale)
            shares = softmax(scale * votes + self._offset)
            expected = np.einsum("ij,ij->i", shares, votes)
            variance = np.einsum("ij,ij,ij->i", shares, votes, votes) - expected * expected
            slope = scale * float(weights @ (expected - right)) + _PRIOR_ROWS * (log_scale - first)
            step = slope / (scale * scale * float(weights @ variance) + _PRIOR_ROWS)
            step = min(1.0, max(-1.0, step))
            log_scale = min(most, max(math.log(_LEAST_SCALE), log_scale - step))
            if abs(step) < 1e-4:
                break
        return math.exp(log_scale)

    def tensors(self) -> dict[str, Array]:
        """For the state of a predictor."""
        return {"counts": self._counts}

    def settings(self) -> dict[str, Any]:
        """For the state of a predictor."""
        return {"values": "counts", "top_k": self._top_k, "strength": self._strength, "scale": self.scale}

    @classmethod
    def of(cls, tensors: Mapping[str, Array], settings: Mapping[str, Any]) -> CountVotes:
        """From `tensors()` and `settings()`; arrays are used in place."""
        return cls(tensors["counts"], settings["top_k"], settings["strength"], settings["scale"])
