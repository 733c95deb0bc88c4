"""What a learner is made of."""

from __future__ import annotations

import dataclasses

import pytest

from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.ops.config.model import InputConfig, ModelConfig


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_learner_is_told_a_device_never_auto(device: str) -> None:
    assert LearnerContext(inputs={}, device=device).device == "cpu"


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tpu", ""])
def test_a_device_that_is_not_offered_is_refused_by_its_key(device: str) -> None:
    with pytest.raises(ParamsError, match="other devices are not offered in this version") as told:
        LearnerContext(inputs={}, device=device)

    assert list(told.value.mistakes) == ["device"]


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
