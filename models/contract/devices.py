"""On which device a learner computes: what was asked for, what its factory can do, and what it would gain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from thalweg.memory.devices.names import CPU
from thalweg.models.contract.learner import LearnerContext

Gains = Callable[[LearnerContext], bool]
"""Whether a learner of this context gains from a GPU. Parameters may be wrong: the learner reports that."""


def takes_device(factory: Any) -> bool:
    """Whether its learners compute on the context's device; others compute on the processor."""
    return bool(getattr(factory, "takes_device", False))


def placed(factory: Any, context: LearnerContext) -> LearnerContext:
    """The context with the device on which a learner of this factory computes."""
    if not takes_device(factory):
        return replace(context, device=CPU, spare_gpu="")
    gains: Gains = getattr(factory, "gains_from_gpu", lambda _: False)
    if context.spare_gpu and context.device == CPU and gains(context):
        return replace(context, device=context.spare_gpu, spare_gpu="")
    return replace(context, spare_gpu="") if context.spare_gpu else context
