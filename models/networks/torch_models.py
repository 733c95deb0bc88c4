"""Users' torch models: made by a named factory, with weights from a safetensors file. Nothing is fetched."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from safetensors import SafetensorError
from safetensors.torch import load_file

from thalweg.memory.started_folder import placed
from thalweg.models.contract.learner import ParamsError
from thalweg.models.parts.torch_setup import Tensor, torch
from thalweg.models.parts.user_modules import from_elsewhere, not_allowed, taken_name, where_looked

log = structlog.get_logger(__name__)

TIMM = "timm"
_NAMED = 6  # maximum number of mismatched tensors in a message
_FETCHING = ("pretrained", "checkpoint_path", "cache_dir")
"""Arguments of timm that fetch weights or read them without their hash in the model's identity."""


class Fitted(NamedTuple):
    """A model with its weights."""

    model: torch.nn.Module
    notes: list[str]
    """What was accepted although it does not fit."""


def build(model: str, weights: str = "", *, strict: bool = True, filled_later: bool = False) -> torch.nn.Module:
    """A model in eval mode, in float32 on the CPU.

    Args:
        model: `module:factory`, called without arguments, or `timm:NAME` if timm is installed.
        weights: A safetensors file with its tensors; empty: as the factory made it, which timm's do not allow.
        strict: As of `load_weights`; what does not fit is logged.
        filled_later: Whether the caller loads weights itself, so that none are needed.

    Raises:
        ParamsError: The factory cannot be found or raises, or the weights do not match; keys `model`, `weights`.
    """
    with same_in_every_process():
        made = _made(model, weights, filled_later)
    if not isinstance(made, torch.nn.Module):
        raise ParamsError({"model": f"expected {model!r} to give a torch.nn.Module, got {type(made).__name__}"})
    if weights:
        for note in load_weights(made, weights, strict=strict).notes:
            log.warning("weights do not fit", model=model, problem=note)
    return made.float().eval()


