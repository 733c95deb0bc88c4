"""The expert that counts: types by a Markov table, gaps by a log-normal given the last type, both with forgetting.

O(1) per event, at its best from the first events on, and the control that a network has to beat. A gap of 0 (events at
one time) is an event of its own kind, with a probability per last type: it has no logarithm.
State: K² + 4 (K + 1) numbers, whatever the number of keys. With a shorter memory it is another expert.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.torch_setup import torch
from thalweg.models.prompt_tpp.network import UNKNOWN
from thalweg.models.prompt_tpp.next_event import WIDEST, NextEvent
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
SHORTEST, LONGEST = 1e-6, 1e9
"""Minimum and maximum of a gap, in units."""
_VARIANCE = 2.0  # of log gaps, as one gap of the past
_SLOWER = 10.0  # the row over all types forgets so many times more slowly


class MarkovTable:
    """Type transitions as counts; row k: the types after k.

    Args:
        counts: (K, K), K at least the number of known types.
    """

    def __init__(self, counts: Floats) -> None:
        self.counts = counts

    def log_probabilities(self, last: NDArray[Any], known: int) -> NDArray[np.float32]:
        """Log-probabilities of the next type (N, K) after types (N,), smoothed by 0.5; UNKNOWN for unknown types."""
        return smoothed(self.counts[last], np.full(len(last), known))

    def learn(self, last: int, kind: int, memory: float) -> None:
        """An event of a type after one of another; a row forgets to 1/e within `memory` uses."""
        self.counts[last] *= np.exp(-1.0 / memory)
        self.counts[last, kind] += 1.0


def smoothed(counts: Floats, known: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log-probabilities (N, K) of rows of a Markov table, each when so many types (N,) were known."""
    rows = np.where(np.arange(counts.shape[1]) < known[:, None], counts + 0.5, 0.0)
    shares = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-300)
    logs = np.log(np.maximum(shares, 1e-300))
    found: NDArray[np.float32] = np.where(shares > 0, logs, UNKNOWN).astype(np.float32)
    return found


class GapTable:
    """Gaps after each type, in seconds.

    Args:
        sums: (K + 1, 4): per last type, and over all in the last row, decayed numbers of gaps of 0 and of others, and
            sums of the others' logarithms and of their squares.
    """

    def __init__(self, sums: Floats) -> None:
        self.sums = sums

    @classmethod
    def of(cls, types: int) -> GapTable:
        """Without any gap."""
        return cls(np.zeros((types + 1, 4)))

    def learn(self, last: int, gap: float, memory: float) -> None:
        """A gap, in seconds, after a type; a row forgets to 1/e within `memory` uses."""
        log = math.log(gap) if gap > 0 else 0.0
        told = np.array([0.0, 1.0, log, log * log]) if gap > 0 else np.array([1.0, 0.0, 0.0, 0.0])
        self.sums[last] = self.sums[last] * math.exp(-1.0 / memory) + told
        self.sums[-1] = self.sums[-1] * math.exp(-1.0 / (_SLOWER * memory)) + told

    def read(self, last: NDArray[Any]) -> Floats:
        """The numbers of the gap after types (N,), (N, 3): see `expected`."""
        return expected(self.sums[last], np.broadcast_to(self.sums[-1], (len(last), 4)))


def expected(own: Floats, all_types: Floats) -> Floats:
    """Probability of a gap of 0, mean and deviation of the log gap, (N, 3), from sums of the last type (N, 4) and over
    all types (N, 4): a type seldom seen is like all others."""
    ties, count, total, squares = all_types.T
    mean = total / np.maximum(count, 1e-300)
    variance = (np.maximum(squares - count * mean * mean, 0.0) + _VARIANCE) / (count + 1.0)
    tie = (ties + 0.5) / (ties + count + 1.0)
    means = (own[:, 2] + mean) / (own[:, 1] + 1.0)  # one gap as all others is added to each row
    squared = (own[:, 3] + variance + mean * mean) / (own[:, 1] + 1.0)
    deviations = np.sqrt(np.maximum(squared - means * means, 1e-12))
    return np.stack([(own[:, 0] + tie) / (own[:, 0] + own[:, 1] + 1.0), means, deviations], axis=1)


class Counts:
    """The tables of one expert that counts.

    Args:
        markov: The types.
        gaps: The gaps.
        memory: Uses of a row after which it decays to 1/e.
    """

    def __init__(self, markov: MarkovTable, gaps: GapTable, memory: float) -> None:
        self.markov, self.gaps, self.memory = markov, gaps, memory

    @classmethod
    def of(cls, types: int, memory: float) -> Counts:
        """Of nothing."""
        return cls(MarkovTable(np.zeros((types, types))), GapTable.of(types), memory)

    def learn(self, last: int, kind: int, gap: float) -> None:
        """An event of a type, so many seconds after one of another."""
        self.markov.learn(last, kind, self.memory)
        self.gaps.learn(last, gap, self.memory)

    def noted(self, last: NDArray[Any]) -> dict[str, Array]:
        """The rows of the tables that hold for events after types (N,), copied: to be judged later by `of_noted`."""
        whole = np.broadcast_to(self.gaps.sums[-1], (len(last), 4))
        return {"types": self.markov.counts[last], "gaps": np.concatenate([self.gaps.sums[last], whole], axis=1)}


def of_noted(types: Array, gaps: Array, known: NDArray[np.int64], unit: float) -> NextEvent:
    """What counting expected, by `Counts.noted`, when so many types (N,) were known."""
    return next_event(smoothed(types, known), expected(gaps[:, :4], gaps[:, 4:]), unit)


def next_event(markov: Array, gaps: Floats, unit: float) -> NextEvent:
    """What counting expects.

    Args:
        markov: Log-probabilities (B, K) of types; UNKNOWN for types not seen yet.
        gaps: As of `expected`, (B, 3), in seconds.
        unit: Seconds of the model's unit.
    """
    tie, mean, deviation = gaps.T
    tie = np.clip(tie, 1e-9, 1.0 - 1e-9)
    spread = np.clip(np.log(deviation), -WIDEST, WIDEST)
    shortest = np.full_like(tie, math.log(SHORTEST))  # what a gap of 0 is taken for
    zeros = np.stack([np.log(tie), shortest, np.full_like(tie, -WIDEST)], axis=1)
    others = np.stack([np.log1p(-tie), mean - math.log(unit), spread], axis=1)
    parts = np.stack([zeros, others], axis=2).astype(np.float32)  # (B, 3, 2)
    types = np.where(markov > UNKNOWN, markov, -np.inf).astype(np.float32)
    return NextEvent(torch.from_numpy(types), torch.from_numpy(parts)[:, None])
