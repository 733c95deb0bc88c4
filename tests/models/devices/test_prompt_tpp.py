"""The point process with its networks on a device."""

from __future__ import annotations

from typing import Any

import pytest

from tests.models.devices.stand_ins import (
    Imagined,
    Processor,
    assert_same_state,
    first_and_others,
    instead_of_a_gpu,
    kind_of_gpu,
    pretended,
)
from tests.models.prompt_tpp import test_learner as cases
from thalweg.memory.devices.device import COPIES
from thalweg.models.contract.capabilities import computed_on
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.prompt_tpp.learner import PromptTpp
from thalweg.models.prompt_tpp.predictor import KEY

VARIANTS: list[dict[str, Any]] = [
    {},
    {"base": "nhp", "head": "intensity"},
    {"base": "attentive", "head": "intensity", "pool_scope": "per_layer"},
    {"base": "attentive", "prompts": 0},
    {"base": "nhp", "reseed_events": 8},
]
BATCHES = [cases.events(count, start=1000.0 * number) for number, count in enumerate((60, 40, 50))]


def learner(device: str = "cuda", **params: Any) -> PromptTpp:
    return PromptTpp(LearnerContext(inputs=KEY, params={**cases.SMALL, **params}, seed=1, device=device))


@pytest.fixture
def _on_processor() -> Any:
    with instead_of_a_gpu(Processor):
        yield


@pytest.mark.usefixtures("_on_processor")
class TestContract(cases.Contract):
    def new(self) -> Learner:
        return learner()

    def other(self) -> Learner:
        return learner(max_types=6)


@pytest.mark.usefixtures("_on_processor")
@pytest.mark.parametrize("params", VARIANTS)
def test_what_is_learned_is_what_the_processor_learns(params: dict[str, Any]) -> None:
    there, here = learner(**params), learner("cpu", **params)

    for each in BATCHES:
        there.learn(each)
        here.learn(each)

    assert (computed_on(there), computed_on(here)) == (kind_of_gpu(), "")
    got, wanted = there.state(), here.state()
    assert got.meta == wanted.meta
    assert got.meta["counts"]["events"] == 150
    assert_same_state(got, wanted)


@pytest.mark.usefixtures("_on_processor")
def test_copies_do_not_grow_with_the_events_of_a_step() -> None:
    copied = []
    for size in (8, 32):
        one = learner(train_batch=size, reseed_events=0)
        for each in BATCHES[:2]:
            one.learn(each)
        before = COPIES.to, COPIES.back, one.state().meta["counts"]
        to, back = COPIES.to, COPIES.back
        one.learn(cases.events(4 * size, start=9000.0))
        steps = _steps(one) - _steps_of(before[2])
        copied.append(((COPIES.to - to) / steps, (COPIES.back - back) / steps))

    assert copied[0] == copied[1]
    assert copied[0][0] == 7, "histories of four arrays, gaps, types, silence"


def _steps(one: PromptTpp) -> int:
    return _steps_of(one.state().meta["counts"])


def _steps_of(counts: dict[str, Any]) -> int:
    return sum(each["steps"] for each in counts.values() if isinstance(each, dict))


def learned_and_asked(**params: Any) -> None:
    one = learner(**params)
    for each in (cases.events(20), cases.events(4, start=1000.0)):
        one.learn(each)
        one.predictor().predict(each.inputs)
    assert one.state().meta["unit"] is not None, "no step was made"
    other = learner(**params)
    other.restore(one.state())
    other.learn(cases.events(8, start=9000.0))


@pytest.mark.parametrize("params", first_and_others(VARIANTS))
def test_nothing_meets_a_tensor_of_another_device(params: dict[str, Any]) -> None:
    with pretended():
        learned_and_asked(**params)


@pytest.mark.parametrize("params", first_and_others(VARIANTS))
def test_shapes_fit_where_there_are_no_numbers(params: dict[str, Any]) -> None:
    with instead_of_a_gpu(Imagined, "meta"):
        learned_and_asked(**params)
