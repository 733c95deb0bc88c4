"""A head that follows runs of labels, and that answers only where it is right more often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.heads.passive import PassiveAggressive
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec

NAMES = ("down", "up")


def ridge(**params: Any) -> Ridge:
    return Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float32", (4,))}, params=params, seed=0))


def runs(events: int, mean: float, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Labels in runs of this mean length, which the inputs say little about."""
    generator = np.random.default_rng(seed)
    y = (np.cumsum(generator.random(events) < 1 / mean) % 2).astype(np.int32)
    x = generator.standard_normal((events, 4)) + np.array([1.0, 0.0, 0.0, 0.0]) * (y[:, None] - 0.5)
    return x.astype(np.float32), y


def right(learner: Ridge, x: NDArray[np.float32], y: NDArray[np.int32], by: int = 1) -> float:
    """Share predicted rightly before it was learned, of the second half."""
    found = []
    for start in range(0, len(y), by):
        part = slice(start, start + by)
        predictor = learner.predictor()
        names = np.array([*map(NAMES.index, predictor.classes), -1])
        found.append(names[predictor.predict({"x": x[part]})["label"]] == y[part])
        n = len(y[part])
        learner.learn(Batch({"x": x[part]}, ClassLabels(y[part], NAMES), np.ones(n), np.zeros(n)))
    return float(np.concatenate(found)[len(y) // 2 :].mean())


def test_after_an_event_its_class_has_the_highest_score_by_a_margin() -> None:
    head, h = PassiveAggressive(3), np.array([[0.5, -2.0, 1.0]])

    head.learn(h, np.array([1], np.int32), None, np.zeros((1, 3)), 3)

    np.testing.assert_allclose(h @ head.tensors()["head"], [[-1.0, 1.0, -1.0]], atol=1e-12)


def test_a_small_weight_is_the_largest_step() -> None:
    head, h = PassiveAggressive(1), np.array([[0.1]])

    head.learn(h, np.array([0], np.int32), np.array([0.5]), np.zeros((1, 2)), 2)

    np.testing.assert_allclose(head.tensors()["head"], [[0.05, -0.05]])


def test_labels_that_come_in_runs_are_followed_row_by_row() -> None:
    x, y = runs(1200, 60.0, 1)

    mixture, plain = right(ridge(), x, y), right(ridge(forgetting=0.9999), x, y)

    assert mixture > 0.85 > plain


def test_where_labels_come_in_no_runs_ridge_answers() -> None:
    generator = np.random.default_rng(2)
    y = generator.integers(0, 2, 600).astype(np.int32)
    x = (generator.standard_normal((600, 4)) + y[:, None]).astype(np.float32)
    learner = ridge(expansion=0)
    right(learner, x, y)

    beside = learner._mixture._beside
    assert beside is not None
    assert not beside.believed


def test_after_a_larger_micro_batch_it_is_not_believed_and_a_learner_of_such_has_none_in_its_state() -> None:
    x, y = runs(600, 60.0, 3)
    learner = ridge()
    right(learner, x, y, by=60)
    assert not any(name.startswith("beside") for name in learner.state().tensors)

    right(learner, x, y)
    assert learner._mixture._beside is not None
    right(learner, x, y, by=60)

    assert not learner._mixture._beside.believed


def test_an_event_whose_label_came_after_its_prediction_was_served_is_not_followed() -> None:
    x, y = runs(1200, 60.0, 1)
    learner = ridge()
    right(learner, x, y)
    assert learner._mixture._beside is not None
    assert learner._mixture._beside.believed

    labels = ClassLabels(y[:1], NAMES)
    learner.learn(Batch({"x": x[:1]}, labels, np.ones(1), np.zeros(1), served=[None]))

    assert not learner._mixture._beside.believed


def test_with_one_decay_the_head_is_that_of_ridge() -> None:
    x, y = runs(200, 60.0, 4)
    learner = ridge(forgetting=0.97, expansion=0)
    right(learner, x, y)

    np.testing.assert_array_equal(learner._present(), learner._heads[0])


def by_arrays(
    head: NDArray[np.float64], h: NDArray[np.float64], code: int, weight: float | None
) -> NDArray[np.float64]:
    """The head after one event, as the source states it, in arrays."""
    scores = h @ head + 1.0
    scores[code] = 2.0 - scores[code]
    step = np.maximum(scores, 0.0) / -float(h @ h)
    step = np.maximum(step, -1.0 if weight is None else -weight)
    step[code] = -step[code]
    return np.asarray(head + h[:, None] * step)


@pytest.mark.parametrize("classes", [2, 3, 40])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_event_changes_the_head_by_the_bits_of_the_arrays(classes: int, weighted: bool) -> None:
    generator = np.random.default_rng(classes)
    alone, expected = PassiveAggressive(5), np.zeros((5, classes))
    ridge_scores = generator.standard_normal((200, classes))
    for row in range(200):
        h = generator.standard_normal(5) * 10.0 ** generator.integers(-2, 3)
        code, weight = int(generator.integers(classes)), float(generator.random())
        alone.learn(
            h[None],
            np.array([code], np.int32),
            np.array([weight]) if weighted else None,
            ridge_scores[row : row + 1],
            classes,
        )
        expected = by_arrays(expected, h, code, weight if weighted else None)

    np.testing.assert_array_equal(alone.tensors()["head"], expected)
