"""Heads by Woodbury steps are those of the sums, however events come; and which events wait is nobody's choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.heads.recursion import LEAST, Recursion, lasts
from thalweg.models.ridge.heads.solve import solve
from thalweg.models.ridge.learner import Ridge
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import TensorSpec

GENERATOR = np.random.default_rng(0)
SIZE, COLUMNS, GAMMA = 12, 3, 0.3
H, Y = GENERATOR.standard_normal((300, SIZE)), GENERATOR.standard_normal((300, COLUMNS))
SMALL = st.lists(st.sampled_from([1, 1, 1, 2, 5]), min_size=20, max_size=60)
ROW_BY_ROW: list[int] = [1] * 160


@given(cuts=SMALL, weights=st.booleans(), decays=st.sampled_from([(1.0,), (0.999, 0.97), (0.9999, 0.99, 0.9)]))
def test_steps_of_any_size_lead_to_the_heads_of_the_sums_with_a_penalty_that_has_faded(
    cuts: list[int], weights: bool, decays: tuple[float, ...]
) -> None:
    w = GENERATOR.uniform(0.5, 2, 300) if weights else np.ones(300)
    members = [Statistics(SIZE, COLUMNS, decay=decay) for decay in decays]
    recursion = Recursion(SIZE, decays)
    heads = recursion.begin(members, lambda _: GAMMA, None)
    start = 0
    for size in cuts:
        part, start = slice(start, start + size), start + size
        if not recursion.has_room(size):
            waiting = recursion.take(classes=False)
            for member in members:
                assert waiting is not None
                member.add(waiting)
            recursion.renew(members, heads, lambda _: GAMMA, None, 64)
        rows = Rows(H[part], Y[part], w[part] if weights else None)
        assert recursion.add(rows, Y[part] - np.matmul(H[part], heads), heads)

    for head, decay, age in zip(heads, decays, recursion.tensors()["ages"].tolist()):
        faded = w[:start] * decay ** np.arange(start - 1, -1, -1)
        gram = H[:start].T @ (faded[:, None] * H[:start])
        wanted = np.linalg.solve(gram + GAMMA * decay**age * np.eye(SIZE), H[:start].T @ (faded[:, None] * Y[:start]))
        np.testing.assert_allclose(head, wanted, rtol=0, atol=1e-9)
        assert decay**age >= LEAST


def test_a_penalty_does_not_fade_below_its_share_before_the_inverse_is_formed_anew() -> None:
    assert 0.97 ** lasts(0.97) >= LEAST > 0.97 ** (lasts(0.97) + 1)
    assert lasts(1.0) > 10**9


def stream(events: int, seed: int, classes: tuple[str, ...] = ("a", "b", "c")) -> Batch:
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, len(classes), events).astype(np.int32)
    x = (generator.standard_normal((events, 5)) * 2 + codes[:, None]).astype(np.float32)
    return Batch({"features": x}, ClassLabels(codes, classes), np.ones(events), np.arange(float(events)))


def ridge(**params: Any) -> Ridge:
    specs = {"features": TensorSpec("features", "float32", (5,))}
    return Ridge(LearnerContext(inputs=specs, params={"expansion": 20, **params}, seed=3))


def learned(parts: list[Batch], *, interrupted: bool = False, **params: Any) -> Ridge:
    """A learner of these micro-batches; interrupted: another one goes on from the state after each."""
    learner = ridge(**params)
    for part in parts:
        learner.learn(part)
        learner.predictor()
        if interrupted:
            state = learner.state()
            learner = ridge(**params)
            learner.restore(State({name: np.array(array) for name, array in state.tensors.items()}, state.meta))
    return learner


def cut(log: Batch, sizes: list[int]) -> list[Batch]:
    ends = np.cumsum(sizes).tolist()
    return [log[end - size : end] for size, end in zip(sizes, ends) if end <= len(log)]


def test_row_by_row_the_heads_of_all_decays_are_those_of_the_sums() -> None:
    log = stream(160, 1)

    learner, sums = learned(cut(log, ROW_BY_ROW)), learned(cut(log, ROW_BY_ROW), solver="cholesky")

    assert learner._recursion.active
    assert not sums._recursion.active
    ages = learner._recursion.tensors()["ages"].tolist()
    for head, member, age in zip(learner._heads, sums._members, ages):
        wanted = solve(member.gram, member.cross, member.decay**age, learner._map.constant)
        np.testing.assert_allclose(head, wanted, rtol=0, atol=1e-8)


@settings(max_examples=15)
@given(sizes=st.lists(st.sampled_from([1, 1, 1, 1, 2, 3, 5, 40]), min_size=30, max_size=60))
@pytest.mark.parametrize("params", [{}, {"forgetting": 0.99, "standardise": False}, {"forgetting": 1}])
def test_wherever_it_is_interrupted_the_state_is_that_of_an_undisturbed_run(
    sizes: list[int], params: dict[str, Any]
) -> None:
    log = stream(400, 2)

    whole, parts = learned(cut(log, sizes), **params), learned(cut(log, sizes), interrupted=True, **params)

    assert parts.state().sha256() == whole.state().sha256()


def test_an_interruption_changes_nothing_while_classes_are_away_and_come_back() -> None:
    names = ("a", "b", "c", "d")
    log = [row for n, name in enumerate("abcab") for row in cut(stream(130, n, (name,)), [1] * 130)]
    log += cut(stream(60, 9, names), [1] * 60)

    whole, parts = learned(log), learned(log, interrupted=True)

    assert parts.state().sha256() == whole.state().sha256()
    sums = learned(log, solver="cholesky")
    whole._sums.settle()
    for one, other in zip(whole._members, sums._members):
        np.testing.assert_allclose(one.cross, other.cross, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        whole._absent.tensors()["excess"], sums._absent.tensors()["excess"], rtol=1e-7, atol=1e-9
    )


def test_looking_at_a_learner_adds_no_event_that_waits() -> None:
    log = stream(50, 3)
    looked, alone = ridge(), ridge()
    for row in cut(log, [1] * 50):
        looked.learn(row)
        alone.learn(row)
        looked.state().sha256()
        looked.gauges()
        looked.predictor().predict(row.inputs)

    assert looked._recursion.waiting == alone._recursion.waiting > 0
    assert looked.state().sha256() == alone.state().sha256()


def test_a_penalty_too_small_for_the_recursion_is_left_to_the_factorisation() -> None:
    params = {"gamma": 1e-9, "forgetting": 0.999, "standardise": False}
    log = cut(stream(60, 4), [1] * 60)

    learner, sums = learned(log, **params), learned(log, solver="cholesky", **params)

    asked = stream(40, 5).inputs
    np.testing.assert_allclose(
        learner.predictor().predict(asked)["scores"], sums.predictor().predict(asked)["scores"], rtol=0, atol=1e-4
    )


def test_numbers_are_learned_row_by_row_as_from_the_sums() -> None:
    generator = np.random.default_rng(5)
    x = generator.standard_normal((120, 5)).astype(np.float32)
    y = 1e6 + x[:, :2].astype(np.float64) * 30 + generator.standard_normal((120, 2))
    log = Batch({"features": x}, NumberLabels(y), np.ones(120), np.arange(120.0))
    params: dict[str, Any] = {"task": "regression", "targets": 2, "expansion": 0, "forgetting": 0.9999}

    learner, sums = (learned(cut(log, [1] * 120), **params, **more) for more in ({}, {"solver": "cholesky"}))

    assert learner._recursion.active
    values = [one.predictor().predict({"features": x})["value"] for one in (learner, sums)]
    np.testing.assert_allclose(values[0], values[1], rtol=0, atol=0.02)
    assert np.abs(values[0] - y).mean() < 2.0
