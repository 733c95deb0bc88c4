"""The error memory and the bottleneck with tables, keys and networks on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.bottleneck import test_learner as keys
from tests.models.devices.stand_ins import (
    REAL,
    Imagined,
    Processor,
    assert_same_state,
    first_and_others,
    instead_of_a_gpu,
    kind_of_gpu,
    pretended,
)
from tests.models.error_memory import test_learner as clicks
from thalweg.memory.devices.device import COPIES
from thalweg.memory.devices.failures import DeviceFailed
from thalweg.memory.snapshots.state import State
from thalweg.models.bottleneck.learner import Bottleneck
from thalweg.models.columns.make import predictor_maker
from thalweg.models.contract.battery.given import stored
from thalweg.models.contract.capabilities import computed_on
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.models.error_memory.slow_model import gains_from_gpu
from thalweg.proto.schema import TensorSpec

VARIANTS: list[dict[str, Any]] = [
    {},
    {"network": "deepfm", "views": "user+item+key"},
    {"network": "mlp", "views": "key", "table_rows": 9},  # rows are evicted
    {"views": "user+item+key", "per_key": 2, "memory_bytes": 6000},  # entries go before their time
]
BATCHES = [clicks.events(count, start=100 * number) for number, count in enumerate((33, 27, 1, 40, 19))]


@pytest.fixture
def _on_processor() -> Any:
    with instead_of_a_gpu(Processor):
        yield


def memory(device: str = "cuda", **params: Any) -> ErrorMemory:
    params = {**clicks.SMALL, **params}
    return ErrorMemory(LearnerContext(inputs=clicks.INPUTS, params=params, seed=3, device=device))


@pytest.mark.usefixtures("_on_processor")
class TestErrorMemory(clicks.Contract):
    params = {"views": "user+item+key"}  # noqa: RUF012

    def new(self) -> Learner:
        return memory(**self.params)

    def test_a_published_predictor_answers_as_the_learner_does(self) -> None:
        if REAL:
            pytest.skip("a server computes the network with the processor: equal up to rounding")
        super().test_a_published_predictor_answers_as_the_learner_does()


def assert_close_state(got: State, wanted: State) -> None:
    if REAL:
        assert_same_state(got, wanted)
        return
    assert got.meta == wanted.meta
    for name, array in wanted.tensors.items():
        assert got.tensors[name].shape == array.shape, name
        if array.dtype.kind == "f":
            np.testing.assert_allclose(got.tensors[name], array, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.usefixtures("_on_processor")
@pytest.mark.parametrize("params", VARIANTS)
def test_a_memory_learns_what_it_learns_with_the_processor(params: dict[str, Any]) -> None:
    there, here = memory(**params), memory("cpu", **params)

    for each in BATCHES:
        there.learn(each)
        here.learn(each)

    assert (computed_on(there), computed_on(here)) == (kind_of_gpu(), "")
    got, wanted = there.state(), here.state()
    assert_close_state(got, wanted)
    asked = clicks.events(50, start=9000).inputs
    for name, answer in here.predictor().predict(asked).items():
        np.testing.assert_allclose(
            there.predictor().predict(asked)[name], answer, rtol=1e-2, atol=1e-2 if REAL else 1e-4
        )


@pytest.mark.usefixtures("_on_processor")
def test_copies_do_not_grow_with_the_events_of_a_step() -> None:
    copied = []
    for size in (16, 64):
        one = memory(train_batch=size, views="user+item+key")
        one.learn(clicks.events(256))
        to, back = COPIES.to, COPIES.back
        one.learn(clicks.events(size, start=9000))
        copied.append((COPIES.to - to, COPIES.back - back))

    assert copied[0] == copied[1]


@pytest.mark.usefixtures("_on_processor")
@pytest.mark.parametrize("params", [{}, {"top_k": 3, "decay": 1.0}, {"values": "gradient"}])
def test_a_bottleneck_is_the_same_to_the_bit_wherever_its_keys_are_searched(params: dict[str, Any]) -> None:
    there, here = (
        Bottleneck(LearnerContext(inputs=keys.INPUTS, params={**keys.SMALL, **params}, seed=3, device=device))
        for device in ("cuda", "cpu")
    )
    sent = COPIES.to

    for seed in range(4):
        there.learn(keys.batch(60, seed))
        here.learn(keys.batch(60, seed))

    assert COPIES.to > sent
    assert there.state().sha256() == here.state().sha256()


@pytest.mark.usefixtures("_on_processor")
class TestBottleneck(keys.TestContract):
    def new(self) -> Learner:
        return Bottleneck(LearnerContext(inputs=keys.INPUTS, params=keys.SMALL, seed=3, device="cuda"))


def learned_and_asked(**params: Any) -> None:
    one = memory(**params)
    for each in (clicks.events(33), clicks.events(9, start=100)):
        one.learn(each)
        one.predictor().predict(each.inputs)
        one.predictor().state()
    other = memory(**params)
    other.restore(one.state())
    other.learn(clicks.events(9, start=9000))


@pytest.mark.parametrize("params", first_and_others(VARIANTS))
def test_nothing_meets_a_tensor_of_another_device(params: dict[str, Any]) -> None:
    with pretended():
        learned_and_asked(**params)


@pytest.mark.parametrize("params", first_and_others(VARIANTS))
def test_shapes_fit_where_there_are_no_numbers(params: dict[str, Any]) -> None:
    with instead_of_a_gpu(Imagined, "meta"):
        learned_and_asked(**params)


def test_keys_meet_no_tensor_of_another_device() -> None:
    with pretended():
        learner = Bottleneck(LearnerContext(inputs=keys.INPUTS, params=keys.SMALL, seed=3, device="cuda"))
        for seed in range(3):
            learner.learn(keys.batch(60, seed))


@pytest.mark.parametrize(
    ("params", "gains"),
    [
        ({}, False),
        ({"train_batch": 4096}, True),
        ({"train_batch": 256}, False),
        ({"views": "key", "memory_bytes": 1 << 30}, True),
        ({"views": "key", "memory_bytes": 1 << 30, "search": "faiss"}, False),
        ({"views": "user", "memory_bytes": 1 << 30}, False),
        ({"train_batch": 0}, False),
    ],
)
def test_a_memory_gains_from_a_gpu_by_large_steps_or_many_keys(params: dict[str, Any], gains: bool) -> None:
    inputs = {"user": TensorSpec("user", "int64", ()), "item": TensorSpec("item", "int64", ())}

    assert gains_from_gpu(LearnerContext(inputs=inputs, params=params)) == gains


# Answers of a server


def versions(place: Path | None) -> tuple[ErrorMemory, Any]:
    """A learner with keys, whose ring may be in a file, and what makes predictors of its versions in a server."""
    params = {**clicks.SMALL, "views": "user+item+key"}
    one = ErrorMemory(LearnerContext(inputs=clicks.INPUTS, params=params, seed=3))
    if place is not None:
        one.place(place)
    return one, predictor_maker("error_memory", LearnerContext(inputs=clicks.INPUTS, params=params, device="cuda"))


@pytest.mark.usefixtures("_on_processor")
@pytest.mark.parametrize("mapped", [False, True])
def test_a_server_finds_there_what_it_finds_with_the_processor(mapped: bool, tmp_path: Path) -> None:
    one, make = versions(tmp_path if mapped else None)
    asked, sent = clicks.events(50, start=9000).inputs, []

    for each in BATCHES:
        one.learn(each)
        before = COPIES.to_bytes
        predictor = make(stored(one.predictor().state()))
        sent.append(COPIES.to_bytes - before)

        wanted = one.predictor().predict(asked)
        before = COPIES.to_bytes
        for name, answer in predictor.predict(asked).items():
            np.testing.assert_array_equal(answer, wanted[name], err_msg=name)
        assert COPIES.to_bytes - before <= 2 * 50 * 4 * 4, "only queries are sent for an answer"
    if mapped:  # one copy for all versions: what was written since
        assert sent == [len(each) * 4 * 4 for each in BATCHES]


@pytest.mark.usefixtures("_on_processor")
def test_a_version_whose_keys_have_no_room_is_searched_with_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise DeviceFailed("cuda:0: no room")

    one, make = versions(None)
    one.learn(BATCHES[0])
    monkeypatch.setattr("thalweg.models.error_memory.predictor.shared_vectors", full)

    predictor = make(one.predictor().state())

    wanted = one.predictor().predict(BATCHES[1].inputs)["score"]
    np.testing.assert_array_equal(predictor.predict(BATCHES[1].inputs)["score"], wanted)


def test_an_older_version_answers_beside_a_newer_one(tmp_path: Path) -> None:
    with instead_of_a_gpu(Processor):
        one, make = versions(tmp_path)
        one.learn(BATCHES[0])
        older, asked = make(stored(one.predictor().state())), clicks.events(20, start=9000).inputs
        wanted = one.predictor().predict(asked)["score"]
        one.learn(BATCHES[1])
        make(stored(one.predictor().state()))

        np.testing.assert_array_equal(older.predict(asked)["score"], wanted)
