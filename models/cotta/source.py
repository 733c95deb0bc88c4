"""What the deployed network has: how many outputs, and which weights adapt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import ParamsError
from thalweg.models.cotta.params import Params
from thalweg.models.cotta.target_norm import target_norms
from thalweg.models.parts.torch_setup import Tensor, torch

_LEAST = 1e-12  # of a probability, before its logarithm
_ROUNDED = 1e-3  # by which a sum of probabilities may miss 1
_NORMS = (torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.InstanceNorm2d)


def outputs_of(
    name: str, model: torch.nn.Module, shape: tuple[int, ...], device: Device, *, learns: bool
) -> tuple[int, dict[str, bool]]:
    """How many outputs a model of this name has for inputs (N, *shape), and what its predictor must know of them.

    One that ends in a softmax answers with logits from now on (`with_logits`).

    Raises:
        ParamsError: It cannot take them, gives no logits of classes, or could not learn on this device; keys `inputs`,
            `model`.
    """
    try:
        x = device.put(_tried(shape))
        with torch.no_grad():
            found = model(x)
    except (RuntimeError, ValueError) as error:
        raise ParamsError({"inputs": f"{name} cannot take inputs of shape {list(shape)}: {error}"}) from error
    if not device.is_processor and learns:
        refuse_what_cannot_repeat(name, model, x)
    if found.ndim != 2:
        raise ParamsError({"model": f"expected logits (N, K), got {list(found.shape)} from {name}"})
    if (outputs := int(found.shape[1])) < 2:
        text = f"expected logits (N, K) of two classes or more, got one number per input from {name}"
        raise ParamsError({"model": f"{text}; of one logit z make two: torch.cat([torch.zeros_like(z), z], dim=1)"})
    if not _are_probabilities(device.fetch(found)):
        return outputs, {}
    with_logits(model)
    return outputs, {"probabilities": True}


def _are_probabilities(found: NDArray[np.floating[Any]]) -> bool:
    """Whether outputs (N, K) of several inputs are at least 0 and sum to 1."""
    sums = found.sum(axis=1, dtype=np.float64)
    return bool((found >= 0).all() and (np.abs(sums - 1.0) < _ROUNDED).all())


def with_logits(model: torch.nn.Module) -> torch.nn.Module:
    """The model whose probabilities are answered as their logarithms, in place: the softmax of these are they."""
    model.register_forward_hook(lambda _, __, found: found.clamp(min=_LEAST).log())
    return model


def _tried(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A few inputs that differ, within 0 … 1, (N, *shape); the first are zeros."""
    found: NDArray[np.float32] = np.zeros((4, *shape), dtype=np.float32)
    drawn = np.random.default_rng(0).random((2, *shape))
    found[2], found[3] = drawn[0], drawn[1]
    return found


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


def check(mine: State, theirs: State) -> None:
    """Raises ValueError if two states are of other networks, or of other sizes: a network may take inputs of any."""
    for one, other in zip(_fixed(mine), _fixed(theirs)):
        if one != other:
            raise ValueError(f"state of other parameters: expected {one}, got {other}")


def _fixed(state: State) -> Iterator[object]:
    yield state.meta.get("identity")
    yield {"inputs": list(state.tensors["waiting"].shape[1:]), "statistics_rows": len(state.tensors["target.classes"])}
