"""Vectors on a device: the neighbours of the definition, and only what was written is sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.memory.vectors.test_key_tables import brute as nearest_keys
from tests.memory.vectors.test_key_tables import keys_and_queries
from tests.memory.vectors.test_neighbours import brute, ring_of, unit
from tests.models.devices.stand_ins import gpu
from thalweg.memory.devices.device import COPIES
from thalweg.memory.devices.failures import DeviceFailed
from thalweg.memory.vectors import resident
from thalweg.memory.vectors.key_tables import HeadSearch
from thalweg.memory.vectors.neighbours import NOBODY, nearest
from thalweg.memory.vectors.resident import ResidentVectors
from thalweg.memory.vectors.ring import Ring


def found_and_wanted(ring: Ring, there: ResidentVectors, queries: np.ndarray, k: int) -> None:
    seqs, products = nearest(ring.window(), "vector", queries, k, resident=there)

    wanted, exact = brute(ring, queries, k)
    np.testing.assert_array_equal(seqs[:, : wanted.shape[1]], wanted)
    np.testing.assert_array_equal(products[:, : wanted.shape[1]], exact)
    assert (seqs[:, wanted.shape[1] :] == NOBODY).all()


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 300),
    capacity=st.integers(1, 120),
    quota=st.integers(0, 3),
    block=st.integers(1, 9),
    held=st.integers(1, 400),
)
def test_neighbours_are_those_of_the_definition(
    seed: int, count: int, capacity: int, quota: int, block: int, held: int
) -> None:
    generator = np.random.default_rng(seed)
    vectors = unit(generator.standard_normal((count, 5)))[generator.integers(0, count, count)]  # with equals
    ring, queries = ring_of(vectors, capacity, quota), unit(generator.standard_normal((4, 5)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resident, "BLOCK", block)
        patch.setattr(resident, "_PRODUCTS", held)
        found_and_wanted(ring, ResidentVectors(gpu(), "vector"), queries, 6)


def test_what_was_written_since_is_sent_and_no_more() -> None:
    generator = np.random.default_rng(2)
    ring, there = ring_of(unit(generator.standard_normal((900, 8))), 700), ResidentVectors(gpu(), "vector")
    queries = unit(generator.standard_normal((3, 8)))
    found_and_wanted(ring, there, queries, 5)
    sent = COPIES.to_bytes

    found_and_wanted(ring, there, queries, 5)
    assert COPIES.to_bytes - sent == 2 * queries.nbytes, "the queries, for each of two runs of slots"

    for _ in range(9):  # round the ring, and over
        sent, more = COPIES.to_bytes, unit(generator.standard_normal((130, 8)))
        ring.append({"key": np.zeros(130, np.int64), "vector": more})
        found_and_wanted(ring, there, queries, 5)
        assert COPIES.to_bytes - sent <= more.nbytes + 2 * queries.nbytes
    assert there._vectors is not None
    live = np.arange(ring.window().first, ring.end) % len(there._vectors)
    np.testing.assert_array_equal(there._vectors.cpu().numpy()[live], ring.tensors()["vector"][live])


def test_a_ring_that_was_restored_or_cleared_is_followed() -> None:
    generator = np.random.default_rng(3)
    ring, there = ring_of(unit(generator.standard_normal((50, 4))), 40), ResidentVectors(gpu(), "vector")
    queries = unit(generator.standard_normal((2, 4)))
    kept = {name: np.array(array) for name, array in ring.tensors().items()}
    found_and_wanted(ring, there, queries, 3)
    ring.append({"key": np.zeros(30, np.int64), "vector": unit(generator.standard_normal((30, 4)))})
    found_and_wanted(ring, there, queries, 3)

    ring.restore(kept)
    found_and_wanted(ring, there, queries, 3)

    ring.clear()
    found_and_wanted(ring, there, queries, 3)


def test_an_older_window_still_finds_its_own() -> None:
    generator = np.random.default_rng(4)
    ring, there = ring_of(unit(generator.standard_normal((64, 4))), 64), ResidentVectors(gpu(), "vector")
    queries, older = unit(generator.standard_normal((2, 4))), ring.window()
    ring.append({"key": np.zeros(5, np.int64), "vector": unit(generator.standard_normal((5, 4)))})
    nearest(ring.window(), "vector", queries, 4, resident=there)  # the device is ahead of the older window

    got, wanted = nearest(older, "vector", queries, 4, resident=there), nearest(older, "vector", queries, 4, "numpy")

    np.testing.assert_array_equal(got[0], wanted[0])


def test_a_ring_that_has_no_room_there_says_so() -> None:
    ring = ring_of(unit(np.random.default_rng(5).standard_normal((50, 64))), 5000)

    with pytest.raises(DeviceFailed, match="device_bytes allows 0 MB"):
        nearest(
            ring.window(),
            "vector",
            np.ones((1, 64), np.float32),
            3,
            resident=ResidentVectors(gpu(1000), "vector"),
        )


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("equals", [0, 23])
def test_keys_that_are_found_there_are_the_nearest(k: int, equals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, queries = keys_and_queries(count=50)
    if equals:
        keys[:, 7 : 7 + equals] = keys[:, 6:7]
        k = min(k, 3)
    monkeypatch.setattr("thalweg.memory.vectors.resident_keys._PRODUCTS", 1000)
    search: Any = HeadSearch(keys, device=gpu())

    found = search.nearest(queries, k)

    np.testing.assert_array_equal(found, HeadSearch(keys, "numpy").nearest(queries, k))
    if not equals:
        np.testing.assert_array_equal(found, nearest_keys(keys, queries, k))


def test_keys_are_sent_once() -> None:
    keys, queries = keys_and_queries()
    search = HeadSearch(keys, device=gpu())
    before = COPIES.to, COPIES.back

    for _ in range(5):
        search.nearest(queries)

    assert (COPIES.to - before[0], COPIES.back - before[1]) == (5, 10)


def test_keys_that_float32_cannot_tell_apart_are_told_apart() -> None:
    keys, queries = keys_and_queries(count=64)
    keys[:, 1::2] = keys[:, ::2] * (1 + 1e-9)

    np.testing.assert_array_equal(HeadSearch(keys, device=gpu()).nearest(queries), nearest_keys(keys, queries, 1))
