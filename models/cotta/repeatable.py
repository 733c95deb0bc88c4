"""Some layers have gradients whose bits differ from run to run on a GPU: then no state could be rebuilt."""

from __future__ import annotations

from thalweg.models.contract.learner import ParamsError
from thalweg.models.parts.torch_setup import Tensor, torch


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
