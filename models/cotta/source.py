"""What the deployed network has: how many outputs, and which weights adapt."""

from __future__ import annotations

import numpy as np

from thalweg.memory.devices.device import Device
from thalweg.models.contract.learner import ParamsError
from thalweg.models.cotta.params import Params
from thalweg.models.cotta.target_norm import target_norms
from thalweg.models.parts.torch_setup import Tensor, torch

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


def names_of(params: Params, outputs: int) -> list[str]:
    """The names of the classes. Raises ParamsError, key `classes`, if there are not as many as outputs."""
    names = [name.strip() for name in params.classes.split(",")] if params.classes else [str(k) for k in range(outputs)]
    if len(set(names)) != outputs:
        text = f"expected {outputs} distinct names, one per output of the model, got {params.classes!r}"
        raise ParamsError({"classes": text})
    return names


def adapting(model: torch.nn.Module, params: Params) -> list[str]:
    """The names of the weights that adapt. Raises ParamsError, key `adapt`, if there are none though it learns."""
    norms = {name for name, _ in target_norms(model)}
    norms |= {name for name, module in model.named_modules() if isinstance(module, _NORMS)}
    found = [name for name, _ in model.named_parameters() if params.adapts(name, name.rpartition(".")[0] in norms)]
    if not found and params.learning_rate:
        raise ParamsError({"adapt": f"expected parameters to adapt, got none for {params.adapt!r} in {params.model}"})
    return found


def refuse_what_cannot_repeat(name: str, model: torch.nn.Module, x: Tensor) -> None:
    """Try the gradients of a model of this name for inputs (2, …), on a device with deterministic algorithms.

    Raises:
        ParamsError: One of its layers has none; key `model`.
    """
    leaves = {each: parameter.detach().requires_grad_() for each, parameter in model.named_parameters()}
    try:
        found = torch.func.functional_call(model, leaves, (x,))
        torch.autograd.grad(found.sum(), list(leaves.values()), allow_unused=True)
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        what = str(error).partition(" does not have")[0]
        text = f'{what} of {name} gives other bits in each run on a GPU; set device = "cpu"'
        raise ParamsError({"model": text}) from error
