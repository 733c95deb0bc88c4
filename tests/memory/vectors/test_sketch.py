"""The sketch memory: golden buckets and cells, ageing, constant size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg.memory.vectors.sketch import FrozenSketch, Sketch, buckets, draw_hyperplanes


@pytest.fixture(params=["s21", "s22"])
def golden(request: pytest.FixtureRequest, shared: Any) -> Any:
    return np.load(shared / "golden" / f"reloop2_sketch_{request.param}.npz", allow_pickle=False)


def cells(sketch: Sketch) -> np.ndarray:
    frozen = sketch.frozen()
    return np.concatenate([frozen.counts[:, :, None], frozen.sums], axis=2)


def test_golden_writes_and_reads(golden: Any) -> None:
    sketch = Sketch(golden["hyperplanes"].astype(np.float64))
    entries, labels, bases = golden["entries_h"], golden["entries_y"], golden["entries_base"]
    written = 0
    for upto in (1, 10, 60):
        part = slice(written, upto)
        sketch.write(entries[part], labels[part], bases[part], np.zeros(upto - written))
        written = upto

        np.testing.assert_allclose(cells(sketch), golden[f"sketch_after_{upto}"], rtol=0, atol=1e-12)
        if upto > 1:
            read = sketch.frozen().read(golden["queries"])
            there = golden[f"n{upto}_count"] > 0
            np.testing.assert_array_equal(read.similarities > -np.inf, there)
            np.testing.assert_allclose(read.similarities[there], golden[f"n{upto}_sim_share"][there], atol=1e-12)
            np.testing.assert_allclose(read.labels[there], golden[f"n{upto}_readout_y"][there], atol=1e-12)
            np.testing.assert_allclose(read.bases[there], golden[f"n{upto}_readout_base"][there], atol=1e-12)
    np.testing.assert_array_equal(buckets(golden["hyperplanes"], entries), golden["entry_buckets"])


def entries(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    vectors, bases = generator.standard_normal((count, 6)), generator.random(count)
    return vectors, generator.integers(0, 2, count).astype(float), bases, np.arange(count, dtype=float)


def part(columns: tuple[np.ndarray, ...], start: int, stop: int) -> tuple[np.ndarray, ...]:
    return tuple(column[start:stop] for column in columns)


@pytest.mark.parametrize("settings", [{}, {"generation_events": 30}, {"half_life_seconds": 9.0}])
def test_how_the_stream_is_cut_does_not_matter_and_a_restored_one_goes_on_alike(settings: dict[str, Any]) -> None:
    planes, written = draw_hyperplanes(4, 5, 6, seed=0), entries(200)
    whole, pieces = Sketch(planes, **settings), Sketch(planes, **settings)
    whole.write(*written)
    for start in range(0, 200, 17):
        pieces.write(*part(written, start, start + 17))
        again = Sketch(planes, **settings)
        again.restore({name: array.copy() for name, array in pieces.tensors().items()})
        pieces = again

    np.testing.assert_allclose(cells(pieces), cells(whole), rtol=1e-12)
    assert pieces.nbytes == Sketch(planes, **settings).nbytes


def test_generations_keep_between_one_and_two_of_the_newest() -> None:
    planes, written = draw_hyperplanes(3, 4, 6, seed=0), entries(100)
    sketch, newest = Sketch(planes, generation_events=30), Sketch(planes)
    sketch.write(*written)
    newest.write(*part(written, 60, 100))  # 30 of the full generation, 10 of the one begun

    np.testing.assert_allclose(cells(sketch), cells(newest))
    assert sketch.written == 40


def test_with_a_half_life_older_entries_count_less() -> None:
    planes, written = draw_hyperplanes(3, 4, 6, seed=0), entries(50)
    sketch = Sketch(planes, half_life_seconds=10.0)
    sketch.write(*written)
    vectors, labels, _, times = written
    weights = np.exp2((times - times[-1]) / 10.0)

    read = sketch.frozen().read(vectors[:5])

    places = buckets(planes, vectors)
    for query in range(5):
        for array in range(3):
            same = places[:, array] == places[query, array]
            assert read.labels[query, array] == pytest.approx(np.average(labels[same], weights=weights[same]))
            assert read.similarities[query, array] == pytest.approx(weights[same].sum() / weights.sum())


def test_a_half_life_far_shorter_than_the_stream_stays_finite() -> None:
    sketch = Sketch(draw_hyperplanes(2, 3, 6, seed=0), half_life_seconds=0.5)
    vectors, labels, bases, _ = entries(40)
    for row in range(40):
        sketch.write(vectors[row : row + 1], labels[row : row + 1], bases[row : row + 1], np.array([row * 200.0]))

    frozen = sketch.frozen()

    assert np.isfinite(cells(sketch)).all()
    assert frozen.read(vectors[-1:]).labels[0] == pytest.approx(labels[-1])


def test_a_cleared_sketch_knows_nobody_and_what_was_frozen_stays() -> None:
    sketch = Sketch(draw_hyperplanes(2, 3, 6, seed=0))
    vectors, *rest = entries(10)
    sketch.write(vectors, *rest)
    before = sketch.frozen()

    sketch.clear()

    assert (sketch.frozen().read(vectors).similarities == -np.inf).all()
    assert (before.read(vectors).similarities > 0).all()
    again = FrozenSketch.of(before.tensors())
    np.testing.assert_array_equal(again.read(vectors).labels, before.read(vectors).labels)
