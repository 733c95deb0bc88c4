"""The loss of an event is that of the task; what is no answer has the worst."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from thalweg.proto.event import Batch, ClassLabels, NumberLabels, Places
from thalweg.proto.records import Partition
from thalweg.proto.task import CLASSIFICATION, REGRESSION, SCORING, SEQUENCE
from thalweg.stream.comparison.bounds import STEP, Bounds
from thalweg.stream.comparison.losses import LossOfEvents, NoSuchLoss, range_of

PARTITION = Partition("t", 0)
PROBABILITIES = CLASSIFICATION.with_probabilities()


def batch(labels: Any, count: int) -> Batch:
    return Batch({}, labels, np.ones(count), np.zeros(count), places=Places.of(PARTITION, list(range(10, 10 + count))))


def predictor(task: Any, classes: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(task=task, classes=classes, outputs={}, properties={})


def test_of_classes_the_loss_is_zero_one_and_an_unknown_class_or_no_answer_is_wrong() -> None:
    labels = ClassLabels(np.array([0, 1, 2, -1, 0], np.int32), ("a", "b", "new"))
    answers = {"label": np.array([0, 0, 1, 0, -1], np.int32)}

    found = LossOfEvents().of(batch(labels, 5), predictor(CLASSIFICATION, ("a", "b")), answers)

    assert found is not None
    assert found.losses.tolist() == [0.0, 1.0, 1.0, 1.0]
    assert found.offsets.tolist() == [10, 11, 12, 14]
    assert found.partitions == (PARTITION,)


@pytest.mark.parametrize("name", ["brier", "log_loss"])
def test_losses_of_probabilities_are_those_of_the_formulas(name: Any) -> None:
    labels = ClassLabels(np.array([0, 1, 2, 0, 0], np.int32), ("a", "b", "new"))
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5], [np.nan, np.nan], [0.0, 1.0]], np.float32)
    answers = {"label": scores.argmax(1).astype(np.int32), "scores": scores}

    found = LossOfEvents(name).of(batch(labels, 5), predictor(PROBABILITIES, ("a", "b")), answers)

    assert found is not None
    if name == "brier":
        wanted = [0.01, 0.64, (0.25 + 0.25 + 1) / 2, math.nan, 1.0]
    else:
        wanted = [-math.log(0.9) / math.log(1e4), -math.log(0.2) / math.log(1e4), 1.0, math.nan, 1.0]
    assert found.losses == pytest.approx(wanted, rel=1e-5, nan_ok=True)
    assert range_of(PROBABILITIES, name) == (0.0, 1.0)


def test_of_numbers_it_is_the_squared_error_and_of_probabilities_the_brier_score() -> None:
    labels = NumberLabels(np.array([[1.0], [np.nan], [0.0]]))

    numbers = LossOfEvents().of(batch(labels, 3), predictor(REGRESSION), {"value": np.array([[3.0], [1.0], [np.nan]])})
    scores = LossOfEvents().of(batch(labels, 3), predictor(SCORING), {"score": np.array([0.5, 1.0, 0.5])})

    assert numbers is not None
    assert scores is not None
    assert numbers.losses == pytest.approx([4.0, math.nan], nan_ok=True)
    assert scores.losses.tolist() == [0.25, 0.25]
    assert numbers.offsets.tolist() == [10, 12]


def test_events_without_labels_or_without_a_place_in_a_log_have_none() -> None:
    labels = ClassLabels(np.array([-1], np.int32), ())
    nowhere = replace(batch(ClassLabels(np.array([0], np.int32), ("a",)), 1), places=None)

    for one in (batch(labels, 1), batch(None, 1), nowhere):
        assert LossOfEvents().of(one, predictor(CLASSIFICATION), {"label": np.array([0], np.int32)}) is None


def test_a_loss_that_a_task_does_not_have_is_refused() -> None:
    with pytest.raises(NoSuchLoss, match="regression"):
        range_of(REGRESSION, "brier")
    with pytest.raises(NoSuchLoss, match="probabilities"):
        range_of(CLASSIFICATION, "log_loss")
    assert range_of(REGRESSION) == (0.0, math.inf)
    assert range_of(SEQUENCE) == (-math.inf, math.inf)


@pytest.mark.parametrize("low", [0.0, -math.inf])
def test_bounds_come_from_the_champions_losses_before_and_one_of_1e300_does_not_blind_them(low: float) -> None:
    rng = np.random.default_rng(0)
    losses = rng.exponential(3.0, 10 * STEP)
    losses[5], losses[100] = 1e300, math.nan
    bounds = Bounds(low, math.inf)
    assert np.isnan(bounds.bounded(losses[:STEP])).all()

    for begin in range(0, len(losses), STEP):
        bounds = bounds.after(losses[begin : begin + STEP])

    scaled = bounds.bounded(np.array([0.0, 3.0, 6.0, 1e300, math.nan, math.inf]))
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert scaled[2] - scaled[1] > 0.02  # still told apart
    assert scaled[3:].tolist() == [1.0, 1.0, 1.0]


def test_bounds_do_not_depend_on_how_losses_are_cut_and_follow_a_perfect_champion_that_fails() -> None:
    losses = np.concatenate([np.zeros(STEP), np.random.default_rng(1).exponential(1.0, 3 * STEP)])
    found = []
    for size in (1, 7, STEP):
        bounds, start = Bounds(0.0, math.inf), 0
        while start < len(losses):
            end = min(len(losses), start + min(size, bounds.until_moved()))
            bounds = bounds.after(losses[start:end])
            start = end
        found.append(bounds)

    assert found[0] == found[1] == found[2]
    assert found[0].bounded(np.array([0.5]))[0] < 0.5  # after perfection, an error is not the worst for ever
