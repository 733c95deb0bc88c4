"""Exact nearest neighbours; the only file that imports FAISS.

`HeadSearch` finds, in each of C small tables of frozen keys, the nearest of M. All backends give the same ids,
unless more than three keys are equal but for rounding: FAISS (or a matrix product) returns a few candidates, and their
distances are computed again by direct differences in float64, ties going to the lowest id. So a result does not depend
on the number of queries in a call, which FAISS alone does not guarantee (it changes its formula at some twenty
queries). For the one nearest key, a float32 product of all heads at once decides wherever the second best is farther
behind than rounding can explain, and direct differences decide among all that are not. On a device that product, or
the candidates, are computed there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import InputError

if TYPE_CHECKING:  # these import torch, which a search with the processor does not need
    from thalweg.memory.devices.device import Device
    from thalweg.memory.vectors.resident_keys import ResidentKeys

Floats: TypeAlias = NDArray[np.float64]
Ids: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Backend: TypeAlias = Literal["auto", "faiss", "numpy"]
BACKENDS = ("auto", "faiss", "numpy")

_SPARE = 3  # candidates beyond the k wanted: float32 rounding may misplace near-ties by a few ranks
_FEW_DISTANCES = 1 << 22  # up to this C·B·M a matrix product is faster than C calls of FAISS
_BLOCK_NUMBERS = 1 << 21  # distances held at once: limits memory to 16 MB for any number of queries


class HeadSearch:
    """The k nearest of M frozen keys in each of C heads, by squared Euclidean distance.

    Immutable; any number of threads may search at once.

    Args:
        keys: (C, M, d) finite; not copied. Of equal keys the first is found.
        backend: `faiss`, `numpy`, or `auto`: the fastest for k and the number of queries.
        device: Where `auto` searches; None: with the processor.

    Raises:
        DeviceFailed: There is no room for the keys on the device.
    """

    def __init__(self, keys: Floats, backend: Backend = "auto", device: Device | None = None) -> None:
        if keys.ndim != 3 or 0 in keys.shape:
            raise ValueError(f"keys: expected (C, M, d) with at least one key a head, got {keys.shape}")
        if not np.isfinite(keys).all():
            raise ValueError("keys: expected finite numbers, got NaN or infinity")
        if backend not in BACKENDS:
            raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
        self._keys = keys
        self._backend = backend
        self._unique = [np.unique(head, axis=0, return_index=True)[1] for head in keys]  # without equal keys
        for places in self._unique:
            places.sort()
        self._half_norms = [0.5 * np.square(head[places]).sum(axis=1) for head, places in zip(keys, self._unique)]
        self._there: ResidentKeys | None = None
        if device is not None and not device.is_processor and backend == "auto":
            from thalweg.memory.vectors.resident_keys import ResidentKeys

            self._there = ResidentKeys(device, keys, half_norms_of(keys, self._unique))
        self._quick = _QuickSearch(keys, self._unique, self._there)
        self._indexes: list[Any] | None = None

    @property
    def keys(self) -> Floats:
        """(C, M, d)."""
        return self._keys

    def nearest(self, queries: Floats, k: int = 1) -> Ids:
        """Ids of the nearest keys, best first.

        Args:
            queries: (B, C, d); a row that is not finite gets arbitrary ids.
            k: 1 … M, at most the number of distinct keys in a head.

        Returns:
            (B, C, k) int64.

        Raises:
            InputError: Queries have another shape, or there are fewer than k keys.
        """
        heads, _, width = self._keys.shape
        if queries.ndim != 3 or queries.shape[1:] != (heads, width):
            raise InputError(f"queries: expected (B, {heads}, {width}), got {queries.shape}")
        fewest = min(map(len, self._unique))
        if not 1 <= k <= fewest:
            raise InputError(f"k: expected 1 to {fewest}, the fewest distinct keys in a head, got {k}")
        ids = np.empty((len(queries), heads, k), dtype=np.int64)
        if len(queries) == 0:
            return ids
        if k == 1 and self._backend == "auto":
            return self._nearest_one(queries)
        if self._there is not None:
            near, _ = self._there.candidates(queries, min(k + _SPARE, fewest))
            for head in range(heads):
                ids[:, head] = _ranked(self._keys[head], queries[:, head], near[:, head], k)
            return ids
        faiss = self._with_faiss(len(queries))
        for head in range(heads):
            asked = np.ascontiguousarray(queries[:, head])
            candidates = self._candidates_faiss(head, asked, k) if faiss else self._candidates(head, asked, k)
            ids[:, head] = _ranked(self._keys[head], asked, candidates, k)
        return ids

    def nearest_usable(self, queries: Floats, ids: Ids, usable: Mask) -> Ids:
        """The nearest usable keys, where the search found others.

        Args:
            queries: (B, C, d).
            ids: (B, C, k): the nearest of all keys, best first.
            usable: (C, M).

        Returns:
            (B, C, k) int64. A head with fewer than k usable keys returns those, then unusable ones; one without
            any keeps its ids.
        """
        found, k = ids.copy(), ids.shape[2]
        rows, heads = np.nonzero(~usable[np.arange(ids.shape[1])[:, None], ids].all(axis=2))
        for head in np.unique(heads):
            places = np.flatnonzero(usable[head])
            count = min(k, len(places))
            if not count:
                continue
            asked = rows[heads == head]
            keys = self._keys[head][places]
            found[asked, head, count:] = np.flatnonzero(~usable[head])[: k - count]
            step = max(1, _BLOCK_NUMBERS // keys.size)
            for start in range(0, len(asked), step):
                some = asked[start : start + step]
                distances = np.square(queries[some, head][:, None] - keys).sum(axis=2)
                best = (
                    np.argsort(distances, axis=1, kind="stable")[:, :count] if k > 1 else distances.argmin(1)[:, None]
                )
                found[some, head, :count] = places[best]
        return found

    def _nearest_one(self, queries: Floats) -> Ids:
        ids, unsure = self._quick.nearest(queries)
        for head in np.flatnonzero(unsure.any(axis=0)).tolist():  # a device leaves near-ties open
            rows = np.flatnonzero(unsure[:, head])
            asked = np.ascontiguousarray(queries[rows, head])
            ids[rows, head] = _ranked(self._keys[head], asked, self._candidates(head, asked, 1), 1)[:, 0]
        return ids[:, :, None]

    def _with_faiss(self, queries: int) -> bool:
        if self._backend != "auto":
            return self._backend == "faiss"
        return queries > 1 and queries * self._keys.shape[0] * self._keys.shape[1] > _FEW_DISTANCES

    def _candidates(self, head: int, queries: Floats, k: int) -> Ids:
        places = self._unique[head]
        count = min(k + _SPARE, len(places))
        keys = self._keys[head][places].T
        found = np.empty((len(queries), count), dtype=np.int64)
        step = max(1, _BLOCK_NUMBERS // len(places))
        for start in range(0, len(queries), step):
            nearness = queries[start : start + step] @ keys
            nearness -= self._half_norms[head]
            if count < len(places):
                found[start : start + step] = np.argpartition(-nearness, count - 1, axis=1)[:, :count]
            else:
                found[start : start + step] = np.arange(count)
        return places[found]

    def _candidates_faiss(self, head: int, queries: Floats, k: int) -> Ids:
        if self._indexes is None:
            self._indexes = [_flat_index(keys[places]) for keys, places in zip(self._keys, self._unique)]
        places = self._unique[head]
        _, found = self._indexes[head].search(queries.astype(np.float32), min(k + _SPARE, len(places)))
        ids: Ids = places[np.maximum(found, 0)]  # -1: the query is not finite, and any key will do
        return ids


def half_norms_of(keys: Floats, unique: list[Ids]) -> NDArray[np.float32]:
    """Half the squared length (C, M) of keys (C, M, d); infinite for a key that equals an earlier one."""
    found = np.full(keys.shape[:2], np.inf, dtype=np.float32)
    with np.errstate(over="ignore"):
        for head, places in enumerate(unique):
            found[head, places] = 0.5 * np.square(keys[head, places]).sum(axis=1)
    return found


class _QuickSearch:
    """The nearest key of each head by float32 matrix products; where rounding could have misplaced it, by differences.

    Samples that came several times give many keys that are equal but for their last bits, in every head: all near-ties
    of a block are decided together.
    """

    def __init__(self, keys: Floats, unique: list[Ids], there: ResidentKeys | None = None) -> None:
        width = keys.shape[2]
        with np.errstate(over="ignore"):
            self._keys = np.ascontiguousarray(keys.transpose(0, 2, 1), dtype=np.float32)  # (C, d, M)
        self._exact, self._half_norms, self._there = keys, half_norms_of(keys, unique), there
        squares = np.square(keys).sum(axis=2).max(axis=1)
        # bounds of the error of a product, of half a norm, and of their difference, each with room to spare
        self._relative = 2.0**-24 * (width + 8) * np.sqrt(squares)
        self._absolute = 2.0**-24 * 4 * squares

    def nearest(self, queries: Floats) -> tuple[Ids, Mask]:
        """Ids (B, C), and where that is left open, of queries (B, C, d)."""
        count, heads, _ = queries.shape
        if self._there is not None and self._half_norms.shape[1] > 1:
            found, near = self._there.candidates(queries, 2)
            with np.errstate(invalid="ignore", over="ignore"):
                gap = near[:, :, 0].astype(np.float64) - near[:, :, 1]
                norms = np.sqrt(np.square(queries).sum(axis=2))
                sure = gap > 2 * (norms * self._relative + self._absolute)
            return found[:, :, 0], ~sure
        pairs = self._half_norms.shape[1]
        ids = np.empty((count, heads), dtype=np.int64)
        rows = max(1, min(count, _BLOCK_NUMBERS // pairs))
        step = max(1, _BLOCK_NUMBERS // (pairs * rows))
        for first in range(0, heads, step):
            for start in range(0, count, rows):
                part = slice(start, start + rows), slice(first, first + step)
                ids[part] = self._block(queries[part], part[1])
        return ids, np.zeros((count, heads), dtype=np.bool_)

    def _block(self, queries: Floats, heads: slice) -> Ids:
        with np.errstate(invalid="ignore", over="ignore"):
            nearness = np.matmul(queries.astype(np.float32).transpose(1, 0, 2), self._keys[heads])  # (C, B, M)
            nearness -= self._half_norms[heads, None]
            best = nearness.argmax(axis=2)
            first = np.take_along_axis(nearness, best[:, :, None], axis=2)
            np.put_along_axis(nearness, best[:, :, None], -np.inf, axis=2)
            norms = np.sqrt(np.square(queries).sum(axis=2)).T
            least = first[:, :, 0] - 2 * (norms * self._relative[heads, None] + self._absolute[heads, None])
            unsure = ~(least > nearness.max(axis=2))
        np.put_along_axis(nearness, best[:, :, None], first, axis=2)
        open_heads, rows = np.nonzero(unsure)
        step = max(1, _BLOCK_NUMBERS // (nearness.shape[2] * queries.shape[2]))
        for start in range(0, len(rows), step):
            some, these = open_heads[start : start + step], rows[start : start + step]
            close = ~(nearness[some, these] < least[some, these, None])
            asked = queries[these, some]
            best[some, these] = _closest(self._exact[heads], asked, some, close, best[some, these])
        ids: Ids = best.T
        return ids


def _closest(keys: Floats, queries: Floats, heads: Ids, close: Mask, otherwise: Ids) -> Ids:
    """The nearest (P,) of the keys (C, M, d) that are close (P, M) to each query (P, d) of a head (P,), ties by id; as
    it was `otherwise` of one that is not finite.
    """
    pairs, places = np.nonzero(close)
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.square(queries[pairs] - keys[heads[pairs], places]).sum(axis=1)
    least = np.minimum.reduceat(distances, np.searchsorted(pairs, np.arange(len(queries))))
    won = np.flatnonzero(distances == least[pairs])
    decided, first = np.unique(pairs[won], return_index=True)
    found = otherwise.copy()
    found[decided] = places[won[first]]
    return found


def _ranked(keys: Floats, queries: Floats, candidates: Ids, k: int) -> Ids:
    """The k nearest of each row's candidates (B, n), best first, ties by id."""
    candidates = np.sort(candidates, axis=1)
    distances = np.square(queries[:, None] - keys[candidates]).sum(axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    ranked: Ids = np.take_along_axis(candidates, order, axis=1)
    return ranked


def _flat_index(keys: Floats) -> Any:
    import faiss

    index = faiss.IndexFlatL2(keys.shape[1])
    index.add(np.ascontiguousarray(keys, dtype=np.float32))
    return index


def faiss_top(vectors: NDArray[np.float32], queries: NDArray[np.float32], count: int) -> tuple[Any, Ids]:
    """The largest inner products (B, count), best first, and their indices; -inf and -1 where there are fewer vectors.

    Args:
        vectors: (n, d); searched in place, no index is built.
        queries: (B, d).
        count: How many.
    """
    import faiss

    products: Any
    places: Any
    if not len(vectors):
        products, places = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    else:
        products, places = faiss.knn(queries, vectors, min(count, len(vectors)), faiss.METRIC_INNER_PRODUCT)
    missing = count - products.shape[1]
    products = np.pad(products, ((0, 0), (0, missing)), constant_values=-np.inf)
    return products, np.pad(places, ((0, 0), (0, missing)), constant_values=-1)
