"""An input that is no column, from values under its name in records of the user's own making."""

from __future__ import annotations

from typing import Any

import msgspec

from thalweg.proto.decode_json import input_column, input_type
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.extraction import Values
from thalweg.proto.schema import Array, TensorSpec


def plain_input(spec: TensorSpec, values: Values) -> Array:
    """The array of an input, (N, ...). Raises Refused when a value is missing or does not fit."""
    if any(value is None for value in values):
        raise Refused("missing_input", f"input {spec.name!r:.80}: missing")
    kind: Any = input_type(spec)
    try:
        return input_column(spec.name, [msgspec.convert(value, kind) for value in values], spec)
    except (msgspec.ValidationError, OverflowError, ValueError) as error:
        text = str(error)
        shape = "of length" in text or "Expected `array`" in text or "got `array`" in text or "got `object`" in text
        raise Refused("wrong_shape" if shape else "wrong_dtype", f"input {spec.name!r:.80}: {text:.500}") from error
