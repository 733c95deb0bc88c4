"""Nearest entries of a memory by inner product, exact, for one query or many.

Every backend (FAISS, NumPy, torch, or vectors on a device) returns the same neighbours: candidates' products are
computed again in float64, and where float32 rounding could have hidden a neighbour, that query is searched again. Ties
go to the newest entry.

Cost: one pass over the vectors per block of queries. Many queries at once are a matrix product, compared with the
k-th best so far in blocks that stay in cache; no selection over whole rows, no copy of the memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.key_tables import faiss_top
from thalweg.memory.vectors.slots import Seqs
from thalweg.memory.vectors.window import Window
from thalweg.proto.schema import Array, InputError

if TYPE_CHECKING:  # it imports torch, which a search with the processor does not need
    from thalweg.memory.vectors.resident import ResidentVectors

Floats: TypeAlias = NDArray[np.float64]
NeighbourBackend: TypeAlias = Literal["auto", "faiss", "numpy", "torch"]
BACKENDS: tuple[str, ...] = get_args(NeighbourBackend)
NOBODY = -1
"""In place of a missing neighbour."""

_SPARE = 4
_ROUNDS = 10  # of k-means
_FEW_QUERIES = 2
_BLOCK_ROWS = 16384  # vectors of a block: 4 MB at 64 numbers each
_BLOCK_PRODUCTS = 1 << 20  # products held at once


def nearest(
    window: Window,
    column: str,
    queries: Array,
    k: int,
    backend: NeighbourBackend = "auto",
    longest: float = 1.0,
    resident: ResidentVectors | None = None,
) -> tuple[Seqs, Floats]:
    """The k entries with the largest inner products, best first.

    Args:
        window: The entries to search.
        column: Its column of vectors, (d,) float32 each.
        queries: (B, d) finite float32.
        k: 1 or more; may exceed the number of entries.
        backend: What finds the candidates; `auto`: the fastest.
        longest: Length of the longest vector: it bounds the float32 error.
        resident: The same vectors on a device, where `auto` then finds the candidates.

    Returns:
        Numbers (B, k) of entries and their products (B, k) float64; `NOBODY` and -inf where there are fewer.

    Raises:
        InputError: Queries have another width or are not finite, or k is below 1.
        ValueError: The backend is not available.
    """
    width = window.table.columns[column].shape[1]
    if queries.ndim != 2 or queries.shape[1] != width:
        raise InputError(f"queries: expected (B, {width}), the width of the keys, got {queries.shape}")
    if not np.isfinite(queries).all():
        raise InputError("queries: expected finite numbers, got NaN or infinity")
    if k < 1:
        raise InputError(f"k: expected 1 or more, got {k}")
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    asked = np.ascontiguousarray(queries, dtype=np.float32)
    found = np.full((len(asked), 0), NOBODY, dtype=np.int64)
    rough = np.full((len(asked), 0), -np.inf, dtype=np.float32)
    lengths = np.sqrt(np.square(asked, dtype=np.float64).sum(axis=1))
    bound = width * np.finfo(np.float32).eps * longest * lengths  # how far a float32 product may be off
    if resident is not None and backend == "auto":
        resident.follow(window)
    for first, part in window.segments():
        vectors = window.column(column, part)
        if resident is not None and backend == "auto":
            products, places = resident.top(part, window.alive(part), asked, k + _SPARE)
        else:
            products, places = _top(vectors, window.alive(part), asked, k + _SPARE, backend)
        found = np.concatenate([found, np.where(places >= 0, places + first, NOBODY)], axis=1)
        rough = np.concatenate([rough, products], axis=1)
    seqs, exact = _ranked(window, column, asked, found, k)
    if rough.shape[1]:
        seqs, exact = _settled(window, column, asked, k, seqs, exact, rough, bound)
    return seqs, exact


def _ranked(window: Window, column: str, queries: Array, found: Seqs, k: int) -> tuple[Seqs, Floats]:
    """The best k of candidates (B, n), by exact products; the newest first among equals."""
    found = -np.sort(-found, axis=1)
    vectors = window.take(column, np.maximum(found, 0)).astype(np.float64)
    exact = (queries[:, None].astype(np.float64) * vectors).sum(axis=2)
    exact[~(window.standing(found) & (found >= 0))] = -np.inf  # overwritten after the vectors were read
    order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    seqs, exact = np.take_along_axis(found, order, axis=1), np.take_along_axis(exact, order, axis=1)
    seqs = np.where(exact > -np.inf, seqs, NOBODY)
    short = k - seqs.shape[1]
    if short > 0:
        seqs = np.pad(seqs, ((0, 0), (0, short)), constant_values=NOBODY)
        exact = np.pad(exact, ((0, 0), (0, short)), constant_values=-np.inf)
    return seqs, exact


def _settled(
    window: Window, column: str, queries: Array, k: int, seqs: Seqs, exact: Floats, rough: Array, bound: Floats
) -> tuple[Seqs, Floats]:
    """Search again, through everything, where an unlisted entry may be as near as the k-th."""
    segments = window.segments()
    named = (k + _SPARE) * len(segments)
    if len(window) <= k + _SPARE or rough.shape[1] < named:
        return seqs, exact
    # the worst candidate of each segment: unlisted entries are no better, except for rounding
    worst = rough.reshape(len(queries), len(segments), k + _SPARE).min(axis=2).max(axis=1)
    for row in np.flatnonzero(worst + 2 * bound >= exact[:, k - 1]):
        near = []
        for first, part in segments:
            products = window.column(column, part) @ queries[row]
            near.append(first + np.flatnonzero(products >= exact[row, k - 1] - 2 * bound[row]))
        seqs[row : row + 1], exact[row : row + 1] = _ranked(
            window, column, queries[row : row + 1], np.concatenate(near)[None], k
        )
    return seqs, exact


def _top(
    vectors: Array, alive: NDArray[np.bool_] | None, queries: Array, count: int, backend: NeighbourBackend
) -> tuple[Array, Seqs]:
    """Largest products (B, count), unordered, and their indices; -inf and -1 where there are fewer vectors."""
    if backend == "auto":  # FAISS is limited by memory bandwidth; many queries are faster as a matrix product
        backend = "faiss" if len(queries) <= _FEW_QUERIES and alive is None else "numpy"
    if backend == "faiss":
        if alive is None:
            return faiss_top(vectors, queries, count)
        kept = np.append(np.flatnonzero(alive), -1)  # the last index stands for missing ones
        best, places = faiss_top(vectors[kept[:-1]], queries, count)
        return best, kept[places]
    multiply = _torch_products if backend == "torch" else _numpy_products
    rows, n = len(queries), len(vectors)
    best = np.full((rows, count), -np.inf, dtype=np.float32)
    places = np.full((rows, count), -1, dtype=np.int64)
    group = max(1, _BLOCK_PRODUCTS // _BLOCK_ROWS)
    for start in range(0, n, _BLOCK_ROWS):
        block = vectors[start : start + _BLOCK_ROWS]
        for low in range(0, rows, group):
            some = slice(low, low + group)
            products = multiply(block, queries[some])
            if alive is not None:
                products[:, ~alive[start : start + _BLOCK_ROWS]] = -np.inf
            _keep(best[some], places[some], products, start)
    return best, places


def _keep(best: Array, places: Seqs, products: Array, start: int) -> None:
    """Insert into best (B, count) the products (B, n) of entries from `start` on that exceed its worst."""
    count = best.shape[1]
    better = products > best.min(axis=1)[:, None]
    for row in np.flatnonzero(better.any(axis=1)):
        at = np.flatnonzero(better[row])
        values = np.concatenate([best[row], products[row, at]])
        which = np.concatenate([places[row], at + start])
        chosen = np.argpartition(-values, count - 1)[:count] if len(values) > count else slice(None)
        best[row], places[row] = values[chosen], which[chosen]


def _numpy_products(vectors: Array, queries: Array) -> Array:
    products: Array = queries @ vectors.T
    return products


def _torch_products(vectors: Array, queries: Array) -> Array:
    import torch

    return np.asarray((torch.from_numpy(queries) @ torch.from_numpy(vectors).T).numpy())


def nearest_in_cells(
    window: Window, column: str, cells: str, centroids: Array, queries: Array, k: int, probes: int
) -> tuple[Seqs, Floats]:
    """Like `nearest`, but only among entries in the cells nearest to the query: approximate, several times faster.

    The cell of an entry is a narrow column of the ring, so cells need no lists and expire with the ring's entries.

    Args:
        window: The entries to search.
        column: Its column of vectors.
        cells: Its column of cell numbers, from `cell_of`.
        centroids: (C, d) float32, of the cells.
        queries: (B, d) finite float32.
        k: 1 or more.
        probes: Cells searched per query.
    """
    closeness = (queries[:, None].astype(np.float64) * centroids).sum(axis=2)
    chosen = np.argsort(-closeness, axis=1, kind="stable")[:, :probes]
    seqs = np.full((len(queries), k), NOBODY, dtype=np.int64)
    products = np.full((len(queries), k), -np.inf)
    for row, query in enumerate(queries):
        wanted = np.zeros(len(centroids), dtype=np.bool_)
        wanted[chosen[row]] = True
        near = [first + np.flatnonzero(wanted[window.column(cells, part)]) for first, part in window.segments()]
        inside = np.concatenate(near) if near else np.zeros(0, dtype=np.int64)
        if len(inside) > k + _SPARE:
            rough = window.take(column, inside) @ query
            inside = inside[np.argpartition(-rough, k + _SPARE - 1)[: k + _SPARE]]
        seqs[row : row + 1], products[row : row + 1] = _ranked(window, column, query[None], inside[None], k)
    return seqs, products


def cell_of(centroids: Array, vectors: Array) -> NDArray[np.uint16]:
    """Cell number (N,) of each vector (N, d): the centroid with the largest inner product."""
    found = np.empty(len(vectors), dtype=np.uint16)
    step = max(1, _BLOCK_PRODUCTS // centroids.size)
    for start in range(0, len(vectors), step):
        products = (vectors[start : start + step, None].astype(np.float64) * centroids).sum(axis=2)
        found[start : start + step] = products.argmax(axis=1)
    return found


def learn_cells(vectors: Array, count: int, seed: int) -> NDArray[np.float32]:
    """Centroids (count, d) of that many cells, of length 1, by spherical k-means of vectors (N, d) of length 1."""
    generator = np.random.Generator(np.random.PCG64([seed, 0x63656C6C]))
    middles = vectors[generator.permutation(len(vectors))[:count]].astype(np.float64)
    for _ in range(_ROUNDS):
        cell = (vectors.astype(np.float64) @ middles.T).argmax(axis=1)
        sums = np.zeros_like(middles)
        np.add.at(sums, cell, vectors)
        length = np.sqrt((sums * sums).sum(axis=1))
        middles[length > 0] = sums[length > 0] / length[length > 0, None]
    return middles.astype(np.float32)
