"""Ridge with its sums on a device: the battery, the processor's numbers, and what is copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.models.devices.stand_ins import (
    Imagined,
    Processor,
    first_and_others,
    instead_of_a_gpu,
    kind_of_gpu,
    pretended,
)
from tests.models.ridge import test_learner as cases
from thalweg.memory.devices.device import COPIES
from thalweg.memory.devices.failures import DeviceFailed
from thalweg.models.contract.capabilities import computed_on
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.models.ridge.placing import gains_from_gpu
from thalweg.proto.event import Batch
from thalweg.proto.schema import TensorSpec


@pytest.fixture(autouse=True)
def _on_processor() -> Iterator[None]:
    with instead_of_a_gpu(Processor):
        yield


def ridge(device: str = "cuda", **params: Any) -> Ridge:
    return Ridge(LearnerContext(inputs=cases.INPUTS, params=params, seed=3, device=device))


class OnDevice:
    """The battery of the processor, on a device."""

    def new(self) -> Learner:
        learner = super().new()  # type: ignore[misc]
        return Ridge(replace(_context(learner), device="cuda"))

    def other(self) -> Learner:
        learner = super().other()  # type: ignore[misc]
        return Ridge(replace(_context(learner), device="cuda"))


def _context(learner: Ridge) -> LearnerContext:
    return LearnerContext(
        inputs=learner.schema.inputs, params=learner.params.model_dump(exclude_unset=True), seed=learner._seed
    )


class TestContract(OnDevice, cases.TestContract):
    pass


class TestContractAsPublished(OnDevice, cases.TestContractAsPublished):
    pass


class TestContractWhileClassesAreAway(OnDevice, cases.TestContractWhileClassesAreAway):
    pass


class TestContractRegression(OnDevice, cases.TestContractRegression):
    pass


# The processor's numbers

VARIANTS: list[dict[str, Any]] = [
    {"solver": "cholesky"},
    {"solver": "cholesky", **cases.AS_PUBLISHED},
    {"solver": "cholesky", "balance": "pseudo_features", "expansion": 20},
    {"solver": "cholesky", "balance": "reweighted", "expansion": 20},
    {"solver": "cholesky", "expansion": 150, "forgetting": [0.999, 0.97]},  # wide enough for the penalty to grow
    {"solver": "cholesky", "standardise": "solved", "half_life_seconds": 50.0, "balance": "reweighted"},
    {"solver": "cholesky", "standardise": "solved", "forgetting": 1, "expansion": 150},
]
BATCHES = [cases.batch(150, seed, (name,)) for seed, name in enumerate("abc")] + [
    cases.batch(n, 9 + n, weights=n % 2 == 0) for n in (20, 1, 64, 33)
]


@pytest.mark.parametrize("params", VARIANTS)
def test_the_state_is_that_of_the_processor_up_to_rounding(params: dict[str, Any]) -> None:
    there, here = ridge(**params), ridge("cpu", **params)

    for each in BATCHES:
        there.learn(each)
        here.learn(each)

    assert (computed_on(there), computed_on(here)) == (kind_of_gpu(), "")
    got, wanted = there.state(), here.state()
    assert got.meta == wanted.meta
    assert got.tensors.keys() == wanted.tensors.keys()
    for name, array in wanted.tensors.items():
        assert (got.tensors[name].shape, got.tensors[name].dtype) == (array.shape, array.dtype), name
        if "gram" in name:  # of the other triangle nothing is used, and the processor leaves there what it likes
            array, got.tensors[name] = np.tril(array), np.tril(got.tensors[name])
        size = np.abs(array).max(initial=0.0)
        np.testing.assert_allclose(got.tensors[name], array, rtol=1e-7, atol=1e-9 * size, err_msg=name)


@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu")])
@pytest.mark.parametrize("params", [*VARIANTS, {}, {"solver": "recursive", "forgetting": 1, "expansion": 20}])
def test_a_state_of_either_goes_on_on_the_other(first: str, then: str, params: dict[str, Any]) -> None:
    made, other, stays = ridge(first, **params), ridge(then, **params), ridge(first, **params)
    for each in BATCHES[:5]:
        made.learn(each)
        stays.learn(each)

    other.restore(made.state())

    for each in BATCHES[5:]:
        stays.learn(each)
        other.learn(each)
    other.refresh()  # on the processor some heads are updated by steps, with another penalty
    stays.refresh()
    wanted = stays.predictor().predict(BATCHES[0].inputs)["scores"]
    np.testing.assert_allclose(other.predictor().predict(BATCHES[0].inputs)["scores"], wanted, rtol=1e-4, atol=1e-5)


# What is copied, and kept


def test_copies_do_not_grow_with_the_events_of_a_micro_batch() -> None:
    learner = ridge(standardise=False, solver="cholesky", keep_absent=False, forgetting=[0.999, 0.99])
    learner.learn(cases.batch(200, 1))
    copied = []

    for count in (100, 400, 1600):
        before = COPIES.to, COPIES.back
        learner.learn(cases.batch(count, count))
        copied.append((COPIES.to - before[0], COPIES.back - before[1]))

    assert len(set(copied)) == 1, copied
    to, back = copied[0]
    assert to == 2 + 2, "features and targets, and the ages' weights of each decay"
    assert back <= 2 * (1 + 1 + 1 + 1 + 2), (
        "of each decay: diagonal, corner, whether definite, head; sums of the inputs"
    )


def test_a_budget_that_does_not_suffice_is_said_with_both_numbers() -> None:
    with pytest.raises(DeviceFailed, match=r"cuda:0: the model needs \d+ MB, device_bytes allows 1 MB"):
        Ridge(LearnerContext(inputs=cases.INPUTS, params={"expansion": 1000}, device="cuda", device_bytes=1_000_000))


@pytest.mark.parametrize(
    ("width", "params", "gains"),
    [
        (300, {}, False),
        (400, {}, True),
        (511, {"expansion": 0}, True),
        (510, {"expansion": 0}, False),
        (10, {"expansion": 512, "direct": False}, True),
        (4000, {"balance": "reweighted"}, False),
        (4000, {"gama": 1}, False),
    ],
)
def test_who_gains_from_a_gpu_is_told_by_the_number_of_features(
    width: int, params: dict[str, Any], gains: bool
) -> None:
    assert gains_from_gpu(LearnerContext(inputs={"x": TensorSpec("x", "float32", (width,))}, params=params)) == gains


# Without numbers


def learned_and_asked(device_batches: list[Batch], **params: Any) -> None:
    learner = ridge(**params)
    for each in device_batches:
        learner.learn(each)
        learner.predictor().predict(each.inputs)
    learner.raise_forgetting(2.0, 3)
    other = ridge(**params)
    other.restore(learner.state())
    other.learn(device_batches[0])


@pytest.mark.parametrize("params", first_and_others(VARIANTS))
def test_nothing_meets_a_tensor_of_another_device(params: dict[str, Any]) -> None:
    with pretended():
        learned_and_asked(BATCHES[:4], **params)


@pytest.mark.parametrize("params", first_and_others(VARIANTS))
def test_shapes_fit_where_there_are_no_numbers(params: dict[str, Any]) -> None:
    with instead_of_a_gpu(Imagined, "meta"):
        learned_and_asked(BATCHES[:4], **params)
