"""The features of a ridge learner, and where its sums are: with the processor, or on a GPU from a size on at which that
is faster.
"""

from __future__ import annotations

from collections.abc import Callable

from thalweg.memory.devices.names import CPU
from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.models.parts.input_columns import InputColumns
from thalweg.models.parts.random_features import FeatureMap
from thalweg.models.ridge.params import Params
from thalweg.models.ridge.statistics import Statistics

FEATURES = 512
"""From so many on a GPU was faster in every measurement (docs/gpu.md); smaller ones were not measured."""


def feature_map(params: Params, width: int, context: LearnerContext) -> FeatureMap:
    """Of F inputs: behind columns the random layer sees scaled numbers and times alone."""
    p = params
    return FeatureMap.draw(
        width,
        p.expansion,
        offsets=p.offsets,
        direct=p.direct,
        bias=p.bias,
        seed=context.seed,
        seen=context.smooth,
    )


def gains_from_gpu(context: LearnerContext) -> bool:
    """Whether the sums are so large that a GPU is faster; balanced heads are solved by the processor."""
    try:
        params, width = Params.of(context.params), InputColumns(context.inputs).width
    except ParamsError:
        return False
    size = params.expansion + (width if params.direct or not params.expansion else 0) + params.bias
    return size >= FEATURES and params.balance == "none"


def placed_sums(context: LearnerContext) -> tuple[Callable[..., Statistics], str]:
    """What makes the sums, and the GPU that they are on; empty: the processor.

    Raises:
        DeviceFailed: The device is not there.
    """
    if context.device == CPU:
        return Statistics, ""
    from thalweg.memory.devices.device import Device
    from thalweg.models.ridge.on_device import statistics_on

    device = Device.open(context.device, context.device_bytes)
    return statistics_on(device), device.described()