@contextmanager
def same_in_every_process() -> Iterator[None]:
    """What is drawn in here is the same in every process, also the weights of a model that has no file of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def weights_sha256(weights: str) -> str:
    """Hash of a weights file; of nothing if there is none."""
    return hashlib.sha256(placed(weights).read_bytes()).hexdigest() if weights else ""


def _made(model: str, weights: str, filled_later: bool) -> object:
    module, _, name = model.partition(":")
    if not module or not name:
        raise ParamsError({"model": f"expected 'module:factory' or 'timm:NAME', got {model!r}"})
    if module == TIMM:
        return architecture(name, weights or ("later" if filled_later else ""), {}, "model")
    if why := not_allowed(module):
        raise ParamsError({"model": f"{model!r}: {why}"})
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        hint = where_looked() if isinstance(error, ModuleNotFoundError) else taken_name(module)
        raise ParamsError({"model": f"{model!r} cannot be imported: {error}{hint}"}) from error
    if why := from_elsewhere(factory):
        raise ParamsError({"model": f"{model!r}: {why}"})
    try:
        return factory()
    except Exception as error:  # user code may raise anything
        raise ParamsError({"model": f"{model!r} raised {type(error).__name__}: {error}"}) from error


def architecture(name: str, weights: str, arguments: Mapping[str, Any], key: str) -> torch.nn.Module:
    """A model of timm, whose weights are loaded afterwards.

    Raises:
        ParamsError: timm is not installed, knows no such model or does not take the arguments, or there are no weights;
            keys `weights`, `KEY_arguments`, and `key` for the rest.
    """
    try:
        timm = importlib.import_module(TIMM)
    except ImportError:
        raise ParamsError({key: f"'timm:{name}' needs timm: pip install 'thalweg[timm]'"}) from None
    if not weights:
        save = f"save_file(timm.create_model({name!r}, pretrained=True).state_dict(), '{name}.safetensors')"
        raise ParamsError(
            {
                "weights": f"missing; 'timm:{name}' is an architecture, and nothing is fetched. Give a file of "
                f"safetensors, such as made by: from safetensors.torch import save_file; {save}"
            }
        )
    if fetching := sorted(arguments.keys() & set(_FETCHING)):
        text = f"{fetching[0]}: nothing is fetched; give the weights as a safetensors file, weights"
        raise ParamsError({f"{key}_arguments": text})
    try:
        made: torch.nn.Module = timm.create_model(name, pretrained=False, **arguments)
    except Exception as error:  # a name that it does not know, an argument that the model does not take
        raise ParamsError({key: f"'timm:{name}' raised {type(error).__name__}: {error}"}) from error
    return made


def folder_model(path: str, *, strict: bool, arguments: Mapping[str, Any]) -> Fitted:
    """A model of Hugging Face from a folder that `save_pretrained` wrote, without its head.

    Raises:
        ParamsError: transformers is not installed, there is no such folder or no weights in it, or they do not fit;
            keys `encoder`, `weights`.
    """
    folder = placed(path)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        what = "has no config.json and *.safetensors" if folder.is_dir() else "is no folder"
        raise ParamsError(
            {
                "encoder": f"'hf:{path}' {what}, and nothing is fetched; make it once: from transformers import "
                "AutoModel; AutoModel.from_pretrained(NAME).save_pretrained(FOLDER)"
            }
        )
    try:
        transformers = importlib.import_module("transformers")
    except ImportError:
        text = f"'hf:{path}' needs transformers: pip install 'thalweg[hf]'"
        raise ParamsError({"encoder": text}) from None
    try:
        model, told = transformers.AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **arguments,
        )
    except Exception as error:  # a damaged file, a type of model that it does not know
        raise ParamsError({"encoder": f"'hf:{path}' cannot be read: {type(error).__name__}: {error}"}) from error
    differing = {
        "missing": [str(one) for one in told["missing_keys"]],
        "unexpected": [str(one) for one in told["unexpected_keys"]],
        "of another shape": [_other_shape(*one) for one in told["mismatched_keys"]],
    }
    return Fitted(model, _judged(f"hf:{path}", differing, strict=strict))


def load_weights(model: torch.nn.Module, weights: str, *, strict: bool = True) -> Fitted:
    """Load a safetensors file into a model.

    Args:
        model: It is changed.
        weights: The file.
        strict: Whether it must have all of the model's tensors and no others, each of its shape; otherwise those that
            fit are loaded, and the notes say which do not.

    Raises:
        ParamsError: The file cannot be read, has no tensor that fits, or does not fit; key `weights`.
    """
    path = Path(weights)
    try:
        found = load_file(placed(path))
    except (OSError, SafetensorError) as error:
        raise ParamsError({"weights": f"{path} cannot be read: {error}"}) from error
    wanted = model.state_dict()
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    fitting = {name for name in wanted.keys() & found.keys() if wanted[name].shape == found[name].shape}
    differing = {
        "missing": [_with_shape(name, wanted[name].shape) for name in wanted.keys() - found.keys() - counters],
        "unexpected": [_with_shape(name, found[name].shape) for name in found.keys() - wanted.keys()],
        "of another shape": [
            _other_shape(name, found[name].shape, wanted[name].shape)
            for name in (wanted.keys() & found.keys()) - fitting
        ],
    }
    if wanted and not fitting - counters:
        strict = True  # nothing of it would be used
    notes = _judged(str(path), differing, strict=strict)
    model.load_state_dict({name: _cast(found[name], wanted[name]) for name in fitting}, strict=False)
    return Fitted(model, notes)


def _judged(what: str, differing: Mapping[str, Collection[str]], *, strict: bool) -> list[str]:
    """What to tell of tensors that differ. Raises ParamsError if they must not."""
    problems = [
        f"{how} {', '.join(sorted(names)[:_NAMED])}"
        + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        for how, names in differing.items()
        if names
    ]
    if not problems:
        return []
    text = f"{what} does not fit the model: {'; '.join(problems)}"
    if strict:
        raise ParamsError({"weights": f"{text}. weights_strict = false accepts what fits"})
    return [f"{text}; the rest was loaded"]


def _with_shape(name: str, shape: torch.Size) -> str:
    return f"{name} {list(shape)}"


def _other_shape(name: str, found: torch.Size, wanted: torch.Size) -> str:
    return f"{name} {list(found)} (the model's: {list(wanted)})"


def _cast(found: Tensor, like: Tensor) -> Tensor:
    return found.to(like.dtype)
