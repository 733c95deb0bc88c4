"""A score of another recommender among the numeric inputs: believed at once, never worse for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import TensorSpec

Floats = NDArray[np.float64]
EVENTS = 1500


def recommender(numeric: int = 1) -> ErrorMemory:
    inputs = {name: TensorSpec(name, "int64", ()) for name in ("user", "item")}
    inputs["numeric"] = TensorSpec("numeric", "float32", (numeric,))
    return ErrorMemory(LearnerContext(inputs=inputs, params={}, seed=0))


def events() -> tuple[Batch, Floats]:
    """Events, and their true log-odds."""
    random = np.random.default_rng(0)
    users, items = random.integers(0, 200, EVENTS), random.integers(0, 100, EVENTS)
    odds = random.standard_normal(200)[users] + random.standard_normal(100)[items] + random.standard_normal(EVENTS)
    labels = (random.random(EVENTS) < 1 / (1 + np.exp(-odds))).astype(np.float64)
    inputs = {"user": users, "item": items, "numeric": odds[:, None].astype(np.float32)}
    return Batch(inputs, NumberLabels(labels[:, None]), np.ones(EVENTS), np.arange(float(EVENTS))), odds


def auc(scores: Floats, labels: Floats) -> float:
    ones, zeros = scores[labels > 0], scores[labels == 0]
    return float((ones[:, None] > zeros).mean() + 0.5 * (ones[:, None] == zeros).mean())


@pytest.mark.parametrize("form", ["log-odds", "probability", "percent"])
def test_a_given_score_is_worth_as_much_with_the_memory_as_alone(form: str) -> None:
    whole, odds = events()
    given = {"log-odds": odds, "probability": 1 / (1 + np.exp(-odds)), "percent": 100 / (1 + np.exp(-odds))}[form]
    whole = replace(whole, inputs={**whole.inputs, "numeric": given[:, None].astype(np.float32)})
    assert isinstance(whole.labels, NumberLabels)
    labels, scores = whole.labels.values[:, 0], np.zeros(EVENTS)
    learner = recommender()

    for start in range(0, EVENTS, 10):
        part = whole[start : start + 10]
        scores[start : start + 10] = learner.predictor().predict(part.inputs)["score"]
        learner.learn(part)

    later = slice(300, None)
    assert auc(scores[later], labels[later]) > auc(odds[later], labels[later]) - 0.02


def test_a_constant_or_a_missing_score_does_no_harm() -> None:
    whole, _ = events()
    answers = []
    for given in (0.5, 0.0):
        learner = recommender()
        part = replace(whole, inputs={**whole.inputs, "numeric": np.full((EVENTS, 1), given, np.float32)})
        for start in range(0, EVENTS, 50):
            learner.learn(part[start : start + 50])
        answers.append(learner.predictor().predict(part.inputs)["score"])

    np.testing.assert_allclose(answers[0], answers[1], atol=0.005)


def test_a_state_from_before_numbers_were_combined_is_read_and_answers_as_it_did() -> None:
    whole, _ = events()
    learner = recommender()
    learner.learn(whole[:300])
    state = learner.state()
    before = State({**state.tensors}, {**state.meta})
    for name in ("combination", "unturned"):
        before.tensors[f"{name}.weights"] = state.tensors[f"{name}.weights"][:-1]
        before.tensors[f"{name}.curvature"] = state.tensors[f"{name}.curvature"][:-1, :-1]
    again = recommender()

    again.restore(before)

    weights = again.state().tensors["combination.weights"]
    np.testing.assert_array_equal(weights, [*state.tensors["combination.weights"][:-1], 0.0])
    again.learn(whole[300:600])
    assert again.state().tensors["combination.weights"][-1] != 0.0


def test_many_numbers_are_left_to_the_network() -> None:
    few, many = recommender(32), recommender(33)

    assert len(few.state().tensors["combination.weights"]) == len(many.state().tensors["combination.weights"]) + 32
