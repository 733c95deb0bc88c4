"""Experts that count: types by a Markov table, gaps by a log-normal given the last type, both with forgetting.

O(1) per event, at their best from the first events on, and the control that a network has to beat. A gap of 0 (events
at one time) is an event of its own kind, with a probability per last type: it has no logarithm. With a shorter memory
it is another expert, and with a key's own window (O(W) per event) a third.
State: K² + 4 (K + 1) numbers each, whatever the number of keys.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.torch_setup import torch
from thalweg.models.prompt_tpp.network import UNKNOWN, Past
from thalweg.models.prompt_tpp.next_event import NARROWEST, WIDEST, NextEvent
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
SHORTEST, LONGEST = 1e-6, 1e9
"""Minimum and maximum of a gap, in units."""
OF_KEY = "closed_form_key"
"""The expert that counts a key's own window, too."""
_OF_TYPES, _AFTER_TYPE, _OF_GAPS = 30.0, 5.0, 2.0  # events of a key that weigh as much as what is known of all keys
_LEAST_DEVIATION = math.exp(-NARROWEST)  # of a key's log gaps
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


def of_noted(name: str, types: Array, gaps: Array, past: Past, unit: float) -> NextEvent:
    """What an expert that counts expected.

    Args:
        name: Of the expert.
        types: Rows of its Markov table (B, K) as they were, by `Counts.noted`.
        gaps: Of its gap table, (B, 8).
        past: The histories.
        unit: Seconds of the model's unit.
    """
    known = (past.markov > UNKNOWN).sum(dim=1).numpy()
    markov, numbers = smoothed(types, known), expected(gaps[:, :4], gaps[:, 4:])
    if name == OF_KEY:
        markov, numbers = with_own_window(past, markov, numbers, unit)
    return next_event(markov, numbers, unit)


def with_own_window(past: Past, markov: Array, gaps: Floats, unit: float) -> tuple[Array, Floats]:
    """What a key's own window adds: its types after the last one, shrunk to all its types, shrunk to the Markov table;
    its gaps, shrunk to those of all keys.

    Args:
        past: Histories (B, W).
        markov: Log-probabilities (B, K); UNKNOWN for types not seen yet.
        gaps: As of `expected`, (B, 3), in seconds.
        unit: Seconds of the model's unit.
    """
    types, lengths = past.types.numpy(), past.lengths.numpy()
    rows, places = np.arange(len(types)), np.arange(types.shape[1])
    there = places < lengths[:, None]
    follows = there[:, 1:] & (types[:, :-1] == types[rows, lengths - 1][:, None])
    own, after = np.zeros(markov.shape), np.zeros(markov.shape)
    np.add.at(own, (np.broadcast_to(rows[:, None], types.shape)[there], types[there]), 1.0)
    np.add.at(after, (np.broadcast_to(rows[:, None], follows.shape)[follows], types[:, 1:][follows]), 1.0)
    shares = np.where(markov > UNKNOWN, np.exp(markov.astype(np.float64)), 0.0)
    shares = (own + _OF_TYPES * shares) / (own.sum(axis=1, keepdims=True) + _OF_TYPES)
    shares = (after + _AFTER_TYPE * shares) / (after.sum(axis=1, keepdims=True) + _AFTER_TYPE)
    mixed = np.where(markov > UNKNOWN, np.log(np.maximum(shares, 1e-300)), UNKNOWN).astype(np.float32)
    between = np.diff(past.ages.numpy(), axis=1) * unit
    ties, others = there[:, 1:] & (between <= 0), there[:, 1:] & (between > 0)
    logs = np.where(others, np.log(np.where(others, between, 1.0)), 0.0)
    tie, mean, deviation = gaps.T
    count = others.sum(axis=1) + _OF_GAPS
    means = (logs.sum(axis=1) + _OF_GAPS * mean) / count
    squares = ((logs * logs).sum(axis=1) + _OF_GAPS * (deviation**2 + mean**2)) / count
    deviations = np.sqrt(np.maximum(squares - means**2, _LEAST_DEVIATION**2))
    at_once = (ties.sum(axis=1) + _OF_GAPS * tie) / (ties.sum(axis=1) + count)
    return mixed, np.stack([at_once, means, deviations], axis=1)


def next_event(markov: Array, gaps: Floats, unit: float) -> NextEvent:
    """What counting expects.

    Args:
        markov: Log-probabilities (B, K) of types; UNKNOWN for types not seen yet.
        gaps: As of `expected`, (B, 3), in seconds.
        unit: Seconds of the model's unit.
    """
    tie, mean, deviation = gaps.T
    tie = np.clip(tie, 1e-9, 1.0 - 1e-9)
    spread = np.clip(np.log(deviation), -NARROWEST, WIDEST)
    shortest = np.full_like(tie, math.log(SHORTEST))  # what a gap of 0 is taken for
    zeros = np.stack([np.log(tie), shortest, np.full_like(tie, -WIDEST)], axis=1)
    others = np.stack([np.log1p(-tie), mean - math.log(unit), spread], axis=1)
    parts = np.stack([zeros, others], axis=2).astype(np.float32)  # (B, 3, 2)
    types = np.where(markov > UNKNOWN, markov, -np.inf).astype(np.float32)
    return NextEvent(torch.from_numpy(types), torch.from_numpy(parts)[:, None])
