"""Weights of experts: the bound on what mixing can cost, and what the weights do with what they hear."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.models.prompt_tpp.mixing import ExpertWeights, gains

LOGS = st.floats(-30.0, 8.0)
NAN = math.nan


@st.composite
def outcomes(draw: st.DrawFn) -> np.ndarray:
    experts, count = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    rows = st.lists(LOGS, min_size=experts, max_size=experts)
    return np.array(draw(st.lists(rows, min_size=count, max_size=count)))


@given(
    logs=outcomes(),
    rate=st.floats(0.05, 1.0),
    share=st.floats(1e-4, 0.2),
    path=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 3)), max_size=4),
)
def test_no_sequence_of_experts_is_better_by_more_than_the_bound(
    logs: np.ndarray, rate: float, share: float, path: list[tuple[int, int]]
) -> None:
    count, experts = logs.shape
    weights = ExpertWeights(experts, rate, share)

    told = weights.learn(logs)

    followed = np.zeros(count, dtype=int)
    for start, expert in sorted(path):
        followed[start:] = expert % experts
    changes = np.count_nonzero(np.diff(followed))
    theirs = logs[np.arange(count), followed].sum()
    bound = math.log(experts) + changes * math.log(experts / share) - count * math.log1p(-share)
    assert theirs - told.sum() <= bound / rate + 1e-6


@given(
    wrong=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=60),
    rate=st.floats(0.02, 1.0),
    share=st.floats(1e-4, 0.1),
)
def test_who_is_picked_by_weights_of_wrong_answers_errs_no_more_than_the_best_but_for_the_bound(
    wrong: list[list[bool]], rate: float, share: float
) -> None:
    """Hedge: with the full step and minus rate times a loss for a log-probability."""
    losses = np.array(wrong, dtype=float)
    weights, expected = ExpertWeights(3, 1.0, share), 0.0

    for loss in losses:
        expected += float(weights.weights @ loss)
        weights.learn(-rate * loss[None])

    count = len(losses)
    bound = (math.log(3) - count * math.log1p(-share)) / rate + rate * count / 8
    assert expected <= losses.sum(axis=0).min() + bound + 1e-9


@given(logs=outcomes(), rate=st.floats(0.05, 1.0), cut=st.integers(0, 40))
def test_weights_sum_to_one_and_do_not_depend_on_how_outcomes_are_cut(logs: np.ndarray, rate: float, cut: int) -> None:
    whole, pieces = ExpertWeights(logs.shape[1], rate, 1e-3), ExpertWeights(logs.shape[1], rate, 1e-3)

    told = whole.learn(logs)
    in_parts = np.concatenate([pieces.learn(logs[:cut]), pieces.learn(logs[cut:])])

    np.testing.assert_array_equal(whole.weights, pieces.weights)
    np.testing.assert_array_equal(told, in_parts)
    assert whole.weights.sum() == pytest.approx(1.0)
    assert (whole.weights >= 1e-3 / logs.shape[1]).all()


def test_at_the_full_rate_and_without_a_share_the_weights_are_those_of_bayes() -> None:
    logs = np.log(np.random.default_rng(0).uniform(0.1, 0.9, (50, 3)))
    weights = ExpertWeights(3, 1.0, 0.0)

    told = weights.learn(logs)

    odds = np.exp(logs.sum(axis=0))
    np.testing.assert_allclose(weights.weights, odds / odds.sum(), rtol=1e-9)
    assert told.sum() == pytest.approx(math.log(odds.mean()))


def test_two_halves_of_the_truth_are_better_together_than_each_alone() -> None:
    """Each of two experts knows every other outcome: half of Bayes' step finds the mixture, the full one does not."""
    logs = np.log(np.where(np.arange(2000)[:, None] % 2 == np.arange(2), 0.9, 0.05))

    halved, full = ExpertWeights(2, 0.05, 1e-4), ExpertWeights(2, 1.0, 0.0)
    told = halved.learn(logs)

    assert told[1000:].mean() > logs.mean(axis=0).max() + 0.5
    assert told[1000:].mean() > full.learn(logs)[1000:].mean() - 0.5
    assert halved.weights.min() > 0.4


def test_an_expert_that_was_wrong_for_long_comes_back() -> None:
    weights = ExpertWeights(2, 0.3, 3e-4)
    weights.learn(np.log([[0.9, 0.1]] * 10_000))
    assert weights.weights[1] < 0.01

    told = weights.learn(np.log([[0.1, 0.9]] * 60))

    assert weights.weights[1] > 0.9
    assert told[-1] > math.log(0.8)


def test_an_expert_that_says_nothing_keeps_its_weight() -> None:
    weights = ExpertWeights(3, 0.5, 0.0)

    told = weights.learn(np.array([[math.log(0.5), math.log(0.1), NAN], [NAN, NAN, NAN]]))

    assert weights.weights[2] == pytest.approx(1 / 3)
    assert weights.weights[0] > 1 / 3 > weights.weights[1]
    assert told[0] == pytest.approx(math.log(0.3))
    assert math.isnan(told[1])


def test_what_all_hold_impossible_changes_nothing_and_what_some_do_costs_those() -> None:
    weights = ExpertWeights(2, 1.0, 0.01)
    before = weights.weights.copy()

    told = weights.learn(np.array([[-math.inf, -math.inf]]))
    np.testing.assert_array_equal(weights.weights, before)
    assert told[0] == -math.inf
    weights.learn(np.array([[-math.inf, 0.0]]))

    np.testing.assert_allclose(weights.weights, [0.005, 0.995])


def test_what_an_expert_adds_is_the_mixture_less_that_of_the_others() -> None:
    weights = np.array([0.5, 0.3, 0.2])
    shares = np.array([[0.6, 0.1, 0.2]])

    found = gains(np.log(shares), weights)

    whole = (shares[0] * weights).sum()
    rest = (shares[0, 1:] * weights[1:]).sum() / weights[1:].sum()
    assert found[0, 0] == pytest.approx(math.log(whole / rest))
    assert (gains(np.array([[0.3]]), np.array([1.0])) == 0.0).all()
    np.testing.assert_array_equal(gains(np.array([[NAN, 0.1, NAN]]), weights), [[0.0, 0.0, 0.0]])
