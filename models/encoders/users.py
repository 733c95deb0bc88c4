"""A user's own encoder: a function, an object that can be called, or a torch module, by import path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from inspect import Parameter, isclass, signature
from typing import Any

import numpy as np

from thalweg.memory.devices.device import Device
from thalweg.models.contract.learner import ParamsError
from thalweg.models.encoders.calling import call_of, features_of, is_needed
from thalweg.models.encoders.spec import HUGGING_FACE, IDENTITY, KINDS, EncoderSpec
from thalweg.models.networks.torch_models import (
    TIMM,
    Fitted,
    architecture,
    folder_model,
    load_weights,
    same_in_every_process,
)
from thalweg.models.parts.torch_setup import torch
from thalweg.models.parts.user_modules import from_elsewhere, not_allowed, taken_name, where_looked
from thalweg.proto.schema import Array, Inputs, TensorSpec

_NEAR = 0.8  # similarity of a misspelt kind; a module's name is usually farther from all of them
_FLOATS = ("float32", "float64")


def users_encoder(
    spec: EncoderSpec, inputs: Mapping[str, TensorSpec], device: Device
) -> tuple[Callable[[Inputs], Array], list[str]]:
    """The function of a user's encoder, and what to tell of it, such as tensors that were left out.

    A torch module computes on the device; a function computes where it likes.

    Raises:
        ParamsError: It cannot be found or made, or takes other inputs, or weights do not fit; keys `encoder`,
            `weights`, `encoder_arguments`.
    """
    with same_in_every_process():
        made, notes = _made(spec)
    if isinstance(made, torch.nn.Module):
        fitted = load_weights(made, spec.weights, strict=spec.weights_strict) if spec.weights else Fitted(made, [])
        return _module(spec, device.place(fitted.model.float().eval()), inputs, device), [*notes, *fitted.notes]
    if spec.weights:
        raise ParamsError({"weights": f"expected a torch module from {spec.name!r} to load them into, got a function"})
    call = call_of(spec.name, made, list(inputs))
    return (lambda given: features_of(call(made, given), given)), notes


def _made(spec: EncoderSpec) -> tuple[Callable[..., Any], list[str]]:
    """What encodes, and what to tell of it."""
    kind, _, path = spec.name.partition(":")
    if kind == TIMM:
        # without a head it gives features, not the scores of the classes that it was trained for
        return architecture(path, spec.weights, {"num_classes": 0, **spec.arguments}, "encoder"), []
    if kind == HUGGING_FACE:
        fitted = folder_model(path, strict=spec.weights_strict, arguments=spec.arguments)
        return fitted.model, fitted.notes
    found = _imported(spec.name)
    if not _is_factory(found, spec):
        return found, []
    try:
        made = found(**spec.arguments)
    except ParamsError:
        raise
    except Exception as error:  # user code may raise anything
        raise ParamsError({"encoder": f"{spec.name!r} raised {type(error).__name__}: {error}"}) from error
    if not callable(made):
        text = f"expected {spec.name!r} to give a torch module or a function, got {type(made).__name__}"
        raise ParamsError({"encoder": text})
    return made, []


def _is_factory(found: Any, spec: EncoderSpec) -> bool:
    """Whether something is called once, to make what encodes: a class, and what needs no argument or is given some."""
    if isinstance(found, torch.nn.Module):
        return False
    if isclass(found) or spec.arguments:
        return True
    try:
        parameters = signature(found).parameters.values()
    except (TypeError, ValueError):
        return False
    takes_any = any(one.kind in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL) for one in parameters)
    return not takes_any and not any(map(is_needed, parameters))


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    if not module or not path:
        forms = "'module:name', 'timm:NAME', 'hf:FOLDER' or 'onnx:FILE'"
        raise ParamsError({"encoder": f"expected {forms}, got {name!r}{_hint(module)}"})
    if why := not_allowed(module):
        raise ParamsError({"encoder": f"{name!r}: {why}"})
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        looked = where_looked() if isinstance(error, ModuleNotFoundError) else taken_name(module)
        raise ParamsError({"encoder": f"{name!r} cannot be imported: {error}{looked}{_hint(module)}"}) from error
    if why := from_elsewhere(found):
        raise ParamsError({"encoder": f"{name!r}: {why}"})
    if not callable(found):
        raise ParamsError(
            {"encoder": f"expected {name!r} to be a function or a torch module, got {type(found).__name__}"}
        )
    return found


def _hint(module: str) -> str:
    near = get_close_matches(module, (IDENTITY, *KINDS), n=1, cutoff=_NEAR)
    return f"; did you mean {near[0]}?" if near else ""


def _module(
    spec: EncoderSpec, module: torch.nn.Module, inputs: Mapping[str, TensorSpec], device: Device
) -> Callable[[Inputs], Array]:
    """The function of a torch module: floats become float32, integers stay if it can take them, else they do, too."""
    call = call_of(spec.name, module.forward, list(inputs))

    def encoding(integers: bool) -> Callable[[Inputs], Array]:
        def encode(given: Inputs) -> Array:
            tensors = {name: _tensor(array, integers, device) for name, array in given.items()}
            with torch.no_grad():
                return features_of(call(module, tensors), tensors, device.fetch)

        return encode

    if any(one.dtype not in (*_FLOATS, "bytes") for one in inputs.values()):
        try:
            encoding(True)({name: np.zeros((8, *one.shape), _dtype(one)) for name, one in inputs.items()})
        except Exception:  # pictures in bytes, or numbers that happen to be whole: its layers take floats
            return encoding(False)
    return encoding(True)


def _dtype(spec: TensorSpec) -> Any:
    return object if spec.dtype == "bytes" else spec.dtype


def _tensor(array: Array, integers: bool, device: Device) -> Any:
    if array.dtype == object:
        return array
    if array.dtype.kind == "f" or not integers:
        array = array.astype(np.float32, copy=False)
    return device.put(np.ascontiguousarray(array))
