"""Mixed values, the default: they follow classes that move, and keep those that do not come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.bottleneck.test_counts import FINE, counting, of_one, right, weighted
from tests.models.bottleneck.test_learner import batch
from thalweg.models.bottleneck.learner import Bottleneck
from thalweg.models.bottleneck.mixed.pool import Pool
from thalweg.models.bottleneck.mixed.traffic import PAUSE, ClassTraffic
from thalweg.models.bottleneck.mixed.weights import KINDS, Weights
from thalweg.models.contract.learner import Learner
from thalweg.models.contract.testing import LearnerContract
from thalweg.proto.event import Batch, ClassLabels, join


def learned(*batches: Batch, size: int = 64, **params: Any) -> Bottleneck:
    """The default, after micro-batches."""
    learner = counting(**{"decay": "auto", **params})
    for one in batches:
        for start in range(0, len(one), size):
            learner.learn(one[start : start + size])
    return learner


def turned(events: Batch, by: int = 1) -> Batch:
    """The same inputs; each class has become the next one."""
    assert isinstance(events.labels, ClassLabels)
    names = events.labels.names
    codes = ((events.labels.codes + by) % len(names)).astype(np.int32)
    return Batch(events.inputs, ClassLabels(codes, names), events.weights, events.times)


class TestContractWithKeysOfAFile(LearnerContract):
    def new(self) -> Learner:
        return counting(decay="auto")

    def batches(self) -> list[Batch]:
        return [weighted(30, seed) for seed in range(5)]


@settings(max_examples=10)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_however_the_log_is_cut_values_are_the_same_only_their_weights_follow_what_was_served(sizes: list[int]) -> None:
    whole = join([weighted(90, 1), of_one("z", 20, 2, ("z", "a")), turned(batch(90, 3))])
    at_once, cut = counting(decay="auto"), counting(decay="auto")
    at_once.learn(whole)

    start = 0
    for size in [*sizes, 200]:
        cut.learn(whole[start : start + size])
        start = min(200, start + size)

    mine, theirs = cut.state().tensors, at_once.state().tensors
    values = [name for name in mine if not name.startswith("weights")]
    assert {"counts", "faded", "slow", "fast", "traffic.recent"} <= set(values)
    for name in values:
        np.testing.assert_array_equal(mine[name], theirs[name])


def test_a_state_restored_in_the_middle_goes_on_bit_for_bit_also_with_spare_room_for_classes() -> None:
    names = tuple("abcdefghij")
    first, rest = (batch(300, seed, names[:6]) for seed in (1, 2))
    going, restored = learned(first), counting(decay="auto")

    restored.restore(going.state())
    for learner in (going, restored):
        learner.learn(rest)

    assert restored.state().sha256() == going.state().sha256()


def test_classes_that_change_places_are_followed_by_default_and_not_by_counts_alone() -> None:
    before, after = batch(1200, 1), turned(batch(400, 2))

    assert right(learned(before, **FINE), before) > 0.9
    assert right(learned(before, after, **FINE), after) > 0.9
    assert right(learned(before, after, decay=1.0, **FINE), after) < 0.5


@pytest.mark.parametrize("size", [10, 100])
def test_a_stream_that_turns_again_and_again_is_answered_nearly_as_well_as_by_what_it_has_been_lately(
    size: int,
) -> None:
    """Each event is predicted, then learned; the last quarter of each of five turns is graded."""
    learner = learned(batch(200, 0), **FINE)
    found = []
    for turn in range(5):
        events = turned(batch(400, turn + 1), by=turn)
        for start in range(0, 400, size):
            part = events[start : start + size]
            if start >= 300:
                found.append(right(learner, part))
            learner.learn(part)

    assert np.mean(found) > 0.85


def test_classes_that_come_one_after_the_other_are_all_known_in_the_end() -> None:
    names = tuple("abcdef")
    every = batch(2400, 1, names)
    assert isinstance(every.labels, ClassLabels)
    order = np.argsort(every.labels.codes // 2, kind="stable")  # two by two

    test = batch(1000, 2, names)
    together, apart = learned(every, **FINE), learned(every[order], **FINE)

    assert right(together, test) > 0.85
    assert right(apart, test) > right(together, test) - 0.02
    assert right(apart, test) > right(learned(every[order], decay=1.0, **FINE), test) - 0.02


def test_a_class_alone_for_long_does_not_hide_those_that_come_after() -> None:
    learner = learned(of_one("a", 2_000, 1), **FINE)
    assert right(learner, of_one("a", 100, 2)) == 1.0

    learner.learn(join([of_one("b", 200, 3), of_one("c", 200, 4)]))

    for name in "abc":
        assert right(learner, of_one(name, 100, 5)) > 0.8


def test_a_class_that_returns_after_five_thousand_events_is_still_known() -> None:
    learner = learned(of_one("a", 100, 1), *[join([of_one("b", 500, 2), of_one("c", 500, 3)])] * 5, **FINE)

    assert right(learner, of_one("a", 100, 5)) > 0.7


def test_a_thousand_classes_with_one_event_each_are_recognised() -> None:
    x = np.random.default_rng(0).normal(size=(1000, 6)).astype("f4")
    names = tuple(f"c{number}" for number in range(1000))
    events = Batch({"features": x}, ClassLabels(np.arange(1000, dtype=np.int32), names), np.ones(1000), np.zeros(1000))

    learner = learned(events, size=50, heads=16, pairs=128)

    assert right(learner, events) > 0.9


def test_two_thousand_equal_rows_leave_the_answers_for_others_as_they_were() -> None:
    learner = learned(batch(600, 1), **FINE)
    row, test = of_one("a", 1, 7), batch(300, 8)
    before = right(learner, test)

    for _ in range(8):
        learner.learn(join([row] * 250))

    assert right(learner, row) == 1.0
    assert right(learner, test) > before - 0.15
    assert np.isfinite(learner.predictor().predict(test.inputs)["scores"]).all()


def test_one_event_of_the_largest_weight_spoils_nothing() -> None:
    events = batch(600, 1)
    heavy = Batch(events.inputs, events.labels, np.where(np.arange(600) == 300, 1e9, 1.0), events.times)
    test = batch(300, 8)

    assert (
        right(learned(heavy, batch(300, 2), **FINE), test) > right(learned(events, batch(300, 2), **FINE), test) - 0.1
    )


def test_raised_forgetting_divides_what_was_counted() -> None:
    learner = learned(batch(600, 1))
    before = learner.state().tensors

    learner.raise_forgetting(4.0, 50)

    after = learner.state()
    for name in ("counts", "faded"):
        np.testing.assert_allclose(after.tensors[name], before[name] / 4.0, rtol=1e-6)
    assert after.meta["pace"] == [4.0, 50]


# Weights

OTHER = {kind: number for number, kind in enumerate(KINDS)}
START = [3.0, 0.0, 0.0, 1.0, 1.0, 0.0]
LEAST = [-np.inf, -np.inf, -np.inf, -np.inf, -np.inf, 0.0]


def pieces(events: int, informed: str, seed: int = 0) -> tuple[Any, Any]:
    """Logits (n, 3, J) and codes: one kind is right, as logits are; the others are noise."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(events, 3, len(KINDS)))
    truth = 2 * logits[:, :, OTHER[informed]]
    shares = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
    codes = (generator.random((events, 1)) > shares.cumsum(axis=1)).sum(axis=1).astype(np.int32)
    return logits, codes


