"""Random features rest where the inputs alone are right as often, and come back where they are needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.heads import inputs_alone
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec

WIDTH, PHASE, BY = 24, 512, 64
INPUTS = {"x": TensorSpec("x", "float32", (WIDTH,))}


@pytest.fixture(autouse=True)
def _short_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs_alone, "PHASE", PHASE)
    monkeypatch.setattr(inputs_alone, "SURE", 0.5)  # a trial of so few events decides less


def ridge(**params: Any) -> Ridge:
    return Ridge(LearnerContext(inputs=INPUTS, params=params, seed=0))


def linear(events: int, seed: int, names: tuple[str, ...] = ("a", "b", "c", "d"), turned: int = 0) -> Batch:
    """Normal classes around means of their own."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, len(names), events).astype(np.int32)
    x = generator.standard_normal((events, WIDTH))
    x[np.arange(events), (codes + turned) % len(names)] += 2.0
    return of(x, codes, names)


def crossed(events: int, seed: int) -> Batch:
    """Two classes that only the product of two inputs tells apart."""
    generator = np.random.default_rng(seed)
    x = 0.3 * generator.standard_normal((events, WIDTH))
    x[:, :2] = generator.choice([-2.0, 2.0], (events, 2)) + 0.3 * x[:, :2]
    return of(x, (x[:, 0] * x[:, 1] > 0).astype(np.int32), ("a", "b"))


def of(x: NDArray[np.float64], codes: NDArray[np.int32], names: tuple[str, ...]) -> Batch:
    return Batch({"x": x.astype(np.float32)}, ClassLabels(codes, names), np.ones(len(x)), np.arange(len(x)) * 1.0)


def learned(learner: Ridge, log: Batch, by: int = BY) -> Ridge:
    for micro_batch in log.micro_batches(by):
        learner.learn(micro_batch)
    return learner


def right(learner: Ridge, log: Batch) -> float:
    predictor, labels = learner.predictor(), log.labels
    assert isinstance(labels, ClassLabels)
    return float((predictor.predict(log.inputs)["label"] == labels.recoded(dict_of(predictor.classes))).mean())


def dict_of(names: tuple[str, ...]) -> dict[str, int]:
    return {name: code for code, name in enumerate(names)}


def test_where_classes_differ_linearly_random_features_rest_and_more_is_right() -> None:
    log, later = linear(4 * PHASE, 1), linear(2000, 2)

    resting, always = learned(ridge(), log), learned(ridge(rest_expansion=False), log)

    assert resting._alone.rests
    assert resting._alone.rested >= PHASE
    assert not resting.predictor().state().tensors["head"][:128].any()
    assert right(resting, later) > right(always, later)


def test_where_only_random_features_tell_classes_apart_they_never_rest() -> None:
    learner = learned(ridge(), crossed(6 * PHASE, 1))

    assert not learner._alone.involved
    assert learner._alone.rested == 0
    assert right(learner, crossed(500, 2)) > 0.65


def test_random_features_that_are_needed_again_come_back_after_a_trial() -> None:
    learner = learned(ridge(), linear(4 * PHASE, 1, ("a", "b")))
    assert learner._alone.rests

    learned(learner, crossed(6 * PHASE, 2))

    assert not learner._alone.answers
    assert right(learner, crossed(500, 3)) > 0.9


@pytest.mark.parametrize("by", [BY, 1])
def test_a_new_class_is_learned_with_random_features_at_once(by: int) -> None:
    learner = learned(ridge(), linear(4 * PHASE, 1))
    assert learner._alone.rests

    learned(learner, linear(BY, 2, ("late", "b")), by)

    assert not learner._alone.involved
    assert "late" in learner.predictor().classes


def test_while_a_class_is_away_random_features_do_not_rest_and_it_is_still_known() -> None:
    learner = learned(ridge(), linear(4 * PHASE, 1))
    assert learner._alone.rests

    learned(learner, linear(6 * PHASE, 2, ("a", "b")))

    assert not learner._alone.involved
    assert right(learner, linear(500, 3)) > 0.6  # "c" and "d" are half of them


def test_a_fall_in_what_is_right_begins_a_trial_before_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs_alone, "SOON", 64.0)
    monkeypatch.setattr(inputs_alone, "USUAL", 512.0)
    learner = learned(ridge(forgetting=[0.9999, 0.9998]), linear(15 * PHASE, 1))
    assert learner._alone.rests

    learned(learner, linear(4 * BY, 2, turned=1))

    assert learner._alone.trying


def test_micro_batches_of_few_events_are_learned_while_random_features_rest() -> None:
    learner = learned(ridge(), linear(4 * PHASE, 1))
    assert learner._alone.rests

    learned(learner, linear(50, 2), 3)

    assert learner._alone.rests
    assert not learner._recursion.active
    assert right(learner, linear(1000, 3)) > 0.75


def test_no_trial_is_held_for_micro_batches_of_few_events() -> None:
    learner = learned(ridge(expansion=16), linear(3 * PHASE, 1), 2)

    assert not learner._alone.involved


@pytest.mark.parametrize("stop", range(PHASE // 2, 9 * PHASE, PHASE // 2))
def test_wherever_it_is_interrupted_the_state_is_that_of_an_undisturbed_run(stop: int) -> None:
    log = linear(9 * PHASE, 1)
    first, again = learned(ridge(), log[:stop]), ridge()

    again.restore(first.state())
    learned(again, log[stop:])

    same(again.state(), undisturbed())


_undisturbed: list[State] = []


def undisturbed() -> State:
    if not _undisturbed:
        _undisturbed.append(learned(ridge(), linear(9 * PHASE, 1)).state())
    return _undisturbed[0]


def same(one: State, other: State) -> None:
    assert one.meta == other.meta
    assert set(one.tensors) == set(other.tensors)
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(tensor, other.tensors[name], err_msg=name)


def test_before_the_first_trial_the_state_is_as_without_and_one_made_without_is_read() -> None:
    log = linear(PHASE - BY, 1)

    state = learned(ridge(), log).state()

    assert not any(name.startswith("alone.") for name in state.tensors)
    assert "alone" not in state.meta
    same(state, learned(ridge(), log).state())
    old = ridge()
    old.restore(state)
    assert not old._alone.involved


@pytest.mark.parametrize("before", [2 * PHASE - BY, 4 * PHASE])
def test_a_learner_that_has_held_trials_and_is_set_back_goes_on_as_a_new_one(before: int) -> None:
    log, early = linear(4 * PHASE, 1), learned(ridge(), linear(PHASE // 2, 3)).state()
    used, fresh = learned(ridge(), log[:before]), ridge()

    for learner in (used, fresh):
        learner.restore(early)
        learned(learner, log)

    same(used.state(), fresh.state())


def test_a_state_in_which_random_features_rested_is_refused_where_they_may_not() -> None:
    state = learned(ridge(), linear(4 * PHASE, 1)).state()

    with pytest.raises(ValueError, match="rest_expansion = not set, expected False"):
        ridge(rest_expansion=False).restore(state)
