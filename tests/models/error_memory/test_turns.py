"""Hypotheses of a turn: they are weighed as Bayes' rule weighs them, and what they know stays bounded."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from thalweg.models.error_memory.turns import SHARES, STARTS, TurnFilter, Turns

ITEMS = np.array([4, 7, 4, 9, 7, 4, 4])
EVIDENCE = np.array([0.5, -2.0, -1.0, 0.3, -0.7, 1.5, -0.2])


def opened(at: int = 0) -> TurnFilter:
    """With hypotheses of a turn at entry `at`."""
    made = TurnFilter()
    made.open(at or 250, 0)
    return made


def unseen(events: int, held: TurnFilter) -> np.ndarray:
    """Agreement of items without entries."""
    return np.zeros((events, len(held.reading().starts)))


def by_enumeration(share: float) -> tuple[float, float]:
    """Likelihood of all labels against "nothing turned", and the last label's probability that it was turned."""
    distinct = np.unique(ITEMS)
    whole = with_last = 0.0
    for turned in product([False, True], repeat=len(distinct)):
        prior = np.prod(np.where(turned, share, 1 - share))
        which = np.isin(ITEMS, distinct[list(turned)])
        likelihood = prior * np.exp(-EVIDENCE[which].sum())
        whole += likelihood
        with_last += likelihood * which[-1]
    return whole, with_last / whole


def test_hypotheses_are_weighed_by_the_likelihood_of_all_labels_and_labels_by_the_hypotheses() -> None:
    held = opened()
    prior = held.reading().weights

    turned = held.learn(unseen(len(ITEMS), held), ITEMS, EVIDENCE)

    likelihoods, labels = zip(*[(1.0, 0.0), *map(by_enumeration, SHARES)])
    wanted = prior * likelihoods
    np.testing.assert_allclose(held.reading().weights, wanted / wanted.sum(), rtol=1e-12)
    assert turned[-1] == pytest.approx(wanted @ labels / wanted.sum(), rel=1e-12)


def test_labels_weigh_the_same_one_by_one_as_together() -> None:
    together, single = opened(), opened()
    turned = together.learn(unseen(len(ITEMS), together), ITEMS, EVIDENCE)

    for at in range(len(ITEMS)):
        before = EVIDENCE[:at][ITEMS[:at] == ITEMS[at]].sum()
        one = single.learn(unseen(1, single) + before, ITEMS[at : at + 1], EVIDENCE[at : at + 1])
        assert one[0] == pytest.approx(turned[at], rel=1e-12)

    np.testing.assert_allclose(single.reading().weights, together.reading().weights, rtol=1e-12)


def test_only_entries_since_a_start_speak_of_a_turn_there() -> None:
    turns = Turns(np.array([10, 20]), np.full(1 + 2 * len(SHARES), 1 / 7), 1.0, 0)
    places, seqs = np.array([0, 0, 0, 1]), np.array([9, 10, 25, 19])

    agreement = turns.agreement(places, seqs, np.array([1.0, 2.0, 4.0, 8.0]), 3)

    np.testing.assert_array_equal(agreement, [[6.0, 4.0], [8.0, 0.0], [0.0, 0.0]])


def test_a_turn_of_many_items_with_few_labels_each_is_found_where_it_was() -> None:
    generator, held = np.random.default_rng(0), TurnFilter()
    written: list[tuple[int, float]] = []
    for at in range(0, 4000, 50):
        if at % 250 == 0 and at:
            held.open(at, 0)
        items = generator.integers(0, 400, 50)
        confident = generator.uniform(0.5, 2.5, 50)
        agrees = generator.random(50) < 1 / (1 + np.exp(-confident))
        evidence = np.where(agrees != ((items % 5 == 0) & (at >= 2000)), confident, -confident)
        agreement = np.array(
            [[sum(e for i, e in written[s:] if i == item) for s in held.reading().starts] for item in items]
        )
        if len(held.reading().starts):
            held.learn(agreement, items, evidence)
        written += zip(items.tolist(), evidence.tolist())

    turns = held.reading()
    best = int(turns.weights[1:].argmax())
    assert turns.weights[0] < 1e-3
    assert (turns.starts[best // len(SHARES)], SHARES[best % len(SHARES)]) == (2000, 0.2)


def test_where_nothing_turns_nothing_is_found() -> None:
    generator, held = np.random.default_rng(1), TurnFilter()
    for at in range(250, 5000, 250):
        held.open(at, 0)
        confident = generator.uniform(0.5, 2.5, 250)
        agrees = generator.random(250) < 1 / (1 + np.exp(-confident))
        held.learn(unseen(250, held), np.arange(250), np.where(agrees, confident, -confident))

    assert held.reading().weights[0] > 0.9


def test_hypotheses_stay_few_and_their_weights_stay_one() -> None:
    held = TurnFilter()
    for at in range(250, 20_000, 250):
        held.open(at, 0)

        turns = held.reading()
        assert len(turns.starts) <= STARTS
        assert turns.weights.sum() == pytest.approx(1.0, abs=1e-12)
        assert (np.diff(turns.starts) > 0).all()
        assert turns.starts[-1] == at


def test_a_turn_whose_evidence_has_left_the_memory_is_given_up() -> None:
    held = TurnFilter()
    for at in range(250, 2500, 250):
        held.open(at, at - 600)

    assert held.reading().starts.tolist() == [1750, 2000, 2250]


def test_hypotheses_that_predict_worse_than_none_lose_trust_and_are_given_up() -> None:
    held, labels = opened(), np.ones(20)
    trusted = held.reading().trust

    held.compare(0.2 * labels, 0.8 * labels, labels)
    worse = held.reading().trust

    assert worse < 0.05 < 0.8 < trusted
    assert held.open(1000, 0)
    assert held.reading().starts.tolist() == [1000]
    assert (held.reading().since, held.reading().trust) == (1000, trusted)
    assert not held.open(1250, 0)


def test_trust_returns_within_a_few_dozen_labels_to_what_predicts_better() -> None:
    held, many, few = opened(), np.ones(2000), np.ones(40)
    held.compare(0.2 * many, 0.8 * many, many)

    held.compare(0.8 * few, 0.4 * few, few)

    assert held.reading().trust > 0.9


def test_a_label_between_the_two_speaks_half_as_loud() -> None:
    """A label of 0.5 says nothing; the evidence of a fraction is (2y - 1) times that of a click."""
    held = opened()
    before = held.reading().weights

    turned = held.learn(unseen(1, held), np.array([1]), np.array([0.0]))

    np.testing.assert_allclose(held.reading().weights, before, rtol=1e-12)
    assert turned[0] == pytest.approx(before[1:] @ SHARES, rel=1e-12)
