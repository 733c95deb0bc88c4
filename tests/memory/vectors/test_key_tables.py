"""The nearest keys are the nearest, whichever way they are found and whoever asks beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.memory.vectors.key_tables import HeadSearch
from thalweg.proto.schema import InputError

Floats = NDArray[np.float64]


def keys_and_queries(heads: int = 3, pairs: int = 40, width: int = 5, count: int = 50) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(1)
    return generator.standard_normal((heads, pairs, width)), generator.standard_normal((count, heads, width))


def brute(keys: Floats, queries: Floats, k: int) -> NDArray[np.int64]:
    distances = np.square(queries[:, :, None] - keys).sum(axis=3)
    return np.argsort(distances, axis=2, kind="stable")[:, :, :k]


@pytest.mark.parametrize("backend", ["auto", "faiss", "numpy"])
@pytest.mark.parametrize("k", [1, 3, 40])
def test_every_backend_finds_the_nearest(backend: Any, k: int) -> None:
    keys, queries = keys_and_queries()

    np.testing.assert_array_equal(HeadSearch(keys, backend).nearest(queries, k), brute(keys, queries, k))


@pytest.mark.parametrize("backend", ["auto", "faiss", "numpy"])
def test_ids_do_not_depend_on_who_asks_beside(backend: Any) -> None:
    keys, queries = keys_and_queries(count=64)
    keys[:, 1::2] = keys[:, ::2] * (1 + 1e-9)  # pairs of keys that float32 cannot tell apart
    search = HeadSearch(keys, backend)

    together = search.nearest(queries)

    for row in range(len(queries)):
        np.testing.assert_array_equal(search.nearest(queries[row : row + 1])[0], together[row])
    np.testing.assert_array_equal(together, brute(keys, queries, 1))


@pytest.mark.parametrize("backend", ["auto", "faiss", "numpy"])
def test_of_equal_keys_the_first_is_found_however_many_there_are(backend: Any) -> None:
    keys, queries = keys_and_queries()
    keys[:, 7:30] = keys[:, 6:7]

    found = HeadSearch(keys, backend).nearest(keys[None, :, 20])

    assert (found == 6).all()
    np.testing.assert_array_equal(HeadSearch(keys, backend).nearest(queries), brute(keys, queries, 1))


@given(offset=st.sampled_from([0.0, 1e3, 1e7, 1e20]), scale=st.sampled_from([1e-12, 1.0, 1e12]))
def test_however_far_from_the_origin_keys_are_the_nearest_are_found(offset: float, scale: float) -> None:
    keys, queries = (scale * numbers + offset for numbers in keys_and_queries(count=8))

    np.testing.assert_array_equal(HeadSearch(keys).nearest(queries), brute(keys, queries, 1))


def test_among_keys_that_differ_in_their_last_bits_the_nearest_is_found_without_a_search_of_each_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Means of one sample that came many times; a search of each of 64 heads by itself took ten milliseconds a row."""
    keys, queries = keys_and_queries(pairs=8)
    keys = np.repeat(keys, 60, axis=1) * (1 + 1e-16 * np.arange(480)[:, None])
    queries[:24] = keys[:, ::20].transpose(1, 0, 2)
    queries[-1] = np.nan
    searched = HeadSearch(keys)
    monkeypatch.delattr(HeadSearch, "_candidates")

    found = searched.nearest(queries)

    np.testing.assert_array_equal(found[:-1], brute(keys, queries[:-1], 1))


@given(seed=st.integers(0, 1000), share=st.floats(0.0, 1.0), k=st.integers(1, 4))
def test_only_usable_keys_are_found_while_there_are_enough(seed: int, share: float, k: int) -> None:
    keys, queries = keys_and_queries(count=8)
    usable = np.random.default_rng(seed).random(keys.shape[:2]) < share
    search = HeadSearch(keys)

    found = search.nearest_usable(queries, search.nearest(queries, k), usable)

    distances = np.square(queries[:, :, None] - keys).sum(axis=3)
    wanted = np.argsort(np.where(usable, distances, np.inf), axis=2, kind="stable")[:, :, :k]
    for head in range(len(keys)):
        count = min(k, int(usable[head].sum()))
        np.testing.assert_array_equal(found[:, head, :count], wanted[:, head, :count])
        assert not usable[head][found[:, head, count:]].any()
        assert all(len(set(row)) == k for row in found[:, head].tolist())


def test_bad_keys_and_queries_are_refused_with_what_came() -> None:
    keys, queries = keys_and_queries()

    with pytest.raises(ValueError, match=r"\(C, M, d\)"):
        HeadSearch(keys[0])
    with pytest.raises(ValueError, match="finite"):
        HeadSearch(np.full((1, 2, 3), np.nan))
    with pytest.raises(ValueError, match="gpu"):
        HeadSearch(keys, "gpu")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\(B, 3, 5\), got \(50, 3, 4\)"):
        HeadSearch(keys).nearest(queries[:, :, :4])
    with pytest.raises(InputError, match="1 to 40"):
        HeadSearch(keys).nearest(queries, 41)
    assert HeadSearch(keys).nearest(queries[:0]).shape == (0, 3, 1)
