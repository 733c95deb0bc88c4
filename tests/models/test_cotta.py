"""Test-time adaptation: its contract, and what a user relies on."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.models import small_networks
from thalweg.models.cotta import Cotta
from thalweg.models.learner import Learner
from thalweg.models.testing import LearnerContract
from thalweg.proto.event import Batch, ClassLabels, TensorSpec

PICTURE = {"image": TensorSpec("image", "float32", (1, small_networks.SIDE, small_networks.SIDE))}
VECTOR = {"features": TensorSpec("features", "float32", (12,))}
NETWORKS = "tests.models.small_networks"
SMALL: dict[str, Any] = {"model": f"{NETWORKS}:convolutional", "adapt_batch": 8, "follow_batch": 4}
VECTORS: dict[str, Any] = {"adapt_batch": 8, "follow_batch": 4, "views": "jitter", "largest": 0, "serve_views": 1}


def learner(**params: Any) -> Cotta:
    return Cotta(inputs=PICTURE, params={**SMALL, **params}, seed=1)


def of_vectors(network: str, **params: Any) -> Cotta:
    return Cotta(inputs=VECTOR, params={**VECTORS, "model": f"{NETWORKS}:{network}", **params}, seed=1)


def pictures(count: int, seed: int = 0, labelled: bool = True) -> Batch:
    generator = np.random.default_rng(seed)
    x = generator.random((count, 1, small_networks.SIDE, small_networks.SIDE)).astype(np.float32)
    codes = generator.integers(-1, small_networks.CLASSES, count).astype(np.int32)
    labels = ClassLabels(codes, tuple("0123")) if labelled else None
    return Batch({"image": x}, labels, np.ones(count), np.zeros(count))


def vectors(count: int, seed: int = 0) -> Batch:
    x = np.random.default_rng(seed).normal(size=(count, 12)).astype(np.float32)
    return Batch({"features": x}, None, np.ones(count), np.zeros(count))


class TestDefault(LearnerContract):
    def new(self) -> Learner:
        return learner()

    def batches(self) -> list[Batch]:
        return [pictures(13, seed, labelled=seed != 2) for seed in range(5)]


class TestPaper(TestDefault):
    def new(self) -> Learner:
        return learner(variant="paper", views="shifts", view_count=3)


class TestStatisticsOnly(TestDefault):
    def new(self) -> Learner:
        return learner(variant="bn")


class TestTent(TestDefault):
    def new(self) -> Learner:
        return learner(variant="tent")


class TestSgd(TestDefault):
    def new(self) -> Learner:
        return learner(optimizer="sgd", learning_rate=0.01)


class TestLayerNorm(LearnerContract):
    network = "layered"

    def new(self) -> Learner:
        return of_vectors(self.network)

    def batches(self) -> list[Batch]:
        return [vectors(13, seed) for seed in range(5)]


class TestBatchNormOfVectors(TestLayerNorm):
    network = "vectors"
