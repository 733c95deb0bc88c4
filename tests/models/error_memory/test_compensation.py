"""ReLoop2's read and compensation against golden arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.memory.vectors.neighbours import nearest
from thalweg.memory.vectors.ring import Ring
from thalweg.memory.vectors.sketch import Sketch
from thalweg.models.error_memory.compensation import attend, compensation


def test_by_hand(shared: Path) -> None:
    golden = np.load(shared / "golden" / "reloop2_hand.npz", allow_pickle=False)
    near = attend(
        np.array([[1.0, 0.5, 0.5]]), np.array([[1.0, 0.0, 1.0]]), np.array([[0.25, 0.5, 0.75]]), 0.5 / np.log(2)
    )

    assert near.weights[0] == pytest.approx([0.5, 0.25, 0.25])
    assert (near.label[0], near.base[0]) == (pytest.approx(0.75), pytest.approx(0.4375))
    for (gamma, strength), wanted in zip(golden["gamma_lambda"], golden["y_pred"].ravel()):
        assert 0.4 + compensation(np.array([0.4]), near, gamma, strength)[0] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("kind", ["cos", "negl2"])
@pytest.mark.parametrize("name", ["s21", "s22"])
def test_golden_neighbours(shared: Path, name: str, kind: str) -> None:
    golden = np.load(shared / "golden" / f"reloop2_knn_{name}.npz", allow_pickle=False)
    ids = golden[f"{kind}_ids"]

    near = attend(golden[f"{kind}_sims"], golden["labels"][ids], golden["base_of_entries"][ids], 0.1)

    np.testing.assert_allclose(near.weights, golden[f"{kind}_weights"], atol=1e-12)
    np.testing.assert_allclose(near.label, golden[f"{kind}_ybar"], atol=1e-12)
    np.testing.assert_allclose(near.base, golden[f"{kind}_ybar_base"], atol=1e-12)
    base = golden["base_of_queries"]
    for row, (gamma, strength) in enumerate(golden["gamma_lambda"]):
        np.testing.assert_allclose(
            base + compensation(base, near, gamma, strength), golden[f"{kind}_pred"][row], atol=1e-12
        )


@pytest.mark.parametrize("upto", [10, 60])
@pytest.mark.parametrize("name", ["s21", "s22"])
def test_golden_sketch(shared: Path, name: str, upto: int) -> None:
    golden = np.load(shared / "golden" / f"reloop2_sketch_{name}.npz", allow_pickle=False)
    sketch = Sketch(golden["hyperplanes"])
    sketch.write(*(golden[f"entries_{key}"][:upto] for key in ("h", "y", "base")), np.zeros(upto))

    near = attend(*_columns(sketch.frozen().read(golden["queries"])), 0.1)

    np.testing.assert_array_equal(near.found, golden[f"n{upto}_any_hit"])
    hit = near.found
    np.testing.assert_allclose(near.label[hit], golden[f"n{upto}_ybar"][hit], atol=1e-12)
    np.testing.assert_allclose(near.base[hit], golden[f"n{upto}_ybar_base"][hit], atol=1e-12)
    base = golden["base_of_queries"]
    for row, (gamma, strength) in enumerate(golden["gamma_lambda"]):
        np.testing.assert_allclose(
            base + compensation(base, near, gamma, strength), golden[f"n{upto}_pred"][row], atol=1e-12
        )


def _columns(read: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return read.similarities, read.labels, read.bases  # type: ignore[attr-defined]


@given(st.integers(0, 1000), st.integers(0, 6), st.floats(0.01, 5), st.floats(0, 1), st.floats(0, 3), st.floats(0, 1))
def test_a_score_stays_a_probability_and_without_neighbours_the_base_stands(
    seed: int, count: int, temperature: float, gamma: float, strength: float, base: float
) -> None:
    generator = np.random.default_rng(seed)
    sims = np.where(generator.random((3, count)) < 0.3, -np.inf, generator.uniform(-1, 1, (3, count)))
    labels = generator.integers(0, 2, (3, count)).astype(float)

    near = attend(sims, labels, generator.random((3, count)), temperature)
    score = base + compensation(np.full(3, base), near, gamma, strength)

    assert ((score >= 0) & (score <= 1)).all()
    nobody = (sims == -np.inf).all(axis=1)
    assert (score[nobody] == base).all()
    assert near.weights.sum(axis=1) == pytest.approx(np.where(nobody, 0, 1))


@pytest.mark.parametrize("name", ["s21", "s22"])
def test_golden_stream_of_late_labels_and_a_model_swap(shared: Path, name: str) -> None:
    golden = np.load(shared / "golden" / f"reloop2_stream_{name}.npz", allow_pickle=False)
    k, capacity, temperature, strength, swap = golden["params"]
    vectors = golden["h"] / np.linalg.norm(golden["h"], axis=1, keepdims=True)
    ring = Ring({"vector": (np.float32, (vectors.shape[1],)), "row": (np.int64, ())}, int(capacity))
    written = np.zeros(len(vectors), dtype=bool)
    available = golden["label_available_at"]
    for request in range(len(vectors)):
        if request == int(swap):
            ring.clear()
        due = np.flatnonzero(~written & (available <= golden["t"][request]) & (np.arange(len(vectors)) < request))
        due = due[np.argsort(available[due], kind="stable")]
        written[due] = True
        if request >= int(swap):
            due = due[due >= int(swap)]  # scored by the old model: its keys are from another space
        if len(due):
            ring.append({"vector": vectors[due].astype(np.float32), "row": due})
        assert ring.entries == golden["memory_size"][request]
        base = golden["base"][request : request + 1]
        if ring.entries < k:
            assert golden["pred"][request] == pytest.approx(base[0])
            continue
        window = ring.window()
        seqs, sims = nearest(window, "vector", vectors[request : request + 1].astype(np.float32), int(k))
        rows = window.take("row", seqs)
        np.testing.assert_array_equal(rows[0], golden["neighbours"][request])
        near = attend(sims, golden["y"][rows].astype(float), golden["base"][rows], temperature)
        assert base[0] + compensation(base, near, 1.0, strength)[0] == pytest.approx(golden["pred"][request], abs=1e-6)