@pytest.mark.parametrize("size", [8, 256])
def test_the_kind_that_predicts_gets_the_weight_and_loses_it_when_another_one_does(size: int) -> None:
    weights = Weights(START, LEAST)
    for informed in ("slow", "faded", "slow"):
        logits, codes = pieces(4000, informed)
        for start in range(0, 4000, size):
            part = slice(start, start + size)
            asked = np.ones((len(codes[part]), 3), dtype=np.bool_)
            weights.judge(logits[part], codes[part], np.ones(len(codes[part])), asked)

        found = dict(zip(KINDS, weights.values))
        assert found.pop(informed) == pytest.approx(2.0, abs=0.5)
        assert max(map(abs, found.values())) < 0.5


def test_sure_and_wrong_predictions_move_weights_by_a_bounded_step() -> None:
    for height in (1.0, 30.0, 1000.0):
        weights = Weights(START, LEAST)
        logits = np.zeros((1, 2, len(KINDS)))
        logits[0, 1, 0] = height  # class 1, says the first kind; it was class 0
        before = weights.values[0]

        weights.judge(logits, np.zeros(1, np.int32), np.ones(1), np.ones((1, 2), dtype=np.bool_))

        assert 0 < before - weights.values[0] <= 2.0 / height + 1e-9


def test_an_event_that_was_asked_for_no_other_class_says_nothing() -> None:
    weights = Weights(START, LEAST)
    logits, codes = pieces(50, "fast")
    before = {name: array.copy() for name, array in weights.tensors().items()}

    weights.judge(logits, codes, np.ones(50), np.eye(3, dtype=np.bool_)[codes])

    for name, array in weights.tensors().items():
        np.testing.assert_array_equal(array, before[name])


