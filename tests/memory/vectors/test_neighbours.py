"""Exact nearest entries, by every backend alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.memory.vectors.neighbours import NOBODY, cell_of, learn_cells, nearest, nearest_in_cells
from thalweg.memory.vectors.ring import Limits, Ring
from thalweg.proto.schema import InputError

BACKENDS = ("numpy", "faiss", "torch")


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def ring_of(vectors: np.ndarray, capacity: int, quota: int = 0, keys: int = 7) -> Ring:
    columns = {"key": (np.int64, ()), "vector": (np.float32, (vectors.shape[1],))}
    ring = Ring(columns, capacity, Limits(per_key=quota))
    for start in range(0, len(vectors), 13):
        part = vectors[start : start + 13]
        ring.append({"key": (start + np.arange(len(part))) % keys, "vector": part})
    return ring


def brute(ring: Ring, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """By definition: all products in float64, the newest first among equals."""
    window = ring.window()
    seqs = np.arange(window.first, window.end)
    seqs = seqs[window.standing(seqs)][::-1]
    vectors = window.take("vector", seqs).astype(np.float64)
    products = (queries[:, None].astype(np.float64) * vectors).sum(axis=2)
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return seqs[order], np.take_along_axis(products, order, axis=1)


@given(st.integers(0, 10_000), st.integers(1, 300), st.integers(1, 120), st.integers(0, 3), st.sampled_from(BACKENDS))
def test_they_are_those_of_the_definition(seed: int, count: int, capacity: int, quota: int, backend: str) -> None:
    generator = np.random.default_rng(seed)
    vectors = unit(generator.standard_normal((count, 5)))[generator.integers(0, count, count)]  # with equals
    ring = ring_of(vectors, capacity, quota)
    queries = unit(generator.standard_normal((4, 5)))

    seqs, products = nearest(ring.window(), "vector", queries, 6, backend)

    wanted, there = brute(ring, queries, 6)
    np.testing.assert_array_equal(seqs[:, : wanted.shape[1]], wanted)
    np.testing.assert_array_equal(products[:, : wanted.shape[1]], there)
    assert (seqs[:, wanted.shape[1] :] == NOBODY).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_query_finds_the_same_whatever_others_ask(backend: str) -> None:
    generator = np.random.default_rng(1)
    window = ring_of(unit(generator.standard_normal((40_000, 16))), 30_000).window()
    queries = unit(generator.standard_normal((90, 16)))

    together = nearest(window, "vector", queries, 20, backend)

    for row in range(0, 90, 11):
        alone = nearest(window, "vector", queries[row : row + 1], 20, backend)
        np.testing.assert_array_equal(alone[0][0], together[0][row])
        np.testing.assert_array_equal(alone[1][0], together[1][row])


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_memory_has_nobody(backend: str) -> None:
    ring = ring_of(np.ones((0, 3), dtype=np.float32), 10)

    seqs, products = nearest(ring.window(), "vector", np.ones((2, 3), dtype=np.float32), 4, backend)

    assert (seqs == NOBODY).all()
    assert (products == -np.inf).all()


def test_entries_overwritten_under_a_reader_are_dropped_not_mixed() -> None:
    generator = np.random.default_rng(3)
    ring = ring_of(unit(generator.standard_normal((100, 4))), 50)
    window = ring.window()
    ring.append({"key": np.zeros(30, np.int64), "vector": unit(generator.standard_normal((30, 4)))})

    seqs, _ = nearest(window, "vector", unit(generator.standard_normal((1, 4))), 50)

    kept = seqs[seqs != NOBODY]
    assert 0 < len(kept) < 50
    assert window.standing(kept).all()


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.ones((1, 4), np.float32), 1, r"queries: expected \(B, 3\), the width of the keys, got \(1, 4\)"),
        (np.full((1, 3), np.nan, np.float32), 1, "queries: expected finite numbers"),
        (np.ones((1, 3), np.float32), 0, "k: expected 1 or more, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(queries: np.ndarray, k: int, message: str) -> None:
    ring = ring_of(np.ones((5, 3), np.float32), 10)

    with pytest.raises(InputError, match=message):
        nearest(ring.window(), "vector", queries, k)


def test_cells_name_most_of_the_neighbours_and_all_of_them_when_all_are_looked_through() -> None:
    generator = np.random.default_rng(5)
    middles = unit(generator.standard_normal((40, 12)))
    vectors = unit(middles[generator.integers(0, 40, 4000)] + 0.1 * generator.standard_normal((4000, 12)))
    centroids = learn_cells(vectors[:500], 30, seed=0)
    ring = Ring({"vector": (np.float32, (12,)), "cell": (np.uint16, ())}, 3000)
    for start in range(0, 4000, 100):
        part = vectors[start : start + 100]
        ring.append({"vector": part, "cell": cell_of(centroids, part)})
    window, queries = ring.window(), unit(middles + 0.1 * generator.standard_normal((40, 12)))

    every, products = nearest_in_cells(window, "vector", "cell", centroids, queries, 10, probes=30)
    some, _ = nearest_in_cells(window, "vector", "cell", centroids, queries, 10, probes=4)

    wanted = nearest(window, "vector", queries, 10)
    np.testing.assert_array_equal(every, wanted[0])
    np.testing.assert_array_equal(products, wanted[1])
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(some.tolist(), every.tolist())]) > 0.9


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["s21", "s22"])
def test_golden_cosine_neighbours(shared: Path, name: str, backend: str) -> None:
    golden = np.load(shared / "golden" / f"reloop2_knn_{name}.npz", allow_pickle=False)
    ring = ring_of(unit(golden["keys"]), 1000)

    seqs, products = nearest(ring.window(), "vector", unit(golden["queries"]), 10, backend)

    np.testing.assert_array_equal(seqs, golden["cos_ids"])
    np.testing.assert_allclose(products, golden["cos_sims"], atol=1e-6)
