"""Linear discriminants from the sums of ridge, and when one beside the mixture answers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import multivariate_normal

from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.heads.discriminant import WIDE, Discriminant, likelihoods
from thalweg.models.ridge.learner import Ridge
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec

Floats = NDArray[np.float64]
GENERATOR = np.random.default_rng(0)
MEANS = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 1.0], [0.0, -2.0, 0.5]])
ROOT = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.3, 1.2]])


def drawn(shares: list[float], rows: int = 20_000) -> tuple[Floats, NDArray[np.int32]]:
    codes = GENERATOR.choice(3, rows, p=shares).astype(np.int32)
    x = MEANS[codes] + GENERATOR.standard_normal((rows, 3)) @ ROOT.T
    return np.hstack([x, np.ones((rows, 1))]), codes


def summed(x: Floats, codes: NDArray[np.int32]) -> Statistics:
    sums = Statistics(x.shape[1], 3, decay=1 - 1e-9)
    sums.add(Rows(x, np.eye(3)[codes], codes=codes))
    return sums


def test_of_normal_classes_the_likelihoods_are_those_of_their_distributions_however_rare_they_are() -> None:
    x, codes = drawn([0.9, 0.08, 0.02])
    sums = summed(x, codes)

    found = likelihoods(sums, sums.cross, sums.class_weight, 3, 1e-9)

    asked, _ = drawn([1 / 3] * 3, 200)
    exact = np.array([multivariate_normal(mean, ROOT @ ROOT.T).logpdf(asked[:, :3]) for mean in MEANS]).T
    np.testing.assert_allclose(
        softmax(asked @ found.head + found.intercept, axis=1), softmax(exact, axis=1), rtol=0, atol=0.12
    )


def test_scores_of_the_head_sum_to_one_and_the_mean_of_a_class_leads_by_about_one() -> None:
    x, codes = drawn([0.5, 0.3, 0.2])
    discriminant = Discriminant()
    discriminant.solve(summed(x, codes), 3)
    discriminant.score(x[:100], codes[:100], np.zeros((100, 3)))

    head = discriminant.head(3)

    assert head is not None
    np.testing.assert_allclose((x @ head).sum(axis=1), 1.0, rtol=0, atol=1e-9)
    own = np.array([(x[codes == code] @ head)[:, code].mean() for code in range(3)])
    assert own @ np.bincount(codes) / len(codes) == pytest.approx(1.0, abs=0.05)


def test_it_answers_where_it_was_right_more_often_and_not_otherwise() -> None:
    x, codes = drawn([1 / 3] * 3, 600)
    ahead, behind = Discriminant(), Discriminant()
    for one, ridge in ((ahead, np.zeros((600, 3))), (behind, np.eye(3)[codes])):
        one.solve(summed(x, codes), 3)
        for start in range(0, 600, 50):
            one.score(x[start : start + 50], codes[start : start + 50], ridge[start : start + 50])

    assert ahead.head(3) is not None
    assert ahead.head(4) is None  # a class came that it does not know
    assert behind.head(3) is None


def columns(rows: int, width: int) -> tuple[Floats, NDArray[np.int32]]:
    generator = np.random.default_rng(3)
    codes, centres = generator.integers(0, 10, rows), np.zeros((10, width))
    centres[:, :50] = generator.standard_normal((10, 50)) * 0.5
    return generator.standard_normal((rows, width)) + centres[codes], codes.astype(np.int32)


def accuracy(x: Floats, codes: NDArray[np.int32], **params: object) -> tuple[float, Ridge]:
    spec = {"x": TensorSpec("x", "float64", (x.shape[1],))}
    learner, right = Ridge(LearnerContext(inputs=spec, params={"expansion": 0, **params}, seed=0)), []
    for start in range(0, len(x), 64):
        predictor, some = learner.predictor(), codes[start : start + 64]
        if start:
            label = predictor.predict({"x": x[start : start + 64]})["label"]
            right.append(np.array([int(name) for name in predictor.classes])[label] == some)
        n = len(some)
        labels = ClassLabels(some, tuple(str(code) for code in range(10)))
        learner.learn(Batch({"x": x[start : start + 64]}, labels, np.ones(n), np.zeros(n)))
    return float(np.concatenate(right).mean()), learner


def test_with_many_columns_and_few_events_it_answers_and_is_right_more_often_than_ridge_alone() -> None:
    x, codes = columns(1000, 320)

    beside, learner = accuracy(x, codes)
    alone, _ = accuracy(x, codes, forgetting=[0.9999])

    assert beside > alone + 0.03
    again = Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float64", (320,))}, params={"expansion": 0}, seed=0))
    again.restore(learner.state())
    asked = {"x": x[:50]}
    np.testing.assert_array_equal(
        again.predictor().predict(asked)["scores"], learner.predictor().predict(asked)["scores"]
    )


def test_with_few_columns_there_is_none() -> None:
    x, codes = columns(200, WIDE - 10)

    assert not [name for name in accuracy(x, codes)[1].state().tensors if name.startswith("discriminant")]