def test_that_a_class_came_lately_never_speaks_against_it() -> None:
    weights, generator = Weights(START, LEAST), np.random.default_rng(0)
    for _ in range(200):
        logits = np.zeros((8, 3, len(KINDS)))
        codes = generator.integers(0, 3, 8).astype(np.int32)
        logits[np.arange(8), codes, OTHER["recent"]] = -2.0  # always the class that came least
        weights.judge(logits, codes, np.ones(8), np.ones((8, 3), dtype=np.bool_))

    assert weights.values[OTHER["recent"]] == 0.0


def pooled(steady_is_right: bool) -> Pool:
    """After events while classes are away: counts are right about all, or the fast logits are."""
    pool, generator = Pool(), np.random.default_rng(0)
    for _ in range(100):
        codes = generator.integers(0, 2, 16).astype(np.int32)
        logits = np.zeros((16, 4, len(KINDS)))
        right, wrong = ("counts", "fast") if steady_is_right else ("fast", "counts")
        logits[np.arange(16), codes, OTHER[right]] = 2.0
        logits[np.arange(16), 2 + codes, OTHER[wrong]] = 2.0  # takes them for classes that are away
        asked = np.zeros((16, 4), dtype=np.bool_)
        asked[:, :2] = True
        pool.judge(logits, codes, np.ones(16), asked, np.ones(4, dtype=np.bool_))
    return pool


def test_while_classes_are_away_the_evidence_answers_that_does_not_take_what_comes_for_them() -> None:
    steady, moving = pooled(True), pooled(False)

    for kind in ("faded", "slow", "fast", "recent"):
        assert steady.values(away=True)[OTHER[kind]] == pytest.approx(0.0, abs=1e-6)
    assert moving.values(away=True) == pytest.approx(moving.values(away=False), abs=1e-6)
    assert moving.values(away=True)[OTHER["fast"]] > 1.0
    assert steady.values(away=False)[OTHER["fast"]] > 0.5  # nobody is away: all evidence answers


# Traffic


def traffic(classes: int) -> ClassTraffic:
    made = ClassTraffic()
    made.grow(classes)
    return made


@given(seed=st.integers(0, 1000), sizes=st.lists(st.integers(1, 300), max_size=6))
def test_which_classes_are_away_does_not_depend_on_the_cut(seed: int, sizes: list[int]) -> None:
    generator = np.random.default_rng(seed)
    codes = (generator.integers(0, 5, 900) * generator.integers(0, 2, 900)).astype(np.int32)
    codes[100:600] %= 2
    cut, whole, start, found = traffic(5), traffic(5), 0, []

    for size in [*sizes, 900]:
        found.append(cut.seen(codes[start : start + size], np.ones(len(codes[start : start + size]))))
        start = min(900, start + size)

    np.testing.assert_array_equal(np.concatenate(found), whole.seen(codes, np.ones(900)))
    for name, array in cut.tensors().items():
        np.testing.assert_array_equal(array, whole.tensors()[name])


def test_a_class_is_away_after_a_pause_and_a_rare_one_only_after_several_of_its_gaps() -> None:
    codes = np.zeros(3000, dtype=np.int32)
    codes[:500:2] = 1  # often, then never again
    codes[100:1000:90] = 2  # every ninety events, then never again

    present = traffic(3).seen(codes, np.ones(3000))

    last_often, last_rare = np.flatnonzero(codes == 1)[-1], np.flatnonzero(codes == 2)[-1]
    assert present[last_often : last_often + PAUSE + 1, 1].all()
    assert not present[last_often + PAUSE + 1 :, 1].any()
    assert present[100 : last_rare + 3 * 90, 2].all()
    assert not present[last_rare + 4 * 90 + 1 :, 2].any()
    assert not present[:100, 2].any()
    assert present[2:, 0].all()
