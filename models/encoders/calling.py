"""How a user's function is called with inputs, and how features are read from what it gives back.

It is called with arrays (N, …): by the names of its parameters if they are those of the inputs; else with a single
input alone; else with all of them in one dictionary. Arrays are as they came: integers stay integers, texts are UTF-8
bytes, missing values are NaN or empty bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

import numpy as np

from thalweg.models.contract.learner import ParamsError
from thalweg.proto.schema import Array

Call = Callable[[Callable[..., Any], Mapping[str, Any]], Any]
"""Calls a function with inputs, arrays or tensors by name."""

_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_BY_PLACE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_DICTIONARIES = ("dict", "Dict", "Mapping", "Inputs")


def call_of(name: str, function: Callable[..., Any], names: Sequence[str]) -> Call:
    """How to call a function with inputs of these names.

    Args:
        name: Of the encoder, for messages.
        function: Whose signature decides: the user's function, or the `forward` of a module.
        names: Of the inputs, at least one.

    Raises:
        ParamsError: It takes other inputs; key `encoder`.
    """
    try:
        parameters = list(signature(function).parameters.values())
    except (TypeError, ValueError):  # a function of C, which does not say
        return _with_one if len(names) == 1 else _with_dictionary
    named = {one.name for one in parameters if one.kind in _NAMED}
    needed = {one.name for one in parameters if is_needed(one)}
    any_name = any(one.kind is Parameter.VAR_KEYWORD for one in parameters)
    if needed <= set(names) and (any_name or set(names) <= named):
        return _with_names
    first = next((one for one in parameters if one.kind in (*_BY_PLACE, Parameter.VAR_POSITIONAL)), None)
    if first is not None and needed <= {first.name}:
        return _with_one if len(names) == 1 and not _is_dictionary(first) else _with_dictionary
    taken = ", ".join(one.name for one in parameters) or "nothing"
    text = (
        f"expected {name!r} to take {', '.join(names)} by name, or all inputs in one dictionary; it takes {taken:.200}"
    )
    raise ParamsError({"encoder": text})


def is_needed(parameter: Parameter) -> bool:
    """Whether a call must give it."""
    return parameter.default is Parameter.empty and parameter.kind in (*_NAMED, *_BY_PLACE)


def _is_dictionary(parameter: Parameter) -> bool:
    """Whether its annotation is a dictionary or a mapping."""
    said = parameter.annotation
    text = said if isinstance(said, str) else getattr(said, "__name__", "") or str(said)
    return text.rpartition(".")[2].startswith(_DICTIONARIES) or text.startswith(_DICTIONARIES)


def _with_names(function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
    return function(**inputs)


def _with_one(function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
    return function(*inputs.values())


def _with_dictionary(function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
    return function(dict(inputs))


def features_of(result: Any, inputs: Mapping[str, Any], fetch: Callable[[Any], Any] | None = None) -> Array:
    """The array in what a function gave back: that itself, or a tensor; of a Hugging Face model's output
    `pooler_output`, else the mean of `last_hidden_state` over the tokens of `attention_mask`, or over all.

    Args:
        result: What it gave back.
        inputs: What it was called with.
        fetch: Brings a tensor back from the device on which a module computes; None: it may be anywhere.

    Raises:
        TypeError: There is none, or it does not hold numbers.
    """
    if hasattr(result, "last_hidden_state") or hasattr(result, "pooler_output"):
        result = _pooled(result, inputs)
    if hasattr(result, "detach"):
        result = result.detach().float()
        result = result.cpu().numpy() if fetch is None else fetch(result)
    array = np.asarray(result)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"expected an array of numbers, got {type(result).__name__} of {array.dtype}")
    return array


def _pooled(result: Any, inputs: Mapping[str, Any]) -> Any:
    pooled = getattr(result, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1)
    hidden = result.last_hidden_state  # (N, tokens, F)
    mask = inputs.get("attention_mask")
    if mask is None:
        return hidden.flatten(1, -2).mean(1) if hidden.ndim == 3 else hidden.flatten(2).mean(2)
    mask = mask.to(hidden.dtype)[..., None]
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)
