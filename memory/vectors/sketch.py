"""A memory of constant size for a stream of any length: counts and sums in buckets of random hyperplanes.

Source: ReLoop2, Zhu et al., KDD 2023 (arXiv:2306.08808), after RACE. K arrays of 2^L buckets; a vector falls into one
bucket of each array by the signs of its products with L hyperplanes; a bucket holds (count, Σ label, Σ base score).
Two ways to forget, both O(1) per event: generations (two sketches, the older one cleared when the newer one is full),
and a half-life in event time, by which later writes have a larger weight.
Cost per write and per read: K·L·d multiply-adds and K cells, whatever was written before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

Floats: TypeAlias = NDArray[np.float64]

_MOST_DOUBLINGS = 500  # then all sums are scaled down: 2^1000 is near the largest float64


def draw_hyperplanes(arrays: int, bits: int, width: int, seed: int) -> Floats:
    """(K, L, d) standard normal, the same for the same seed on every machine."""
    generator = np.random.Generator(np.random.PCG64([seed, 0x736B6574]))
    return generator.standard_normal((arrays, bits, width))


def buckets(hyperplanes: Floats, vectors: Array) -> NDArray[np.int64]:
    """Bucket of each vector (N, d) in each array, (N, K); bit l is set when its product is above 0 with value 2^l."""
    products = (vectors.astype(np.float64)[:, None, None] * hyperplanes).sum(axis=3)  # independent of the other rows
    found: NDArray[np.int64] = (products > 0) @ (1 << np.arange(hyperplanes.shape[1], dtype=np.int64))
    return found


@dataclass(frozen=True, slots=True)
class SketchRead:
    """K pseudo-neighbours of each of N queries; an array with an empty bucket has a similarity of -inf."""

    similarities: Floats
    """(N, K): share of all writes that fell into the query's bucket."""
    labels: Floats
    """(N, K) mean label there; 0 where empty."""
    bases: Floats
    """(N, K) mean base score there; 0 where empty."""


class Sketch:
    """One writer; readers use `frozen()`.

    Args:
        hyperplanes: (K, L, d).
        generation_events: Writes after which the older half is cleared and refilled; 0: never.
        half_life_seconds: Age in event time at which the weight is halved; 0: equal weights.
    """

    def __init__(self, hyperplanes: Floats, *, generation_events: int = 0, half_life_seconds: float = 0.0) -> None:
        self._planes = hyperplanes
        self._generation_events = generation_events
        self._half_life = half_life_seconds
        arrays, bits, _ = hyperplanes.shape
        if not 1 <= bits <= 24:
            raise ValueError(f"bits: expected 1 to 24 per hash, got {bits}")
        # two generations; counts are whole numbers until a half-life makes them weights
        count_type = np.float64 if half_life_seconds else np.uint32
        self._counts = np.zeros((2, arrays, 1 << bits), dtype=count_type)
        self._sums = np.zeros((2, arrays, 1 << bits, 2))
        self._written = np.zeros(2)  # weight written into each generation
        self._current = 0
        self._events = 0  # in the current generation
        self._origin = np.nan  # the time at which a write has weight 1

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays; constant."""
        return self._counts.nbytes + self._sums.nbytes

    @property
    def written(self) -> float:
        """Total weight: events, unless a half-life reduces older ones."""
        return float(self._written.sum())

    def write(self, vectors: Array, labels: Array, bases: Array, times: Array) -> None:
        """Add entries (N, d), (N,), (N,), (N,), in order."""
        places = buckets(self._planes, vectors)
        start = 0
        while start < len(places):
            stop = len(places)
            if self._generation_events:
                if self._events == self._generation_events:
                    self._turn()
                stop = min(stop, start + self._generation_events - self._events)
            self._add(places[start:stop], labels[start:stop], bases[start:stop], times[start:stop])
            self._events += stop - start
            start = stop

    def _add(self, places: NDArray[np.int64], labels: Array, bases: Array, times: Array) -> None:
        weights = self._weights(times)
        which = np.broadcast_to(np.arange(places.shape[1]), places.shape)
        now = self._current
        if self._half_life:
            np.add.at(self._counts[now], (which, places), weights[:, None])
        else:
            np.add.at(self._counts[now], (which, places), np.uint32(1))
        pairs = np.stack([labels, bases], axis=1).astype(np.float64) * weights[:, None]
        np.add.at(self._sums[now], (which, places), pairs[:, None])
        self._written[now] += weights.sum()

    def _weights(self, times: Array) -> Floats:
        if not self._half_life or not len(times):
            return np.ones(len(times))
        if np.isnan(self._origin):
            self._origin = float(times[0])
        if (late := float(times.max()) - self._origin) > _MOST_DOUBLINGS * self._half_life:
            factor = 2.0 ** -(late / self._half_life)
            self._counts *= factor
            self._sums *= factor
            self._written *= factor
            self._origin += late
        weights: Floats = np.exp2((times - self._origin) / self._half_life)
        return weights

    def _turn(self) -> None:
        self._current = 1 - self._current
        self._counts[self._current] = 0
        self._sums[self._current] = 0
        self._written[self._current] = 0
        self._events = 0

    def clear(self) -> None:
        """Clear everything."""
        self._counts[:] = 0
        self._sums[:] = 0
        self._written[:] = 0
        self._events = 0

    def frozen(self) -> FrozenSketch:
        """What a reader needs, both generations combined, copied."""
        return FrozenSketch(
            self._planes, self._counts.sum(axis=0, dtype=np.float64), self._sums.sum(axis=0), self.written
        )

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""
        return {
            "counts": self._counts,
            "sums": self._sums,
            "written": self._written,
            "place": np.array([self._current, self._events], dtype=np.int64),
            "origin": np.array([self._origin]),
        }

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the sketch whose `tensors()` these are."""
        self._counts, self._sums, self._written = (np.array(tensors[name]) for name in ("counts", "sums", "written"))
        self._current, self._events = map(int, tensors["place"])
        self._origin = float(tensors["origin"][0])


@dataclass(frozen=True, slots=True)
class FrozenSketch:
    """A sketch for readers; any number of threads may read."""

    hyperplanes: Floats
    counts: Floats
    """(K, 2^L)."""
    sums: Floats
    """(K, 2^L, 2): labels, base scores."""
    written: float

    def read(self, vectors: Array) -> SketchRead:
        """Pseudo-neighbours of vectors (N, d)."""
        places = buckets(self.hyperplanes, vectors)
        which = np.arange(places.shape[1])
        counts, sums = self.counts[which, places], self.sums[which, places]
        there = counts > 0
        means = sums / np.where(there, counts, 1.0)[:, :, None]
        shares = np.where(there, counts / max(self.written, np.finfo(float).tiny), -np.inf)
        return SketchRead(shares, np.where(there, means[:, :, 0], 0.0), np.where(there, means[:, :, 1], 0.0))

    def tensors(self) -> dict[str, Array]:
        """For a published version."""
        return {
            "hyperplanes": self.hyperplanes,
            "counts": self.counts,
            "sums": self.sums,
            "written": np.array([self.written]),
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> FrozenSketch:
        """The one whose `tensors()` these are; used in place."""
        return cls(tensors["hyperplanes"], tensors["counts"], tensors["sums"], float(tensors["written"][0]))
