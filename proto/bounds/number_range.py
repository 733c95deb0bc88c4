"""Why a number of an input is not finite in its dtype: it was none, or it is beyond the dtype's range."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from thalweg.proto.rejected import Refused
from thalweg.proto.schema import Array

_MAY_BE_INFINITE = set("nN")  # of the texts that float() takes: nan, inf, infinity


def expected_and_got(dtype: str, given: Any) -> str:
    """What was expected of an input and what came.

    Args:
        dtype: Of the input: `float32`, for example.
        given: Its values as they came, nested as they may be: numbers, texts that are numbers, or arrays.

    Returns:
        `expected float32, 3.40282e+38 at most, got 1e+99, which is beyond its range`, with the first such number; or
        `expected finite numbers, got NaN or infinity`, if one was none when it came and none is beyond the range.
    """
    for value in _flat(given):
        if beyond(dtype, value):
            most = np.finfo(dtype).max
            return f"expected {dtype}, {most:g} at most, got {_shown(value)}, which is beyond its range"
    return "expected finite numbers, got NaN or infinity"


def beyond(dtype: str, value: Any) -> bool:
    """Whether a finite number, perhaps in a text, is beyond the range of a dtype of floats."""
    try:
        number = float(value)
    except OverflowError:  # an integer beyond every float
        return True
    except (TypeError, ValueError):
        return False
    if math.isinf(number) and isinstance(value, str | bytes):
        return not _MAY_BE_INFINITE & set(str(value))
    with np.errstate(over="ignore"):
        return math.isfinite(number) and not np.isfinite(np.dtype(dtype).type(number))


def refused(inputs: Mapping[str, Array], given: Mapping[str, Any]) -> Refused:
    """The refusal of inputs of which one is not finite; its text counts, and is looked for, only for a single event.

    Args:
        inputs: As arrays.
        given: The values of each, as they came.
    """
    if len(next(iter(inputs.values()))) > 1:
        return Refused("non_finite", "")
    name = next(
        (name for name, array in inputs.items() if array.dtype.kind == "f" and not np.isfinite(array).all()),
        next(iter(inputs)),
    )
    said = expected_and_got(inputs[name].dtype.name, given.get(name))
    return Refused("non_finite", f"input {name!r:.80}: {said}")


def _flat(given: Any) -> Iterator[Any]:
    if isinstance(given, np.ndarray):
        yield from given.reshape(-1).tolist()
    elif isinstance(given, list | tuple):
        for one in given:
            yield from _flat(one)
    else:
        yield given


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"{value:.40}"
    try:
        return f"{float(value):g}"
    except OverflowError:
        return "an integer beyond every float"
