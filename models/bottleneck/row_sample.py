"""A sample of the rows that were learned, which depends only on what was learned, not on its order.

A row is in the sample if the hash of its keys is below a threshold, which is halved whenever there are too many. So the
sample of two learners together is that of one that learned both, and a row that is unlearned leaves it. The threshold
does not rise again for that: the sample is then a smaller one of what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.key_tables import Ids
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]

CAPACITY = 128
"""Rows at most; an estimate of one number needs no more."""
_FEW = CAPACITY // 4  # with fading rows: below this the threshold is doubled again
_STALE = 0.05  # a row whose events have faded to this share of their weight is dropped


class RowSample:
    """Distinct rows, by the ids of their keys: the weight of each class, and how many events.

    Args:
        keys: Ids per row, C·k.
    """

    def __init__(self, keys: int) -> None:
        self._level = 0
        self._hashes: Hashes = np.zeros(0, np.uint64)  # (n,), ascending
        self.ids = np.zeros((0, keys), np.int32)  # (n, C·k)
        self.weights = np.zeros((0, 0))  # (n, K) sums of weights, faded
        self._full = np.zeros(0)  # (n,) sums of weights, never faded
        self._events = np.zeros(0, np.int64)  # (n,)
        self._mixing = np.random.Generator(np.random.PCG64(0x726F7773)).integers(
            0, 1 << 63, size=keys, dtype=np.uint64
        ) * np.uint64(2) + np.uint64(1)

    def __len__(self) -> int:
        return len(self._hashes)

    def grow(self, classes: int) -> None:
        """Room for this many classes."""
        self.weights = np.pad(self.weights, ((0, 0), (0, max(0, classes - self.weights.shape[1]))))

    def mean_weights(self) -> Floats:
        """The mean weight of an event of each row, (n,), faded."""
        means: Floats = self.weights.sum(axis=1) / np.maximum(self._events, 1)
        return means

    def add(self, ids: Ids, codes: NDArray[np.int32], weights: Floats, sign: int = 1) -> None:
        """Events with keys (n, C·k) and known classes (n,); sign -1: take them away."""
        hashes = self._hashed(ids)
        for event in np.flatnonzero(hashes < self._limit):
            if hashes[event] >= self._limit:
                continue  # the threshold fell within the loop
            at = self._place(hashes[event], ids[event], insert=sign > 0)
            if at is None:
                continue
            self.weights[at, codes[event]] += sign * weights[event]
            self._full[at] += sign * weights[event]
            self._events[at] += sign
            if len(self) > CAPACITY:
                self._shrink()
        if sign < 0:
            self._keep(self._events > 0)

    def fade(self, factor: float) -> None:
        """Multiply all weights; rows that have faded away leave, and others may come again in their place."""
        self.weights *= factor
        stale = self.weights.sum(axis=1) < _STALE * self._full
        if stale.any():
            self._keep(~stale)
        if len(self) < _FEW and self._level:
            self._level -= 1

    def merge(self, other: RowSample, columns: NDArray[np.int64]) -> None:
        """Add the rows of another sample, whose class i is `columns[i]` here."""
        self._level = max(self._level, other._level)
        self._keep(self._hashes < self._limit)
        for row in np.flatnonzero(other._hashes < self._limit):
            if other._hashes[row] >= self._limit:
                continue
            at = self._place(other._hashes[row], other.ids[row], insert=True)
            assert at is not None
            self.weights[at, columns] += other.weights[row, : len(columns)]
            self._full[at] += other._full[row]
            self._events[at] += other._events[row]
            if len(self) > CAPACITY:
                self._shrink()

    def select_classes(self, kept: NDArray[np.bool_]) -> None:
        """Only these classes (K,) are left; the others have no events."""
        self.weights = self.weights[:, kept]

    @property
    def _limit(self) -> np.uint64:
        return np.uint64((1 << (64 - self._level)) - 1)

    def _hashed(self, ids: Ids) -> Hashes:
        mixed = (ids.astype(np.uint64) + np.uint64(1)) * self._mixing
        total = np.bitwise_xor.reduce(mixed ^ (mixed >> np.uint64(29)), axis=1)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the finish of SplitMix64
            total = (total ^ (total >> np.uint64(shift))) * np.uint64(factor)
        hashes: Hashes = total ^ (total >> np.uint64(31))
        return hashes

    def _place(self, hashed: np.uint64, ids: Array, *, insert: bool) -> int | None:
        """The index of a row, which is made if it is missing and wanted."""
        at = int(np.searchsorted(self._hashes, hashed))
        if at < len(self) and self._hashes[at] == hashed:
            return at
        if not insert:
            return None
        self._hashes = np.insert(self._hashes, at, hashed)
        self.ids = np.insert(self.ids, at, ids.astype(np.int32), axis=0)
        self.weights = np.insert(self.weights, at, 0.0, axis=0)
        self._full = np.insert(self._full, at, 0.0)
        self._events = np.insert(self._events, at, 0)
        return at

    def _shrink(self) -> None:
        while len(self) > CAPACITY and self._level < 63:
            self._level += 1
            self._keep(self._hashes < self._limit)

    def _keep(self, rows: NDArray[np.bool_]) -> None:
        if not rows.all():
            self._hashes, self.ids, self.weights = self._hashes[rows], self.ids[rows], self.weights[rows]
            self._full, self._events = self._full[rows], self._events[rows]

    def tensors(self) -> dict[str, Array]:
        """For a state."""
        return {
            "sample.hashes": self._hashes.view(np.int64),
            "sample.ids": self.ids,
            "sample.weights": self.weights,
            "sample.full": self._full,
            "sample.events": self._events,
        }

    def meta(self) -> dict[str, Any]:
        """For a state."""
        return {"sample_level": self._level}

    def restore(self, tensors: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
        """Restore from `tensors()` and `meta()`."""
        self._level = int(meta["sample_level"])
        self._hashes = np.array(tensors["sample.hashes"]).view(np.uint64)
        self.ids, self.weights = np.array(tensors["sample.ids"]), np.array(tensors["sample.weights"])
        self._full, self._events = np.array(tensors["sample.full"]), np.array(tensors["sample.events"])
