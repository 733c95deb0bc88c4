"""The running class prior, and the gate before it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg.models.cotta.class_prior import ClassPrior
from thalweg.models.cotta.target_statistics import TargetStatistics
from thalweg.models.parts.torch_setup import torch

CLASSES = 10


def said(
    classes: NDArray[np.int64], confidence: float = 0.8, mistakes: float = 0.1, seed: int = 0
) -> NDArray[np.float64]:
    """Probabilities (N, 10) by a network that is so often mistaken, and then unsure between two classes."""
    random = np.random.default_rng(seed)
    rows = np.arange(len(classes))
    shares = np.full((len(classes), CLASSES), (1 - confidence) / (CLASSES - 1))
    shares[rows, classes] = confidence
    wrong = random.random(len(classes)) < mistakes
    others = (classes + random.integers(1, CLASSES, len(classes))) % CLASSES
    shares[wrong] = 0.2 / (CLASSES - 2)
    shares[rows[wrong], classes[wrong]], shares[rows[wrong], others[wrong]] = 0.35, 0.45
    return shares


def followed(shares: NDArray[np.float64], block: int = 10) -> tuple[ClassPrior, NDArray[np.bool_], NDArray[np.float64]]:
    """The prior at the end, whether it was open at each block, and the probabilities as served."""
    prior, opened, answers = ClassPrior(CLASSES), [], []
    for start in range(0, len(shares), block):
        part = shares[start : start + block]
        opened.append(prior.open)
        answers.append(part * prior.factors)
        prior.take(part)
    return prior, np.array(opened), np.concatenate(answers)


@pytest.mark.parametrize("length", [50, 200, 500])
def test_where_classes_come_in_runs_the_prior_corrects_most_mistakes(length: int) -> None:
    classes = np.repeat(np.arange(40) % CLASSES, length)[:4000]
    shares = said(classes)

    _, opened, answers = followed(shares)

    assert opened[20:].mean() > 0.9
    assert (answers.argmax(1) != classes).mean() < 0.5 * (shares.argmax(1) != classes).mean()


@pytest.mark.parametrize("preferred", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_a_network_that_prefers_another_class_for_every_stretch_opens_nothing(preferred: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    stretches = np.repeat(random.integers(0, CLASSES, 12), 500)
    shuffled = random.integers(0, CLASSES, len(stretches))
    told = np.where(random.random(len(stretches)) < preferred, stretches, shuffled)

    _, opened, _ = followed(said(told, seed=seed))

    assert opened.mean() < 0.05


def test_a_confident_prediction_is_never_overruled() -> None:
    prior, _, _ = followed(said(np.repeat([3, 4, 3], 400), mistakes=0.0))

    assert prior.open
    other = np.full(CLASSES, 0.01)
    other[7] = 0.91
    assert (other * prior.factors).argmax() == 7
    assert prior.factors.max() / prior.factors.min() < 30


def test_after_ten_thousand_equal_rows_ordinary_traffic_is_answered_as_before_within_a_block() -> None:
    prior = ClassPrior(CLASSES)
    equal = said(np.zeros(10_000, dtype=np.int64), confidence=0.99, mistakes=0.0)
    for start in range(0, len(equal), 10):
        prior.take(equal[start : start + 10])
    assert prior.diversity < 0.2

    prior.take(said(np.arange(1, 10), mistakes=0.0))

    assert not prior.open


def test_probabilities_of_zero_leave_it_finite() -> None:
    certain = np.eye(CLASSES)[np.arange(4000) // 50 % CLASSES]

    prior, _, answers = followed(certain)

    assert np.isfinite(answers).all()
    assert all(np.isfinite(each).all() for each in prior.tensors().values())


def test_equal_inputs_are_a_few_rows_of_the_statistics() -> None:
    source = {"norm": (torch.zeros(1), torch.ones(1))}
    held, free = TargetStatistics(source, 30, most=5), TargetStatistics(source, 30)

    for one in (held, free):
        one.take({"norm": (torch.full((100, 1), 6.0), torch.full((100, 1), 36.0))}, [0] * 100)

    assert held.moments["norm"][0].item() == pytest.approx(1.0)  # five rows of thirty
    assert free.moments["norm"][0].item() == pytest.approx(6.0)
