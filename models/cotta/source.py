"""What the deployed network has: how many outputs, and which weights adapt."""

from __future__ import annotations

import numpy as np

from thalweg.memory.devices.device import Device
from thalweg.models.contract.learner import ParamsError
from thalweg.models.cotta.params import Params
from thalweg.models.cotta.repeatable import refuse_what_cannot_repeat
from thalweg.models.cotta.target_norm import target_norms
from thalweg.models.parts.torch_setup import torch

_NORMS = (torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.InstanceNorm2d)


def outputs_of(name: str, model: torch.nn.Module, shape: tuple[int, ...], device: Device, *, learns: bool) -> int:
    """How many outputs a model of this name has for inputs (N, *shape).

    Raises:
        ParamsError: It cannot take them, gives no logits, or could not learn on this device; keys `inputs`, `model`.
    """
    try:
        x = device.put(np.zeros((2, *shape), dtype=np.float32))
        with torch.no_grad():
            found = model(x)
    except (RuntimeError, ValueError) as error:
        raise ParamsError({"inputs": f"{name} cannot take inputs of shape {list(shape)}: {error}"}) from error
    if not device.is_processor and learns:
        refuse_what_cannot_repeat(name, model, x)
    if found.ndim != 2:
        raise ParamsError({"model": f"expected logits (N, K), got {list(found.shape)} from {name}"})
    return int(found.shape[1])


def adapting(model: torch.nn.Module, params: Params) -> list[str]:
    """The names of the weights that adapt."""
    norms = {name for name, _ in target_norms(model)}
    norms |= {name for name, module in model.named_modules() if isinstance(module, _NORMS)}
    return [name for name, _ in model.named_parameters() if params.adapts(name, name.rpartition(".")[0] in norms)]
