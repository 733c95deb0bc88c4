"""Missing columns: a tensor that is not given has only missing values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from thalweg.proto.schema import Array, Inputs, TensorSpec


def missing_values(spec: TensorSpec, rows: int) -> Array:
    """`rows` missing values of an optional tensor: NaN, or an empty text."""
    shape = (rows, *spec.shape)
    return np.full(shape, b"", dtype=object) if spec.dtype == "bytes" else np.full(shape, np.nan, dtype=spec.dtype)


def with_missing_columns(specs: Mapping[str, TensorSpec], inputs: Inputs) -> Inputs:
    """The inputs (N, ...) and every optional tensor that they lack; as they are if they give no N."""
    absent = [spec for name, spec in specs.items() if spec.optional and name not in inputs]
    given = next(iter(inputs.values()), None)
    if not absent or given is None or not given.ndim:
        return inputs
    return {**inputs, **{spec.name: missing_values(spec, len(given)) for spec in absent}}
