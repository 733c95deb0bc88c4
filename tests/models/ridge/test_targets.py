"""Targets far from zero, and single targets far from all others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.models.ridge.targets import IN_A_ROW, Targets
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import TensorSpec

Floats = NDArray[np.float64]
GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((1500, 4))
Y = X @ np.array([1.0, -2.0, 0.5, 0.0]) + 0.1 * GENERATOR.standard_normal(1500)


def learned(x: Floats, y: Floats, by: int = 50, **params: object) -> Ridge:
    spec = {"x": TensorSpec("x", "float64", (4,))}
    learner = Ridge(LearnerContext(inputs=spec, params={"task": "regression", **params}, seed=0))
    for start in range(0, len(y), by):
        some = slice(start, start + by)
        n = len(y[some])
        learner.learn(Batch({"x": x[some]}, NumberLabels(y[some, None]), np.ones(n), np.zeros(n)))
    return learner


def error(learner: Ridge, offset: float = 0.0) -> float:
    value = learner.predictor().predict({"x": X[1000:]})["value"][:, 0]
    return float(np.sqrt(np.square(value - offset - Y[1000:]).mean()))


@pytest.mark.parametrize("offset", [1e8, 1e9, -1e9])
def test_an_offset_costs_nothing(offset: float) -> None:
    assert error(learned(X[:1000], Y[:1000] + offset), offset) == pytest.approx(
        error(learned(X[:1000], Y[:1000])), rel=1e-3
    )


def test_one_target_of_thousands_of_deviations_hardly_changes_predictions() -> None:
    broken = Y[:1000].copy()
    broken[980] += 3000 * Y.std()

    clean, spoiled = error(learned(X[:1000], Y[:1000])), error(learned(X[:1000], broken))

    assert spoiled < clean + 0.3 * Y.std()
    assert error(learned(X[:1000], broken, target_clip=1e9)) > 3 * Y.std()


def test_a_new_level_is_believed_from_the_fifth_event_on() -> None:
    moved = Y[:1000].copy()
    moved[900:] += 500 * Y.std()

    learner = learned(X[:1000], moved)

    assert error(learner, 500 * float(Y.std())) < 250 * Y.std()  # the fastest decay still remembers a third of the old
    targets = Targets(1, 10.0, centred=True)
    for part in targets.stretches(900):
        targets.take(moved[:900, None][part])
    given = moved[900:920, None] - targets.origin
    taken = targets.take(moved[900:920, None])
    assert (taken[: IN_A_ROW - 1] < given[: IN_A_ROW - 1] / 10).all()
    np.testing.assert_array_equal(taken[IN_A_ROW - 1 :], given[IN_A_ROW - 1 :])


@given(cuts=st.lists(st.integers(1, 40), max_size=8))
def test_what_is_learned_of_a_target_does_not_depend_on_the_cut(cuts: list[int]) -> None:
    values = Y[:300, None].copy()
    values[[50, 120, 121, 122, 123, 124, 125, 250]] += 400.0

    def taken(cuts: list[int]) -> Floats:
        targets, start, found = Targets(1, 10.0, centred=True), 0, []
        for size in [*cuts, 300]:
            some = values[start : start + size]
            start += size
            found += [targets.take(some[part]) for part in targets.stretches(len(some))]
        return np.concatenate(found)

    np.testing.assert_allclose(taken(cuts), taken([]), rtol=1e-9, atol=1e-9)


def test_sums_that_can_be_merged_take_targets_as_they_are_and_count_from_one_origin() -> None:
    plain = {"forgetting": 1, "standardise": False, "expansion": 0, "gamma": 1.0}
    y = Y[:600] + 1e6
    y[300] += 1e5
    joint = learned(X[:600], y, **plain)
    one, other = learned(X[:300], y[:300], **plain), learned(X[300:600], y[300:], **plain)

    one.merge(other.state())

    asked = {"x": X[:20]}
    np.testing.assert_allclose(
        one.predictor().predict(asked)["value"], joint.predictor().predict(asked)["value"], rtol=1e-10
    )
