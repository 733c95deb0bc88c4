"""Bounds hold what they promise: of many samples of a known distribution, about 95 % of the bounds have the truth."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.stream.evaluation.figures.bounds import Bound, ranking_bound, share_bound
from thalweg.stream.evaluation.prequential import Prequential

ROUNDS = 400
LEAST = 0.92  # at 95 % fewer of 400 come once in 200 samples
MOST = 0.99  # for bounds that are a little too wide, as of small shares

Sample = Callable[[np.random.Generator], Prequential]


def batch(labels: Any, inputs: Any = None) -> Batch:
    count = len(labels.codes) if isinstance(labels, ClassLabels) else len(labels.values)
    return Batch(inputs or {}, labels, np.ones(count), np.zeros(count))


CLASSES = ("a", "b", "c")
KNOWN: Any = SimpleNamespace(classes=CLASSES, properties={"scores": "probabilities"})


def classes(share_right: tuple[float, float, float], count: int) -> Sample:
    """Three classes, unequally often, with these recalls."""

    def sample(generator: np.random.Generator) -> Prequential:
        truth = generator.choice(3, count, p=[0.6, 0.3, 0.1]).astype(np.int32)
        right = generator.random(count) < np.array(share_right)[truth]
        answer = np.where(right, truth, (truth + 1) % 3).astype(np.int32)
        scores = np.full((count, 3), 0.1)
        scores[np.arange(count), answer] = 0.8
        evaluation = Prequential(count)
        for part in np.array_split(np.arange(count), 5):
            labels = ClassLabels(truth[part], CLASSES)
            evaluation.predicted(batch(labels), KNOWN, {"label": answer[part], "scores": scores[part]})
        return evaluation

    return sample


def clicks(count: int, share: float, apart: float) -> Sample:
    """Scores of a yes, whose log-odds are normal and lie so far apart; of 40 users."""

    def sample(generator: np.random.Generator) -> Prequential:
        yes = generator.random(count) < share
        score = 1 / (1 + np.exp(-generator.normal(apart * yes, 1.0)))
        users = generator.integers(0, 40, count)
        evaluation = Prequential(count)
        for part in np.array_split(np.arange(count), 5):
            labels = NumberLabels(yes[part, None].astype(float))
            evaluation.predicted(batch(labels, {"user": users[part]}), KNOWN, {"score": score[part]})
        return evaluation

    return sample


def numbers(count: int, offset: float) -> Sample:
    """Answers with a normal error of deviation 2 around this offset."""

    def sample(generator: np.random.Generator) -> Prequential:
        truth = generator.normal(size=(count, 1))
        evaluation, given = Prequential(count), truth + generator.normal(offset, 2.0, (count, 1))
        for part in np.array_split(np.arange(count), 5):
            evaluation.predicted(batch(NumberLabels(truth[part])), KNOWN, {"value": given[part]})
        return evaluation

    return sample


RECALLS = (0.9, 0.5, 0.99)
RIGHT = 0.6 * 0.9 + 0.3 * 0.5 + 0.1 * 0.99
AREA = float(norm.cdf(1.2 / np.sqrt(2)))
CASES = [
    pytest.param("accuracy", classes(RECALLS, 300), RIGHT, id="accuracy"),
    pytest.param("accuracy", classes((1.0, 1.0, 0.9), 60), 0.99, id="accuracy near 1, few events"),
    pytest.param("balanced_accuracy", classes(RECALLS, 300), np.mean(RECALLS), id="balanced accuracy"),
    pytest.param("log_loss", classes(RECALLS, 300), -RIGHT * np.log(0.8) - (1 - RIGHT) * np.log(0.1), id="log-loss"),
    pytest.param("auc", clicks(300, 0.3, 1.2), AREA, id="auc"),
    pytest.param("auc", clicks(400, 0.05, 1.2), AREA, id="auc, few positives"),
    pytest.param("gauc", clicks(800, 0.4, 1.2), AREA, id="gauc"),
    pytest.param("rmse", numbers(200, 0.0), 2.0, id="rmse"),
    pytest.param("mae", numbers(200, 0.0), 2 * np.sqrt(2 / np.pi), id="mae"),
    pytest.param("rmse", numbers(200, 1e6), np.sqrt(1e12 + 4), id="rmse, large beside its spread"),
]


@pytest.mark.parametrize(("metric", "sample", "truth"), CASES)
def test_the_truth_lies_within_the_bounds_as_often_as_they_say(metric: str, sample: Sample, truth: float) -> None:
    generator = np.random.default_rng(11)
    within = np.zeros(2)
    for _ in range(ROUNDS):
        evaluation = sample(generator)
        for place, bounds in enumerate((evaluation.bounds(), evaluation.recent_bounds())):
            low, high = bounds.get(metric, (np.nan, np.nan))
            within[place] += low <= truth <= high

    kept = within[within > 0] / ROUNDS
    assert len(kept) == (1 if metric == "gauc" else 2)  # by group only in the recent window
    assert (kept >= LEAST).all()
    assert (kept <= MOST).all()


@pytest.mark.parametrize("bound", [lambda n: share_bound(n, n), lambda n: ranking_bound(1.0, n, n)])
def test_a_perfect_figure_of_few_events_is_not_taken_for_certain(bound: Callable[[int], Bound]) -> None:
    lows = [bound(count)[0] for count in (2, 10, 100, 10_000)]

    assert all(few < many for few, many in pairwise(lows))
    assert lows[0] < 0.5
    assert bound(2)[1] == pytest.approx(1.0)


def test_an_endless_error_leaves_the_bounds_out() -> None:
    evaluation = Prequential()

    labels = NumberLabels(np.array([[1.0], [1e300], [2.0]]))
    evaluation.predicted(batch(labels), KNOWN, {"value": np.zeros((3, 1), np.float32)})

    assert evaluation.metrics()["rmse"] == np.inf
    assert "rmse" not in evaluation.bounds().keys() | evaluation.recent_bounds().keys()


def test_no_bound_of_an_error_is_below_zero() -> None:
    truth = np.zeros((300, 1))
    found = Prequential(window_events=200)
    wrong = np.where(np.arange(300) % 299 == 0, 1e6, 0.01)[:, None]
    found.predicted(batch(NumberLabels(truth)), KNOWN, {"value": wrong})

    bounds = [found.bounds(), found.recent_bounds()]

    assert all({"mae", "rmse"} <= set(one) for one in bounds)
    assert [one[name][0] for one in bounds for name in ("mae", "rmse")] == [0.0] * 4


def test_no_bound_of_a_log_loss_is_below_zero() -> None:
    right = np.full((300, 3), [0.998, 0.001, 0.001])
    right[-1] = [1e-12, 0.5, 0.5]
    found = Prequential(window_events=200)
    found.predicted(
        batch(ClassLabels(np.zeros(300, dtype=np.int32), CLASSES)),
        KNOWN,
        {"label": np.zeros(300, np.int32), "scores": right},
    )

    assert [one["log_loss"][0] for one in (found.bounds(), found.recent_bounds())] == [0.0, 0.0]
