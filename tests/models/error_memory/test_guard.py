"""What the answers of a memory are held against: never worse for long than the network, the rate or the numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.error_memory.ctr_network import sigmoid
from thalweg.models.error_memory.guard import SHARE, Guard, Trust, joined, numbers_of
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.models.error_memory.recursive_logistic import RecursiveLogistic
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import TensorSpec

Floats = NDArray[np.float64]


def recommender(numeric: int = 0) -> ErrorMemory:
    inputs = {name: TensorSpec(name, "int64", ()) for name in ("user", "item")}
    if numeric:
        inputs["numeric"] = TensorSpec("numeric", "float32", (numeric,))
    return ErrorMemory(LearnerContext(inputs=inputs, params={"number_weights": "zero"}, seed=0))


def clicks(count: int, bias: float, factor: float | None = None, seed: int = 4) -> tuple[Batch, Floats]:
    """Clicks of users on items, and the probability of each; with a `factor`, times that it is a number among them."""
    random = np.random.default_rng(seed)
    users, items = random.integers(0, 200, count), random.integers(0, 100, count)
    odds = bias + 0.7 * random.standard_normal(200)[users] + random.standard_normal(100)[items]
    chance = 1 / (1 + np.exp(-odds))
    inputs = {"user": users, "item": items}
    if factor is not None:
        inputs["numeric"] = (factor * chance)[:, None].astype(np.float32)
    labels = (random.random(count) < chance).astype(np.float64)
    return Batch(inputs, NumberLabels(labels[:, None]), np.ones(count), np.arange(float(count))), chance


def answered(learner: ErrorMemory, whole: Batch, size: int = 8) -> Floats:
    """Scores, each given before its event is learned."""
    said = []
    for start in range(0, len(whole), size):
        part = whole[start : start + size]
        said.append(learner.predictor().predict(part.inputs)["score"])
        learner.learn(part)
    return np.concatenate(said).astype(np.float64)


def log_loss(scores: Floats, whole: Batch, part: slice = slice(None)) -> float:
    assert isinstance(whole.labels, NumberLabels)
    held, labels = scores[part].clip(1e-6, 1 - 1e-6), whole.labels.values[part, 0]
    return float(-np.mean(labels * np.log(held) + (1 - labels) * np.log(1 - held)))


def rate_so_far(whole: Batch) -> Floats:
    assert isinstance(whole.labels, NumberLabels)
    labels = whole.labels.values[:, 0]
    return np.asarray((np.cumsum(labels) - labels + 0.5) / (np.arange(len(labels)) + 1.0))


@pytest.mark.parametrize("bias", [-7.0, -4.0, 5.0])
def test_rare_clicks_cost_hardly_more_than_the_rate_from_the_first_on(bias: float) -> None:
    whole, _ = clicks(600, bias)

    said, rate = answered(recommender(), whole, size=1), rate_so_far(whole)

    for part in (slice(0, 100), slice(100, 600)):
        assert log_loss(said, whole, part) < log_loss(rate, whole, part) + 5 / (part.stop - part.start)


@pytest.mark.parametrize("factor", [1.0, 1e6])
def test_a_given_score_of_any_scale_is_believed_after_the_first_hundred(factor: float) -> None:
    whole, chance = clicks(800, 0.0, factor)

    said = answered(recommender(numeric=1), whole, size=1)

    part = slice(100, 800)
    assert log_loss(said, whole, part) < log_loss(chance, whole, part) + 0.02


def test_what_turns_round_is_worse_than_the_rate_for_a_few_dozen_labels_only() -> None:
    whole, _ = clicks(1500, 0.0, 1.0)
    learner = recommender(numeric=1)
    answered(learner, whole)
    assert isinstance(whole.labels, NumberLabels)
    turned = Batch(whole.inputs, NumberLabels(1.0 - whole.labels.values), whole.weights, whole.times + 2000.0)

    said = answered(learner, turned[:400])

    assert log_loss(said, turned[:400], slice(100, 400)) < math.log(2) + 0.02


@given(seed=st.integers(0, 1000), best=st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_its_loss_is_above_that_of_the_best_expert_by_no_more_than_the_bound(seed: int, best: int) -> None:
    random, count = np.random.default_rng(seed), 300
    labels = (random.random(count) < 0.3).astype(np.float64)
    good, bad = np.where(labels > 0, 0.9, 0.1), random.random(count).clip(0.01, 0.99)
    own, base = (good, bad) if best == 0 else (bad, good) if best == 1 else (bad, bad[::-1])
    guard, features, total, losses = Guard(0, 4000.0), np.ones((1, 2)), 0.0, np.zeros(3)
    guard.learn(own[:1], base[:1], features, labels[:1], np.ones(1))

    for at in range(1, count):
        mine, alone, label = own[at : at + 1], base[at : at + 1], labels[at : at + 1]
        trust = guard.reading()
        each = trust.answers(mine, alone, features)[0]
        mixed = float(trust.mixed(mine, alone, features)[0])
        losses -= np.log(each if label[0] else 1 - each)
        total -= math.log(mixed if label[0] else 1 - mixed)
        guard.learn(mine, alone, features, label, np.ones(1))

    assert total <= losses.min() + math.log(3 / SHARE) + 2 * SHARE * count


def test_before_the_first_label_and_in_a_version_of_before_the_memory_answers() -> None:
    own, base, features = np.array([0.2, 0.9]), np.array([0.5, 0.5]), np.ones((2, 3))

    for trust in (Guard(1, 100.0).reading(), Trust.of({})):
        np.testing.assert_array_equal(trust.mixed(own, base, features), own)


def test_a_state_of_before_is_read_and_answers_as_it_did_until_the_next_label() -> None:
    whole, _ = clicks(300, 0.0, 1.0)
    learner, again = recommender(numeric=1), recommender(numeric=1)
    answered(learner, whole)
    state = learner.state()
    older = {name: array for name, array in state.tensors.items() if not name.startswith("guard.")}

    again.restore(State(older, state.meta))

    known = again.predictor().known(*again._inputs.gather(whole.inputs))
    assert known.recalled is not None
    wanted = again.predictor().mixed(again.predictor().answers(known.recalled))
    np.testing.assert_array_equal(again.predictor().predict(whole.inputs)["score"], wanted.astype(np.float32))
    again.learn(whole[:10])


def test_guards_of_shards_are_joined_by_their_labels() -> None:
    one, other = Guard(0, 1e9), Guard(0, 1e9)
    half, features = np.full(30, 0.5), np.ones((30, 2))
    one.learn(half, half, features, np.zeros(30), np.ones(30))
    other.learn(half[:10], half[:10], features[:10], np.ones(10), np.ones(10))

    found = joined(one.tensors(), other.tensors())

    assert found["counts"].tolist() == pytest.approx([30.0, 10.0])
    assert found["weights"].sum() == pytest.approx(1.0)
    assert joined({}, other.tensors()).keys() == other.tensors().keys()


@pytest.mark.parametrize(("rate", "part"), [(0.5, 0.0), (0.3, 0.0), (0.1, 0.896), (0.05, 1.0), (1e-4, 1.0)])
def test_numbers_are_weighed_around_a_rate_that_is_rare(rate: float, part: float) -> None:
    odds = [Trust(np.ones(4) / 4, one, np.zeros(3)).rate_odds for one in (rate, 1.0 - rate)]

    assert odds == pytest.approx([part * math.log(rate / (1 - rate)), part * math.log((1 - rate) / rate)], abs=1e-3)


def test_at_a_common_rate_numbers_alone_are_worth_what_they_are_by_themselves() -> None:
    """Around a rate that moves by chance, as it does in the first hundred events, they were worth 2 nats less."""
    assert np.mean([lost_by_numbers_alone(seed) for seed in range(4)]) < 0.7


def lost_by_numbers_alone(seed: int) -> float:
    """Nats by which the numbers of a guard are worse than a regression on them."""
    random, count = np.random.default_rng(seed), 600
    odds = 1.2 * random.standard_normal(count) - 0.4
    labels = (random.random(count) < 1 / (1 + np.exp(-odds))).astype(np.float64)
    features = np.stack([np.ones(count), np.ones(count), odds / 1.2], axis=1)
    guard, alone = Guard(1, 5000.0), RecursiveLogistic(np.zeros(3), 1.0, 5000.0)
    said, expected = np.zeros((2, count))

    for row in range(count):
        part, even = slice(row, row + 1), np.full(1, 0.5)
        said[row] = guard.reading().answers(even, even, features[part])[0, 3]
        told = numbers_of(features[part], 1)
        expected[row] = sigmoid(told @ alone.weights)[0]
        guard.learn(even, even, features[part], labels[part], np.ones(1))
        alone.learn(told, labels[part], np.ones(1))

    held, best = (np.log(np.where(labels > 0, one, 1.0 - one)).sum() for one in (said, expected))
    return float(best - held)
