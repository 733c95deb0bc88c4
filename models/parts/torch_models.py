"""Users' torch models: made by a named factory, with weights from a safetensors file."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from thalweg.models.contract.learner import ParamsError
from thalweg.models.parts.torch_setup import Tensor, torch
from thalweg.models.parts.user_modules import taken_name, where_looked

_NAMED = 6  # maximum number of mismatched tensors in a message


def build(model: str, weights: str = "") -> torch.nn.Module:
    """A model in eval mode, in float32 on the CPU.

    Args:
        model: `module:factory`, called without arguments, or `timm:NAME` if timm is installed.
        weights: A safetensors file with all of its tensors; empty: as the factory made it.

    Raises:
        ParamsError: The factory cannot be found or raises, or the weights do not match; keys `model`, `weights`.
    """
    with torch.random.fork_rng(devices=[]):  # every process must create the same model, even without weights
        torch.manual_seed(0)
        made = _made(model)
    if not isinstance(made, torch.nn.Module):
        raise ParamsError({"model": f"expected {model!r} to give a torch.nn.Module, got {type(made).__name__}"})
    if weights:
        _load(made, Path(weights))
    return made.float().eval()


def weights_sha256(weights: str) -> str:
    """Hash of a weights file; of nothing if there is none."""
    return hashlib.sha256(Path(weights).read_bytes()).hexdigest() if weights else ""


def _made(model: str) -> object:
    module, _, name = model.partition(":")
    if not module or not name:
        raise ParamsError({"model": f"expected 'module:factory' or 'timm:NAME', got {model!r}"})
    if module == "timm":
        try:
            timm = importlib.import_module("timm")
        except ImportError:
            raise ParamsError({"model": f"{model!r} needs timm, which is not installed"}) from None
        return timm.create_model(name, pretrained=False)
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        hint = where_looked() if isinstance(error, ModuleNotFoundError) else taken_name(module)
        raise ParamsError({"model": f"{model!r} cannot be imported: {error}{hint}"}) from error
    try:
        return factory()
    except Exception as error:  # user code may raise anything
        raise ParamsError({"model": f"{model!r} raised {type(error).__name__}: {error}"}) from error


def _load(model: torch.nn.Module, path: Path) -> None:
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ParamsError({"weights": f"{path} cannot be read: {error}"}) from error
    wanted = model.state_dict()
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    problems = [
        f"{what} {', '.join(sorted(names)[:_NAMED])}"
        + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        for what, names in (
            ("missing", set(wanted) - set(found) - counters),
            ("unexpected", set(found) - set(wanted)),
            ("of another shape", {n for n in set(wanted) & set(found) if wanted[n].shape != found[n].shape}),
        )
        if names
    ]
    if problems:
        raise ParamsError({"weights": f"{path} does not fit the model: {'; '.join(problems)}"})
    model.load_state_dict(
        {name: _cast(found[name], each) for name, each in wanted.items() if name in found}, strict=False
    )


def _cast(found: Tensor, like: Tensor) -> Tensor:
    return found.to(like.dtype)
