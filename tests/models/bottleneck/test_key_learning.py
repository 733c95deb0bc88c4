"""Keys spread over what they see; the steps are those of the official code (see test_bottleneck_golden)."""

from __future__ import annotations

import numpy as np

from thalweg.models.bottleneck.key_learning import KeyLearning, learn_keys


def clusters(count: int = 600) -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = generator.normal(0, 5, (20, 2, 3))
    return centres[generator.integers(20, size=count)] + generator.normal(0, 0.1, (count, 2, 3))


def distortion(queries: np.ndarray, keys: np.ndarray) -> float:
    nearest = np.square(queries[:, :, None] - keys).sum(axis=3).min(axis=2)
    return float(nearest.mean() / np.square(queries - queries.mean(axis=0)).sum(axis=2).mean())


def test_learning_brings_the_keys_nearer_to_the_data_than_samples_are() -> None:
    queries = clusters()
    settings = {"batch": 64, "dead_factor": 0.1}

    at_first = learn_keys(queries, 16, steps=1, generator=np.random.default_rng(1), **settings)  # type: ignore[arg-type]
    at_last = learn_keys(queries, 16, steps=300, generator=np.random.default_rng(1), **settings)  # type: ignore[arg-type]

    assert distortion(queries, at_last) < distortion(queries, at_first)
    assert distortion(queries, at_last) < 0.2


def test_no_key_flies_away_at_the_start() -> None:
    queries = clusters()

    keys = learn_keys(queries, 256, steps=1, batch=8, dead_factor=0.0, generator=np.random.default_rng(1))

    assert np.abs(keys).max() <= np.abs(queries).max() * 1.1


def test_dead_keys_are_put_on_different_samples_while_there_are_enough() -> None:
    learning = KeyLearning(np.full((1, 4, 2), 1e6))
    queries = np.random.default_rng(0).normal(size=(8, 1, 2))

    learning.replace(np.array([[True, False, True, True]]), queries, np.random.default_rng(0))

    moved = learning.keys[0, [0, 2, 3]]
    assert len(np.unique(moved, axis=0)) == 3
    assert all((queries[:, 0] == key).all(axis=1).any() for key in moved)
    assert (learning.keys[0, 1] == 1e6).all()


def test_fewer_samples_than_keys_are_enough() -> None:
    keys = learn_keys(clusters(5), 32, steps=20, batch=256, dead_factor=0.1, generator=np.random.default_rng(1))

    assert keys.shape == (2, 32, 3)
    assert np.isfinite(keys).all()
