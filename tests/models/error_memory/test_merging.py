"""Memories of several shards as one: entries and hypotheses exactly, the network roughly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.contract.merging import merge_mistakes
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.models.error_memory.sharing.merging import entries_of_ring
from thalweg.models.error_memory.slow_model import below
from thalweg.models.error_memory.turns import TurnFilter, weighed_anew
from thalweg.proto.event import Batch, NumberLabels, Places
from thalweg.proto.records import Partition
from thalweg.proto.schema import TensorSpec

INPUTS = {name: TensorSpec(name, "int64", ()) for name in ("user", "item")}
PARAMS: dict[str, Any] = {"dim": 4, "hidden": "8-4", "train_batch": 8, "turn_events": 20, "memory_bytes": 12_000}
EVENTS = 150
ENTRY = ("user", "item", "key", "label", "time", "id", "partition", "offset")


def new(**params: Any) -> ErrorMemory:
    return ErrorMemory(LearnerContext(inputs=INPUTS, params={**PARAMS, **params}, seed=0))


def events(seed: int, equal_times: bool = False) -> Batch:
    """In the order of their times, from one partition for each user, as a log with keys has them."""
    random = np.random.default_rng(seed)
    user, item = random.integers(0, 20, EVENTS), random.integers(0, 10, EVENTS)
    labels = (random.random(EVENTS) < np.where(item % 2, 0.9, 0.1)).astype(np.float64)
    times = 1e9 + (np.arange(EVENTS) // 10 if equal_times else np.arange(EVENTS).astype(np.float64))
    places = Places(
        tuple(Partition("t", number) for number in range(4)), (user % 4).astype(np.int32), np.arange(EVENTS)
    )
    ids = [f"e{number:04}" for number in range(EVENTS)]
    return Batch(
        {"user": user, "item": item}, NumberLabels(labels[:, None]), np.ones(EVENTS), times, ids, None, places=places
    )


def taught(log: Batch, learner: ErrorMemory | None = None, size: int = 7) -> ErrorMemory:
    learner = learner or new()
    for start in range(0, len(log), size):
        learner.learn(log[start : start + size])
    return learner


def shards_of(log: Batch, count: int, **params: Any) -> list[State]:
    of = log.inputs["user"] % 4 % count
    return [taught(log.take(np.flatnonzero(of == number)), new(**params)).state() for number in range(count)]


def merged(states: list[State], **params: Any) -> ErrorMemory:
    learner = new(**params)
    for state in states:
        learner.merge(state)
    return learner


def entries(learner: ErrorMemory) -> dict[str, Any]:
    return entries_of_ring(below(learner.state().tensors, "ring."))


LIMITS: dict[str, dict[str, Any]] = {
    "capacity": {},
    "age": {"memory_bytes": 40_000, "ttl_seconds": 60.0},
    "entries per key": {"memory_bytes": 40_000, "per_key": 3},
}


@settings(max_examples=8)
@pytest.mark.parametrize("limit", LIMITS)
@given(seed=st.integers(0, 99), count=st.integers(1, 4), order=st.integers(0, 9))
def test_the_memory_of_all_shards_is_that_of_one_learner_in_the_order_of_time(
    limit: str, seed: int, count: int, order: int
) -> None:
    log, params = events(seed), LIMITS[limit]
    states = shards_of(log, count, **params)

    together = entries(merged([states[n] for n in np.random.default_rng(order).permutation(count)], **params))

    one = entries(taught(log, new(**params)))
    assert 0 < len(one["time"]) < EVENTS  # the limit is met
    for name in ENTRY:
        np.testing.assert_array_equal(together[name], one[name], err_msg=name)


def test_of_equal_times_the_place_in_the_log_decides_whatever_is_merged_first() -> None:
    states = shards_of(events(3, equal_times=True), 4)

    one, other = (entries(merged([states[n] for n in order])) for order in ((0, 1, 2, 3), (3, 1, 0, 2)))

    for name in (*ENTRY, "base", "evidence"):
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@settings(max_examples=20)
@given(seed=st.integers(0, 999))
def test_hypotheses_weighed_by_all_entries_are_those_of_a_filter_that_saw_them_one_by_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, opened = 160, [40, 80, 120]
    items, evidence = random.integers(0, 12, count), random.normal(0.3, 1.5, count)
    one_by_one = TurnFilter()
    for at in range(count):
        if at in opened:
            one_by_one.open(at, 0)
        starts = one_by_one.reading().starts
        agreement = np.array([evidence[start:at][items[start:at] == items[at]].sum() for start in starts])
        one_by_one.learn(agreement[None, :], items[at : at + 1], evidence[at : at + 1])

    starts, weights = weighed_anew(np.array(opened), items, evidence, 0)

    wanted = one_by_one.tensors()
    np.testing.assert_array_equal(starts, wanted["starts"])
    np.testing.assert_allclose(weights, wanted["log_weights"], rtol=1e-9, atol=1e-9)


def test_an_empty_shard_adds_nothing_and_an_empty_model_becomes_what_it_is_merged_with() -> None:
    state = taught(events(1)).state()

    one, other = merged([state]), merged([new().state(), state, new().state()])

    assert one.state().sha256() == other.state().sha256() == state.sha256()


def scores(learner: ErrorMemory) -> NDArray[np.float64]:
    every = np.stack(np.meshgrid(np.arange(20), np.arange(10)), axis=-1).reshape(-1, 2)
    found = learner.predictor().predict({"user": every[:, 0], "item": every[:, 1]})["score"]
    return found.astype(np.float64)


def test_answers_are_near_those_of_one_learner_and_nearer_than_those_of_a_shard() -> None:
    """Networks are averaged, which is not exact."""
    log = events(5)
    states = shards_of(log, 2, memory_bytes=40_000)

    one = scores(taught(log, new(memory_bytes=40_000)))
    together = np.abs(scores(merged(states, memory_bytes=40_000)) - one).mean()
    alone = [np.abs(scores(merged([state], memory_bytes=40_000)) - one).mean() for state in states]

    assert together < 0.1
    assert together < min(alone)


def test_numbers_are_scaled_by_the_events_of_all_shards() -> None:
    specs = {**INPUTS, "numeric": TensorSpec("numeric", "float32", (2,))}

    def learner() -> ErrorMemory:
        return ErrorMemory(LearnerContext(inputs=specs, params=PARAMS, seed=0))

    log = events(4)
    x = np.random.default_rng(0).normal([5.0, -300.0], [2.0, 50.0], (EVENTS, 2)).astype(np.float32)
    log = Batch({**log.inputs, "numeric": x}, log.labels, log.weights, log.times, log.ids, None, places=log.places)
    part = EVENTS // 2 // 8 * 8
    shards = [taught(log[:part], learner()), taught(log[part : 2 * part], learner())]
    together = learner()
    for one in shards:
        together.merge(one.state())

    scale = below(together.state().tensors, "scale.")

    np.testing.assert_allclose(scale["shift"], x[: 2 * part].mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(1 / scale["factor"], x[: 2 * part].std(axis=0), rtol=1e-4)
    assert together.state().meta["scale"][0] == 2 * part


def test_states_of_other_parameters_are_refused_and_nothing_changes() -> None:
    mine, state = taught(events(1)), taught(events(2), new(dim=8)).state()
    before = mine.state().sha256()

    with pytest.raises(ValueError, match="dim: expected 4, got 8"):
        mine.merge(state)

    assert mine.state().sha256() == before


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"views": "user+item+key"}, "views"),
        ({"combine": "fixed"}, "combine"),
        ({"memory": "sketch"}, "memory"),
        ({"slot_events": 64}, "slot_events"),
    ],
)
def test_what_each_shard_learns_for_itself_cannot_be_merged(params: dict[str, Any], key: str) -> None:
    assert list(merge_mistakes("error_memory", params) or {}) == [key]
    assert not merge_mistakes("error_memory", {})
    with pytest.raises(ValueError, match=key):
        new(**params).merge(new(**params).state())


def test_what_was_merged_learns_on_and_is_restored_like_any_other() -> None:
    one, other = merged(shards_of(events(1), 3)), new()
    other.restore(one.state())

    for learner in (one, other):
        taught(events(8), learner)

    assert one.state().sha256() == other.state().sha256()
    assert np.isfinite(scores(one)).all()
