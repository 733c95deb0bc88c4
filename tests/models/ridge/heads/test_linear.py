"""Heads over the inputs alone, beside those over a random layer as well."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import TensorSpec

Floats = NDArray[np.float64]
INPUTS = {"features": TensorSpec("features", "float32", (4,))}


def ridge(**params: Any) -> Ridge:
    """As behind columns: not scaled again."""
    return Ridge(LearnerContext(inputs=INPUTS, params={"standardise": False, "expansion": 64, **params}, seed=0))


def events(x: Floats, y: NDArray[Any]) -> Batch:
    labels = ClassLabels(y.astype(np.int32), ("no", "yes")) if y.dtype == bool else NumberLabels(y[:, None])
    return Batch({"features": x.astype(np.float32)}, labels, np.ones(len(x)), np.zeros(len(x)))


def right(learner: Ridge, batch: Batch, y: NDArray[np.bool_], size: int) -> float:
    found = []
    for part in batch.micro_batches(size):
        predictor = learner.predictor()
        names = np.array([*predictor.classes, ""])  # -1: none is known
        found.append(names[predictor.predict(part.inputs)["label"]] == "yes")
        learner.learn(part)
    return float(np.mean(np.concatenate(found) == y))


@pytest.mark.parametrize("size", [1, 5, 64])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_they_are_those_of_a_ridge_without_a_random_layer(size: int, task: str) -> None:
    x = np.random.default_rng(1).standard_normal((400, 4))
    y = x @ [1.0, -1.0, 0.5, 0.2]
    beside, alone = ridge(task=task, refresh_events=1), ridge(task=task, refresh_events=1, expansion=0)

    for part in events(x, y if task == "regression" else y > 0).micro_batches(size):
        beside.learn(part)
        alone.learn(part)

    linear = beside._mixture._linear
    assert linear is not None
    assert linear.heads is not None
    np.testing.assert_allclose(linear.heads, alone._heads, rtol=0.02, atol=0.002)  # γ differs by up to a half


@pytest.mark.parametrize("size", [1, 32])
def test_both_linear_noisy_labels_and_effects_of_two_inputs_together_are_learned(size: int) -> None:
    random = np.random.default_rng(2)
    x = random.standard_normal((2000, 4))
    noisy = (x @ [1.0, -1.0, 0.5, 0.2] > 0) ^ (random.random(2000) < 0.2)
    together = (x[:, 0] > 0) ^ (x[:, 1] > 0)

    assert (
        right(ridge(), events(x, noisy), noisy, size) > right(ridge(expansion=0), events(x, noisy), noisy, size) - 0.01
    )
    assert right(ridge(), events(x, together), together, size) > 0.8
    assert right(ridge(expansion=0), events(x, together), together, size) < 0.6


def test_a_state_of_before_there_were_such_heads_is_read_and_gets_them() -> None:
    x = np.random.default_rng(3).standard_normal((300, 4))
    batch = events(x, x[:, 0] > 0)
    learner, other = ridge(), ridge()
    learner.learn(batch)
    state = learner.state()
    for name in [name for name in state.tensors if name.startswith("linear.")]:
        del state.tensors[name]

    other.restore(state)
    assert other._mixture.weights().shape == (3,)
    other.learn(batch)

    assert other._mixture.weights().shape == (6,)
    assert np.isfinite(other.predictor().predict(batch.inputs)["scores"]).all()


def test_a_state_whose_head_beside_was_over_the_random_layer_as_well_is_learned_on_row_by_row() -> None:
    x = np.random.default_rng(3).standard_normal((40, 4))
    learner, other = ridge(), ridge()
    rows = events(x, x[:, 0] > 0)
    for row in rows.micro_batches(1):
        learner.learn(row)
    state = learner.state()
    own = state.tensors["beside.head"]
    size = learner._map.size
    state.tensors["beside.head"] = np.vstack([np.ones((size - len(own), own.shape[1])), own])

    other.restore(state)
    for row in rows.micro_batches(1):
        other.learn(row)

    assert other.state().tensors["beside.head"].shape == own.shape
    assert np.isfinite(other.predictor().predict(rows.inputs)["scores"]).all()


def test_they_take_no_part_where_there_is_one_decay_or_no_random_layer() -> None:
    assert ridge()._mixture._linear is not None
    for params in ({"forgetting": 0.999}, {"expansion": 0}, {"balance": "reweighted"}, {"standardise": True}):
        assert ridge(**params)._mixture._linear is None
