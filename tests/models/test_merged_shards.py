"""What shards have learned, merged, is what one learner of all events has learned: to 1e-9, whatever came where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.models.columns.samples import ORDER_FREE, inputs_of
from thalweg.memory.snapshots.state import State
from thalweg.models.calibration.calibrated import calibrated
from thalweg.models.columns.make import make_learner
from thalweg.models.columns.settings import columns_of
from thalweg.models.contract.capabilities import Mergeable, capability
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.proto.event import Batch, ClassLabels, NumberLabels, join
from thalweg.proto.schema import TensorSpec, column_specs

INPUTS = {"features": TensorSpec("features", "float64", (4,))}
PLAIN: dict[str, Any] = {"forgetting": 1, "standardise": "solved", "expansion": 8}
HALF_LIFE: dict[str, Any] = {"half_life_seconds": 40.0, "standardise": "solved", "expansion": 8}
NAMES = ("a", "b", "c", "rare")
EVENTS = 120

RIDGES = {
    "ridge": PLAIN,
    "ridge, plain inputs": {"forgetting": 1, "standardise": False, "expansion": 8},
    "ridge, half-life": HALF_LIFE,
    "ridge, half-life, reweighted": {**HALF_LIFE, "balance": "reweighted"},
    "ridge, half-life, moments of classes": {**HALF_LIFE, "balance": "pseudo_features", "pseudo_noise": 0.0},
}
REGRESSIONS = {"ridge, numbers": PLAIN, "ridge, numbers, half-life": HALF_LIFE}
MEANS: dict[str, dict[str, Any]] = {
    "means": {},
    "means, half-life": {"half_life_seconds": 40.0},
    "means, plain, half-life": {"half_life_seconds": 40.0, "covariance": "none", "priors": "frequency"},
}


def events(seed: int, *, numbers: bool = False, alike: bool = False) -> Batch:
    """Events with weights and times; the class `rare` comes late. `alike`: all inputs are of one size."""
    random = np.random.default_rng([seed, 5])
    codes = random.integers(0, 3, EVENTS).astype(np.int32)
    codes[-10::3] = 3
    x = random.standard_normal((EVENTS, 4)) + codes[:, None]
    if not alike:
        x = x * [1.0, 30.0, 0.01, 1.0] + [0.0, 500.0, 0.0, 0.0]
    labels: ClassLabels | NumberLabels = ClassLabels(codes, NAMES)
    if numbers:
        labels = NumberLabels(1e5 + x[:, :1] * 3 + random.standard_normal((EVENTS, 1)))
    times = 1.7e9 + np.arange(EVENTS) + random.normal(0, 30.0, EVENTS)  # far from in order
    return Batch({"features": x}, labels, random.uniform(0.5, 2.0, EVENTS), times)


def new(name: str, **params: Any) -> Learner:
    return make_learner(name, LearnerContext(inputs=INPUTS, params=params, seed=3))


def taught(learner: Learner, log: Batch, cuts: Sequence[int]) -> Learner:
    start = 0
    for size in [*cuts, len(log)]:
        if len(part := log[start : start + size]):
            learner.learn(part)
        start += size
    return learner


def merged(into: Learner, states: Sequence[State]) -> Learner:
    mergeable = capability(into, Mergeable)
    assert mergeable is not None
    for state in states:
        mergeable.merge(state)
    return into


def head_of(learner: Learner) -> tuple[NDArray[np.float64], list[str]]:
    """What a linear predictor multiplies with, (D, C) in the order of the names of its classes, and these."""
    predictor = learner.predictor()
    tensors = predictor.state().tensors
    order = [*np.argsort(predictor.classes)] if predictor.classes else [*range(tensors["head"].shape[1])]
    rows = [tensors["head"][:, order]]
    if "offset" in tensors:
        rows += [np.atleast_2d(tensors["offset"])[:, order], np.repeat(tensors["centre"][:, None], len(order), 1)]
    return np.concatenate(rows), sorted(predictor.classes)


def assert_same_head(one: Learner, other: Learner) -> None:
    (mine, names), (theirs, known) = head_of(one), head_of(other)
    assert names == known
    scale = np.abs(theirs).max(axis=1, keepdims=True)  # of each feature's weights
    np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9 * float(scale.max()))
    assert (np.abs(mine - theirs) <= 1e-9 * np.maximum(scale, 1e-12 * scale.max())).all()


SPLITS = st.tuples(st.integers(1, 4), st.integers(0, 99), st.lists(st.integers(1, 40), max_size=6))


def shards_and_one(name: str, params: dict[str, Any], log: Batch, split: Any) -> tuple[Learner, Learner]:
    """Shards merged, and one learner that saw all events in another order, solved from the same sums."""
    count, seed, cuts = split
    random = np.random.default_rng(seed)
    of = random.integers(0, count, len(log))
    shuffled, again = random.permutation(len(log)), random.permutation(len(log))
    shards = [taught(new(name, **params), log.take(shuffled[of[shuffled] == shard]), cuts) for shard in range(count)]
    order = random.permutation(count)
    together = merged(new(name, **params), [shards[shard].state() for shard in order])
    one = taught(new(name, **params), log.take(again), cuts[::-1])
    return together, merged(new(name, **params), [one.state()])


@settings(max_examples=15)
@pytest.mark.parametrize("kind", RIDGES)
@given(split=SPLITS)
def test_the_weights_of_merged_ridges_are_those_of_one_that_saw_all(kind: str, split: Any) -> None:
    log = events(split[1], alike=not RIDGES[kind]["standardise"])

    assert_same_head(*shards_and_one("ridge", RIDGES[kind], log, split))


@settings(max_examples=15)
@pytest.mark.parametrize("kind", REGRESSIONS)
@given(split=SPLITS)
def test_the_weights_of_merged_regressions_are_those_of_one_that_saw_all(kind: str, split: Any) -> None:
    params = {**REGRESSIONS[kind], "task": "regression"}

    assert_same_head(*shards_and_one("ridge", params, events(split[1], numbers=True), split))


@settings(max_examples=15)
@pytest.mark.parametrize("kind", MEANS)
@given(split=SPLITS)
def test_merged_means_are_those_of_one_that_saw_all(kind: str, split: Any) -> None:
    assert_same_head(*shards_and_one("nearest_mean", MEANS[kind], events(split[1]), split))


@settings(max_examples=10)
@given(split=SPLITS)
def test_shards_behind_a_feature_stage_and_calibration_merge_to_one_that_saw_all(split: Any) -> None:
    columns = columns_of({**ORDER_FREE, "when": {"kind": "datetime", "trend": False}})
    context = LearnerContext(
        inputs=column_specs(columns),
        columns=columns,
        params={"forgetting": 1, "standardise": "solved", "refresh_events": 1},
        seed=3,
    )

    def learner() -> Learner:
        return calibrated(make_learner("ridge", context))

    count, seed, cuts = split
    random = np.random.default_rng(seed)
    codes = random.integers(0, 3, 90).astype(np.int32)
    log = Batch(inputs_of(columns, 90, seed), ClassLabels(codes, NAMES), np.ones(90), np.zeros(90))
    of = random.integers(0, count, 90)

    shards = [taught(learner(), log.take(of == shard), cuts) for shard in range(count)]
    together = merged(learner(), [shard.state() for shard in shards])
    one = merged(learner(), [taught(learner(), log.take(random.permutation(90)), cuts).state()])

    assert_same_head(together, one)
    answers = together.predictor().predict(log.inputs), one.predictor().predict(log.inputs)
    order = [together.predictor().classes.index(name) for name in one.predictor().classes]
    np.testing.assert_allclose(answers[0]["scores"][:, order], answers[1]["scores"], rtol=0, atol=1e-6)
    assert np.isfinite(answers[0]["probabilities"]).all()


def test_a_merged_ridge_is_the_ridge_solution_under_the_scale_of_all_events() -> None:
    log = events(1)
    params = {**PLAIN, "expansion": 0, "gamma": 2.0}
    halves = [taught(new("ridge", **params), half, []) for half in (log[:50], log[50:])]

    head, names = head_of(merged(new("ridge", **params), [half.state() for half in halves]))

    x, w = log.inputs["features"], log.weights
    mean = w @ x / w.sum()
    scale = np.sqrt(w @ (x - mean) ** 2 / w.sum())
    z = np.c_[(x - mean) / scale, np.ones(len(x))]
    targets = np.array([[NAMES[code] == name for name in names] for code in log.labels.codes], float)  # type: ignore[union-attr]
    solution = np.linalg.solve(z.T @ (z * w[:, None]) + np.diag([2.0] * 4 + [0.0]), z.T @ (targets * w[:, None]))
    np.testing.assert_allclose(head[:4], solution[:4] / scale[:, None], rtol=1e-8)


def test_an_event_half_a_life_older_counts_half_also_if_it_comes_late() -> None:
    log = events(2)
    newest = float(log.times.max())
    by_age = Batch(log.inputs, log.labels, log.weights * 0.5 ** ((newest - log.times) / 40.0), log.times)

    with_half_life = merged(new("ridge", **HALF_LIFE), [taught(new("ridge", **HALF_LIFE), log, [7, 20, 1]).state()])
    weighted = merged(new("ridge", **PLAIN), [taught(new("ridge", **PLAIN), by_age, []).state()])

    assert_same_head(with_half_life, weighted)


def test_after_ten_thousand_half_lives_the_sums_are_those_of_what_came_since() -> None:
    old, new_ = events(3), events(4)
    later = Batch(new_.inputs, new_.labels, new_.weights, new_.times + 10_000 * 40.0)
    for name, params in (("ridge", HALF_LIFE), ("nearest_mean", MEANS["means, half-life"])):
        learner = taught(new(name, **params), join([old, later]), [EVENTS])

        assert_same_head(
            merged(new(name, **params), [learner.state()]),
            merged(new(name, **params), [taught(new(name, **params), later, []).state()]),
        )


@pytest.mark.parametrize("name", ["ridge", "nearest_mean"])
def test_a_class_of_which_all_events_are_ancient_is_known_whether_they_come_in_time_or_late(name: str) -> None:
    params = HALF_LIFE if name == "ridge" else MEANS["means, half-life"]
    old = Batch(events(3).inputs, ClassLabels(np.zeros(EVENTS, np.int32), ("old",)), np.ones(EVENTS), np.zeros(EVENTS))
    late, in_time = taught(new(name, **params), join([events(4), old]), [EVENTS]), new(name, **params)
    taught(in_time, join([old, events(4)]), [EVENTS])

    shards = [taught(new(name, **params), log, []).state() for log in (events(4), old)]
    known = {*late.predictor().classes}

    assert "old" in known
    assert known == {*in_time.predictor().classes} == {*merged(new(name, **params), shards).predictor().classes}


@pytest.mark.parametrize("params", [PLAIN, HALF_LIFE], ids=["plain", "half-life"])
def test_what_is_unlearned_from_merged_shards_has_never_been_learned(params: dict[str, Any]) -> None:
    log = events(6)
    newest = int(log.times.argmax())
    gone = np.array([place for place in range(20, 40) if place != newest])
    kept = np.setdiff1d(np.arange(EVENTS), gone)
    shards = [taught(new("ridge", **params), log[part], []) for part in (slice(0, 30), slice(30, EVENTS))]

    together = merged(new("ridge", **params), [shard.state() for shard in shards])
    together.unlearn(log.take(gone))  # type: ignore[attr-defined]

    assert_same_head(
        together, merged(new("ridge", **params), [taught(new("ridge", **params), log.take(kept), []).state()])
    )


def test_merging_many_shards_solves_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from thalweg.models.ridge.learner import Ridge

    shards = [taught(new("ridge", **PLAIN), events(seed), []).state() for seed in range(5)]
    solved: list[int] = []
    refresh = Ridge.refresh
    monkeypatch.setattr(Ridge, "refresh", lambda self: (solved.append(1), refresh(self)))

    merged(new("ridge", **PLAIN), shards).predictor()

    assert len(solved) == 1


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"forgetting": 0.99, "standardise": False}, "set forgetting = 1, or half_life_seconds"),
        ({"forgetting": 1}, 'set standardise = "solved" or false'),
        ({"half_life_seconds": 5.0}, 'set standardise = "solved" or false'),
        ({**PLAIN, "max_classes": 3}, "more than max_classes = 3 allows"),
    ],
)
def test_a_ridge_that_cannot_be_merged_says_why_and_what_to_set_and_is_not_changed(
    params: dict[str, Any], reason: str
) -> None:
    mine, other = taught(new("ridge", **params), events(1)[:50], []), taught(new("ridge", **params), events(1)[50:], [])
    before, theirs = mine.state().sha256(), other.state()
    if params.get("max_classes"):
        theirs = taught(
            new("ridge", **params),
            Batch(
                events(1).inputs, ClassLabels(np.full(EVENTS, 3, np.int32), NAMES), np.ones(EVENTS), np.zeros(EVENTS)
            ),
            [],
        ).state()

    with pytest.raises(ValueError, match=reason):
        merged(mine, [theirs])

    assert mine.state().sha256() == before


def test_a_shard_whose_forgetting_was_raised_is_not_merged() -> None:
    raised = taught(new("ridge", **PLAIN), events(1), [])
    raised.raise_forgetting(4.0, 100)  # type: ignore[attr-defined]

    with pytest.raises(ValueError, match="forgetting was raised"):
        merged(new("ridge", **PLAIN), [raised.state()])


@settings(max_examples=8)
@given(split=SPLITS)
def test_bottlenecks_with_common_keys_merge_to_one_that_saw_all(split: Any, tmp_path_factory: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "keys.npy"
    if not file.exists():
        np.save(file, events(1, alike=True).inputs["features"])
    params = {"key_file": str(file), "values": "counts", "heads": 4, "pairs": 8, "key_steps": 3}

    together, one = shards_and_one("bottleneck", params, events(split[1], alike=True), split)

    asked, order = (
        events(7, alike=True).inputs,
        [together.predictor().classes.index(n) for n in one.predictor().classes],
    )
    scores = [learner.predictor().predict(asked)["scores"] for learner in (together, one)]
    np.testing.assert_allclose(scores[0][:, order], scores[1], rtol=0, atol=1e-6)


@given(st.permutations(range(4)))
def test_calibrations_are_averaged_whatever_the_order_in_which_they_are_merged(order: list[int]) -> None:
    def learner() -> Any:
        return calibrated(new("ridge", **PLAIN, refresh_events=1))

    states = [taught(learner(), events(seed), [10, 20, 40]).state() for seed in range(4)]
    first, again = merged(learner(), states), merged(learner(), [states[number] for number in order])

    one: Any = first
    two: Any = again
    assert sorted(one.classes) == sorted(two.classes)
    mine = one.calibration.tensors()
    theirs = two.over(two.calibration, two.classes, one.classes).tensors()
    for name, tensor in mine.items():
        np.testing.assert_allclose(tensor, theirs[name], rtol=1e-9)


def test_columns_of_a_mean_of_a_billion_keep_their_digits_whatever_each_shard_counts_from() -> None:
    log = events(8, alike=True)
    far = Batch({"features": log.inputs["features"] + [1e9, 0.0, -1e7, 0.0]}, log.labels, log.weights, log.times)
    params = {**PLAIN, "expansion": 0}
    near = merged(new("ridge", **params), [taught(new("ridge", **params), log, []).state()])

    halves = [taught(new("ridge", **params), half, []) for half in (far[:50], far[50:])]
    together = merged(new("ridge", **params), [half.state() for half in halves])

    np.testing.assert_allclose(head_of(together)[0][:4], head_of(near)[0][:4], rtol=1e-6)


def test_a_state_written_before_there_was_a_half_life_is_read() -> None:
    for name in ("ridge", "nearest_mean"):
        state = taught(new(name), events(1), []).state()

        assert "half_life_seconds" not in state.meta["identity"]["params"]
