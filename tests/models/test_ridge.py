"""The ridge learner: the contract, and that it is the ridge solution however events arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from thalweg.models.learner import Learner
from thalweg.models.ridge import Ridge
from thalweg.models.testing import LearnerContract
from thalweg.proto.event import Batch, ClassLabels, NumberLabels, TensorSpec

INPUTS = {"features": TensorSpec("features", "float32", (5,))}
PLAIN = {"forgetting": 1, "standardise": False, "refresh_events": 1, "expansion": 12, "gamma": 0.5}


def ridge(**params: Any) -> Ridge:
    return Ridge(inputs=INPUTS, params=params, seed=3)


def batch(events: int, seed: int, classes: Sequence[str] = ("a", "b", "c"), *, weights: bool = False) -> Batch:
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, len(classes), events).astype(np.int32)
    x = generator.standard_normal((events, 5)) * 2 + codes[:, None]
    return Batch(
        {"features": x.astype(np.float32)},
        ClassLabels(codes, tuple(classes)),
        generator.uniform(0.5, 2, events) if weights else np.ones(events),
        np.arange(events, dtype=np.float64),
    )


def numbers(events: int, seed: int, width: int = 2) -> Batch:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((events, 5)).astype(np.float32)
    y = 1e4 + x[:, :width].astype(np.float64) * 300 + generator.standard_normal((events, width))
    return Batch({"features": x}, NumberLabels(y), np.ones(events), np.arange(events, dtype=np.float64))


class TestContract(LearnerContract):
    params: ClassVar[dict[str, Any]] = {}

    def new(self) -> Learner:
        return ridge(**self.params)

    def batches(self) -> list[Batch]:
        late = batch(9, 7, ("d", "b"))
        return [batch(6, 1), batch(1, 2), batch(17, 3, weights=True), late, batch(30, 5), batch(3, 6).unlabelled()]


class TestContractWithoutExpansion(TestContract):
    params: ClassVar = {"expansion": 0, "forgetting": 0.99}


class TestContractAsPublished(TestContract):
    params: ClassVar = {
        "forgetting": 1,
        "standardise": False,
        "direct": False,
        "bias": False,
        "offsets": False,
        "gamma": 0.1,
    }


class TestContractWithPseudoFeatures(TestContract):
    params: ClassVar = {"balance": "pseudo_features", "expansion": 20}


class TestContractReweighted(TestContract):
    params: ClassVar = {"balance": "reweighted", "expansion": 20}


class TestContractRecursive(TestContract):
    params: ClassVar = {"solver": "recursive", "forgetting": 1, "refresh_events": 1, "expansion": 20}


class TestContractRareRefresh(TestContract):
    params: ClassVar = {"refresh_events": 25, "expansion": 20}


class TestContractRegression(LearnerContract):
    def new(self) -> Learner:
        return ridge(task="regression", targets=2, expansion=20)

    def batches(self) -> list[Batch]:
        return [numbers(count, seed) for seed, count in enumerate((4, 1, 20, 33))]
