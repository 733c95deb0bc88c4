"""Test-time adaptation with network, optimiser, statistics and views on a device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.memory.devices.gpus import pretend
from tests.models.cotta import test_learner as cases
from tests.models.devices.stand_ins import (
    REAL,
    Imagined,
    Processor,
    assert_same_state,
    first_and_others,
    gpu,
    instead_of_a_gpu,
    kind_of_gpu,
    pretended,
)
from thalweg.memory.devices.device import COPIES, Device, beside
from thalweg.memory.devices.failures import DeviceFailed
from thalweg.memory.snapshots.state import State
from thalweg.models.columns.make import predictor_maker
from thalweg.models.contract.capabilities import computed_on
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError, Predictor
from thalweg.models.cotta.learner import Cotta
from thalweg.models.cotta.params import gains_from_gpu
from thalweg.proto.schema import TensorSpec

VARIANTS: list[dict[str, Any]] = [
    {},
    {"variant": "paper", "view_count": 3},
    {"optimizer": "sgd", "learning_rate": 0.01, "window": 4},
    {"reset_steps": 2, "serve_views": 4},
    {"statistics_rows": 0, "belt": False},
]
BATCHES = [cases.pictures(13, seed, labelled=seed != 2) for seed in range(5)]


def learner(device: str = "cuda", **params: Any) -> Cotta:
    return Cotta(LearnerContext(inputs=cases.PICTURE, params={**cases.SMALL, **params}, seed=1, device=device))


@pytest.fixture
def _on_processor() -> Any:
    with instead_of_a_gpu(Processor):
        yield


@pytest.mark.usefixtures("_on_processor")
class TestContract(cases.TestDefault):
    def new(self) -> Learner:
        return learner()

    def other(self) -> Learner:
        return learner(statistics_rows=5)

    def predictor_from(self, state: State) -> Predictor:
        return Cotta.predictor_on(state, gpu())


@pytest.mark.usefixtures("_on_processor")
@pytest.mark.parametrize("params", VARIANTS)
def test_what_is_learned_is_what_the_processor_learns(params: dict[str, Any]) -> None:
    there, here = learner(**params), learner("cpu", **params)

    for each in BATCHES:
        there.learn(each)
        here.learn(each)

    assert (computed_on(there), computed_on(here)) == (kind_of_gpu(), "")
    assert there._counts["steps"] >= 1
    assert_same_state(there.state(), here.state())
    found, wanted = (one.predictor().predict(BATCHES[0].inputs)["scores"] for one in (there, here))
    assert abs(found - wanted).max() < (1e-2 if REAL else 1e-5)  # in tiles of another size


@pytest.mark.usefixtures("_on_processor")
def test_a_step_that_is_taken_back_leaves_what_the_processor_is_left_with() -> None:
    """A guard that trusts nothing: every step goes back."""
    params = {"learning_rate": 0.5, "largest_update": 1e-6, "belt_window": 8, "backoff_steps": 1}
    there, here = learner(**params), learner("cpu", **params)

    for each in BATCHES:
        there.learn(each)
        here.learn(each)

    assert sum(there.gauges()["rollbacks"].values()) > 0  # type: ignore[union-attr]
    assert_same_state(there.state(), here.state())


@pytest.mark.usefixtures("_on_processor")
def test_copies_do_not_grow_with_the_events_of_a_step() -> None:
    copied = []
    for size in (8, 32):
        one = learner(adapt_batch=size, follow_batch=size, belt=False, least_information=1.0)
        one.learn(cases.pictures(size))
        to, back = COPIES.to, COPIES.back
        one.learn(cases.pictures(size, 1))
        copied.append((COPIES.to - to, COPIES.back - back))

    assert copied[0] == copied[1]


def learned_and_asked(**params: Any) -> None:
    one = learner(**params)
    for each in BATCHES[:2]:
        one.learn(each)
        one.predictor().predict(each.inputs)
    one.predictor().state()
    other = learner(**params)
    other.restore(one.state())
    other.learn(BATCHES[2])


@pytest.mark.parametrize("params", first_and_others(VARIANTS))
def test_nothing_meets_a_tensor_of_another_device(params: dict[str, Any]) -> None:
    with pretended():
        learned_and_asked(**params)


@pytest.mark.parametrize("params", first_and_others(VARIANTS))
def test_shapes_fit_where_there_are_no_numbers(params: dict[str, Any]) -> None:
    with instead_of_a_gpu(Imagined, "meta"):
        learned_and_asked(**params)


def test_a_layer_that_a_gpu_cannot_repeat_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise RuntimeError("grid_sampler_2d_backward_cuda does not have a deterministic implementation, but you set …")

    with instead_of_a_gpu(Processor):
        monkeypatch.setattr(torch.autograd, "grad", refused)
        with pytest.raises(ParamsError) as told:
            learner()

    text = told.value.mistakes["model"]
    assert text.startswith("grid_sampler_2d_backward_cuda of tests.models.small_networks:convolutional gives other")
    assert text.endswith('set device = "cpu"')


def test_what_was_drawn_comes_beside_a_tensor_of_an_open_device_and_of_no_other() -> None:
    drawn, device = torch.ones(3), Device("cuda:0")
    device.where = torch.device("meta")
    device._copied = lambda array: torch.empty(array.shape, device="meta")  # type: ignore[method-assign]

    assert beside(drawn, torch.zeros(1)) is drawn
    assert beside(drawn, torch.empty(1, device="meta")).device.type == "meta"
    del device
    with pytest.raises(DeviceFailed, match="no model has opened it"):
        beside(drawn, torch.empty(1, device="meta"))


@pytest.mark.parametrize(("side", "gains"), [(32, False), (64, True), (224, True)])
def test_large_pictures_gain_from_a_gpu(side: int, gains: bool) -> None:
    inputs = {"image": TensorSpec("image", "float32", (3, side, side))}

    assert gains_from_gpu(LearnerContext(inputs=inputs)) == gains


# Answers of a server


def published(device: str = "cuda", **params: Any) -> tuple[Cotta, Any]:
    """A learner that has adapted, and what makes predictors of its versions in a server."""
    one = learner("cpu", **params)
    one.learn(BATCHES[0])
    context = LearnerContext(inputs=cases.PICTURE, params={**cases.SMALL, **params}, seed=1, device=device)
    return one, predictor_maker("cotta", context)


@pytest.mark.usefixtures("_on_processor")
@pytest.mark.parametrize("params", [{}, {"serve_views": 4}, {"window": 4}])
def test_a_server_answers_there_what_it_answers_with_the_processor(params: dict[str, Any]) -> None:
    one, make = published(**params)
    sent = COPIES.to_bytes

    predictor = make(one.predictor().state())

    assert COPIES.to_bytes - sent >= sum(each.nbytes for each in one._model.parameters())
    wanted = one.predictor().predict(BATCHES[1].inputs)
    together = predictor.predict(BATCHES[1].inputs)
    assert abs(together["scores"] - wanted["scores"]).max() < 1e-4
    alone = predictor.predict({"image": BATCHES[1].inputs["image"][5:6]})
    assert (alone["scores"][0] == together["scores"][5]).all(), "a row does not depend on the others"
    assert predictor.state().sha256() == one.predictor().state().sha256()


def test_a_server_computes_nothing_on_another_device() -> None:
    with pretended():
        one, make = published(serve_views=4, window=4)
        make(one.predictor().state()).predict(BATCHES[1].inputs)


def test_a_version_for_which_there_is_no_room_answers_with_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 90.00 MiB")

    with instead_of_a_gpu(Processor):
        one, make = published()
        monkeypatch.setattr(type(gpu()), "_uploaded", full)

        predictor = make(one.predictor().state())

        wanted = one.predictor().predict(BATCHES[1].inputs)["scores"]
        assert (predictor.predict(BATCHES[1].inputs)["scores"] == wanted).all()


def test_a_server_whose_gpu_has_failed_answers_with_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0)
    one, make = published()

    found = make(one.predictor().state()).predict(BATCHES[1].inputs)["scores"]

    assert (found == one.predictor().predict(BATCHES[1].inputs)["scores"]).all()
