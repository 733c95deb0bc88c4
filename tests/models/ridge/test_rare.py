"""Classes that come in one event of some hundred: they pause for long, and are known from few events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg
from thalweg.models.parts.rarity import MOST_RARE
from thalweg.models.ridge.classes import Classes
from thalweg.models.ridge.clocks import ClassClocks
from thalweg.models.ridge.heads.mixture import Mixture
from thalweg.models.ridge.statistics import Statistics


def counted(events: list[int]) -> Classes:
    classes = Classes()
    classes.restore([f"c{number}" for number in range(len(events))], np.array(events, dtype=np.int64))
    return classes


def test_how_rare_classes_are() -> None:
    assert counted([]).rarity == counted([50, 50]).rarity == counted([1, 1, 1]).rarity == 1.0
    assert counted([998, 2]).rarity == pytest.approx(0.25 / (1 - 0.998**2 - 0.002**2))
    assert counted([100_000_000, 1]).rarity == counted([10]).rarity == MOST_RARE
    classes = counted([998, 2])
    before = classes.rarity
    classes.add(np.array([1, 1], np.int32))
    assert classes.rarity < before


def test_a_head_that_knows_a_rare_class_keeps_its_weight_where_that_class_pauses() -> None:
    """Of two heads the first knows nothing of the class; the other was nearer when it came, and a little off since."""
    weights = []
    for classes in (counted([99_800, 200]), counted([50_000, 50_000])):
        mixture = Mixture(2, 100, unit_free=False, classes=classes)
        features = np.ones((1, 1))
        heads = np.array([[[1.0, 0.0]], [[0.7, 0.3]]])
        steady = np.array([[[1.0, 0.0]], [[0.99, 0.01]]])
        for event in range(1000):
            rare = event in (100, 200)
            target = np.array([[0.0, 1.0]]) if rare else np.array([[1.0, 0.0]])
            errors = target - np.matmul(features, heads if rare else steady)
            mixture.losses = mixture._faded(mixture.losses, errors)
        weights.append(mixture.weights()[1])

    assert weights[0] > 0.99
    assert weights[1] == pytest.approx(0.5, abs=0.02)


def test_a_class_that_pauses_counts_as_often_as_it_came_until_its_gap_is_no_chance() -> None:
    clocks, sums = ClassClocks(1, 0.9999), Statistics(1, 3)
    clocks.grow(3)
    codes = np.zeros(6000, np.int32)
    codes[::500] = 1  # rare
    codes[1:300] = 2  # has gone
    for start in range(0, 6000, 100):
        clocks.add(codes[start : start + 100], sums)

    rates = clocks.rates()

    assert rates[2] == 1.0
    assert rates[1] == pytest.approx(1 / 500, rel=0.15)
    for _ in range(100):
        clocks.add(np.zeros(100, np.int32), sums)
    assert clocks.rates()[1] == 1.0


def rows(one_in: int, count: int, seed: int, columns: int) -> tuple[dict[str, Any], Any, Any]:
    random = np.random.default_rng(seed)
    odds = -np.log(one_in) - 0.7 + 1.2 * random.standard_normal(count)
    score = 1 / (1 + np.exp(-odds))
    yes = random.random(count) < score
    more = {f"x{number}": random.standard_normal(count) for number in range(columns)}
    return {"score": score, **more, "label": np.where(yes, "yes", "no")}, yes, score


@pytest.mark.parametrize("columns", [0, 3])
def test_nothing_set_it_is_no_worse_than_the_constant_rate_and_ranks_by_the_score(columns: int) -> None:
    table, _, _ = rows(100, 8000, 1, columns)

    found = thalweg.Model("ridge", batch_events=16).evaluate(table, "label")

    assert found.metrics["log_loss"] < found.controls["majority"]["log_loss"]
    assert found.metrics["auc"] > 0.7


def test_it_does_not_take_others_for_a_rare_class_that_makes_a_pause() -> None:
    table, yes, _ = rows(500, 6000, 2, 0)

    found = thalweg.Model("ridge", batch_events=16).evaluate(table, "label")

    assert found.metrics["accuracy"] > 1 - yes.mean() - 0.001
    assert found.metrics["log_loss"] < 1.1 * found.controls["majority"]["log_loss"]
