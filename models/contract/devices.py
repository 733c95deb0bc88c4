"""On which device a learner computes: what was asked for, what its factory can do, and what it would gain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog

from thalweg.memory.devices.failures import DeviceFailed
from thalweg.memory.devices.names import CPU
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import OnDevice
from thalweg.models.contract.learner import LearnerContext, Predictor

log = structlog.get_logger(__name__)

Gains = Callable[[LearnerContext], bool]
"""Whether a learner of this context gains from a GPU. Parameters may be wrong: the learner reports that."""


def takes_device(factory: Any) -> bool:
    """Whether its learners compute on the context's device; others compute on the processor."""
    return bool(getattr(factory, "takes_device", False))


class AlsoOn:
    """The capability `OnDevice` of a learner and of an encoder in front of it."""

    def __init__(self, learner: OnDevice | None, encoder: str) -> None:
        said = ["" if learner is None else learner.computed_on, encoder]
        self.computed_on = "; ".join(dict.fromkeys(one for one in said if one))


def placed(factory: Any, context: LearnerContext) -> LearnerContext:
    """The context with the device on which a learner of this factory computes."""
    if not takes_device(factory):
        return replace(context, device=CPU, spare_gpu="")
    gains: Gains = getattr(factory, "gains_from_gpu", lambda _: False)
    if context.spare_gpu and context.device == CPU and gains(context):
        return replace(context, device=context.spare_gpu, spare_gpu="")
    return replace(context, spare_gpu="") if context.spare_gpu else context


def predictors_of(factory: Any, context: LearnerContext) -> Callable[[State], Predictor]:
    """Makes a predictor of each published version: on the context's device if the factory has `predictor_on`, and on
    the processor where the device has failed or has no room; then answers are the same up to rounding.
    """
    on_processor: Callable[[State], Predictor] = factory.predictor_from
    name = placed(factory, context).device
    if name == CPU or not hasattr(factory, "predictor_on"):
        return on_processor
    from thalweg.memory.devices.device import Device

    try:
        device = Device.open(name)
    except DeviceFailed as error:
        log.warning("answers are computed on the processor", device=name, problem=str(error))
        return on_processor

    def make(state: State) -> Predictor:
        try:
            made: Predictor = factory.predictor_on(state, device)
            return made
        except DeviceFailed as error:
            log.warning("a version answers on the processor", device=name, problem=str(error))
            return on_processor(state)

    return make
