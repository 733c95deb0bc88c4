"""What a learner is made of."""

from __future__ import annotations

import dataclasses

import pytest

from thalweg.models.contract.devices import placed
from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.ops.config.model import InputConfig, ModelConfig
from thalweg.proto.schema import TensorSpec


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_learner_is_told_a_device_never_auto(device: str) -> None:
    assert LearnerContext(inputs={}, device=device).device == "cpu"


@pytest.mark.parametrize(("device", "told"), [("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:12", "cuda:12")])
def test_a_learner_is_told_which_gpu(device: str, told: str) -> None:
    assert LearnerContext(inputs={}, device=device).device == told


@pytest.mark.parametrize("device", ["tpu", "", "CUDA", "cuda:", "cuda:-1", "cuda:01", "cuda:1.5", " cpu", "cuda:0\n"])
def test_what_is_no_device_is_refused_by_its_key(device: str) -> None:
    with pytest.raises(ParamsError, match="expected auto, cpu, cuda or cuda:N, got") as told:
        LearnerContext(inputs={}, device=device)

    assert list(told.value.mistakes) == ["device"]


class Gains:
    """A factory whose learners gain from a GPU from three inputs on."""

    takes_device = True

    @staticmethod
    def gains_from_gpu(context: LearnerContext) -> bool:
        return len(context.inputs) >= 3


SPECS = {name: TensorSpec(name, "float32", ()) for name in "abc"}


@pytest.mark.parametrize(
    ("factory", "asked", "inputs", "found"),
    [
        (Gains, {"spare_gpu": "cuda:0"}, 3, "cuda:0"),
        (Gains, {"spare_gpu": "cuda:0"}, 2, "cpu"),
        (Gains, {}, 3, "cpu"),
        (Gains, {"device": "cuda:1"}, 0, "cuda:1"),
        (object(), {"device": "cuda:1"}, 3, "cpu"),
        (object(), {"spare_gpu": "cuda:0"}, 3, "cpu"),
    ],
)
def test_a_spare_gpu_is_for_who_gains_from_it_and_a_named_one_for_who_can_use_it(
    factory: object, asked: dict[str, str], inputs: int, found: str
) -> None:
    context = LearnerContext(inputs=dict(list(SPECS.items())[:inputs]), **asked)

    given = placed(factory, context)

    assert (given.device, given.spare_gpu) == (found, "")


def test_a_context_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LearnerContext(inputs={}).seed = 3  # type: ignore[misc]


def test_what_a_model_is_configured_with_reaches_its_learner() -> None:
    model = ModelConfig(
        name="m",
        learner="ridge",
        topic="t",
        inputs={"x": InputConfig(shape=[3], dtype="float32")},
        params={"expansion": 0},
        seed=7,
        device="cpu",
    )

    context = model.context()

    assert (context.inputs, context.params, context.seed, context.device) == (
        model.specs(),
        {"expansion": 0},
        7,
        "cpu",
    )
