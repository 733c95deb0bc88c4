"""Codebooks learned from unlabelled inputs by exponential moving averages; dead keys are replaced.

Source: Träuble et al., "Discrete Key-Value Bottleneck" (arXiv:2207.11240), section 3 and the official code (vector
quantisation with exponential moving averages). Ours differs in the start: keys are random samples, counts start at 1
and sums at the keys, so that the first steps neither move unused keys far away nor shrink the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]

_DECAY = 0.95
_EPSILON = 1e-5


class KeyLearning:
    """Keys while they are learned; unused once they are frozen.

    Args:
        keys: (C, M, d) float64, taken over.
        counts: (C, M): moving averages of hits; None: 1 each, ours.
    """

    def __init__(self, keys: Floats, counts: Floats | None = None) -> None:
        self.keys = keys
        self.sums = keys.copy()
        self.counts = np.ones(keys.shape[:2]) if counts is None else counts

    def absorb(self, queries: Floats) -> Ids:
        """One step towards these queries (B, C, d); the ids (B, C) of the nearest keys as they were before it."""
        ids = self._assigned(queries)
        heads, pairs, width = self.keys.shape
        places = ids + np.arange(heads) * pairs  # of (head, key) in one line, (B, C)
        hits = np.bincount(places.ravel(), minlength=heads * pairs).reshape(heads, pairs)
        totals = np.empty_like(self.sums)
        for column in range(width):
            weighted = np.bincount(places.ravel(), queries[:, :, column].ravel(), minlength=heads * pairs)
            totals[:, :, column] = weighted.reshape(heads, pairs)
        self.counts = _DECAY * self.counts + (1 - _DECAY) * hits
        self.sums = _DECAY * self.sums + (1 - _DECAY) * totals
        whole = self.counts.sum(axis=1, keepdims=True)
        smoothed = (self.counts + _EPSILON) / (whole + pairs * _EPSILON) * whole
        self.keys = self.sums / smoothed[:, :, None]
        return ids

    def dead(self, threshold: float) -> Mask:
        """Keys with a count below this, (C, M)."""
        return self.counts < threshold

    def replace(self, dead: Mask, queries: Floats, generator: np.random.Generator) -> None:
        """Move dead keys (C, M) to random queries (B, C, d); counts and sums stay."""
        for head in np.flatnonzero(dead.any(axis=1)):
            places = np.flatnonzero(dead[head])
            chosen = np.concatenate(
                [generator.permutation(len(queries)) for _ in range(-(-len(places) // len(queries)))]
            )[: len(places)]  # distinct ones as long as there are any
            self.keys[head, places] = queries[chosen, head]

    def _assigned(self, queries: Floats) -> Ids:
        """In float32, which halves the time of a step; a wrong choice in a near-tie moves neither key by much."""
        keys = self.keys.astype(np.float32)
        nearness = np.matmul(queries.astype(np.float32).transpose(1, 0, 2), keys.transpose(0, 2, 1))  # (C, B, M)
        nearness -= 0.5 * np.square(keys).sum(axis=2)[:, None, :]
        ids: Ids = nearness.argmax(axis=2).T
        return ids


def learn_keys(
    queries: Floats, pairs: int, *, steps: int, batch: int, dead_factor: float, generator: np.random.Generator
) -> Floats:
    """Keys (C, M, d) float64 of projected samples.

    Args:
        queries: (N, C, d), at least one.
        pairs: Keys per head, M.
        steps: Steps of `batch` samples each, in random order, epoch after epoch.
        batch: Samples per step; fewer if there are fewer.
        dead_factor: Keys with less than this share of a uniform assignment are replaced after each step.
        generator: Random numbers; advanced.
    """
    count, heads, _ = queries.shape
    start = np.stack([queries[generator.integers(count, size=pairs), head] for head in range(heads)])
    if count >= pairs:
        start = np.stack([queries[generator.permutation(count)[:pairs], head] for head in range(heads)])
    learning = KeyLearning(start)
    batch = min(batch, count)
    order = generator.permutation(count)
    at = 0
    for step in range(steps):
        if at + batch > count:
            order, at = generator.permutation(count), 0
        some = queries[order[at : at + batch]]
        at += batch
        learning.absorb(some)
        if step < steps - 1:  # the last step's keys are means; a raw sample is not
            learning.replace(learning.dead(dead_factor * batch / pairs), some, generator)
    return learning.keys
