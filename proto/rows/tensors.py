"""Tensors of columns and ids as a client sends them: missing ones, other numbers, texts for ids.

A tensor of a column that is missing has only missing values; numbers of any type become the column's; numbers for a
column of texts become texts as class names do, and texts for a column of numbers are read as in JSON. Only a `datetime`
is special: as a tensor of numbers it holds Unix seconds, or a finer unit where seconds would be beyond the year 5138.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from thalweg.proto.rejected import Refused
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.ids import id_number, id_text
from thalweg.proto.rows.lazy import Texts
from thalweg.proto.rows.markers import unmarked_numbers
from thalweg.proto.rows.values import column_array
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec

Fit: TypeAlias = Callable[[Inputs, int | None], dict[str, Array]]


def fitting(schema: Schema, *, of_requests: bool = False) -> Fit | None:
    """Makes inputs fit the schema; None if there is nothing to do, because no input is optional or an id.

    In a request a single value for each row may also come as (N, 1), as clients of tables send columns; what is an
    event stays what it was.

    The result takes named arrays, each (N, ...), and N, None if only they know it; it leaves inputs that are unknown,
    or of a shape that no conversion mends, for `tensors.check_inputs`. It raises Refused when a value does not fit.
    """
    loose = {name: spec for name, spec in schema.inputs.items() if spec.optional or spec.ids}
    single = [name for name, spec in schema.inputs.items() if of_requests and not spec.shape]
    if not loose and not single:
        return None
    columns = {name: schema.columns.get(name) or _assumed(spec) for name, spec in loose.items() if spec.optional}

    def fit(inputs: Inputs, rows: int | None) -> dict[str, Array]:
        fitted = dict(inputs)
        if rows is None:
            rows = next((len(array) for name, array in inputs.items() if name in schema.inputs and array.ndim), None)
        for name in single:
            if name in inputs and inputs[name].shape[1:] == (1,):
                fitted[name] = inputs[name][:, 0]
        for name, spec in loose.items():
            array = fitted.get(name)
            if array is not None and array.ndim == len(spec.shape) + 1:
                fitted[name] = _ids(spec, array) if spec.ids else _values(columns[name], spec, array)
            elif array is None and spec.optional and rows is not None:
                fitted[name] = missing_values(spec, rows)
        return fitted

    return fit


def missing_values(spec: TensorSpec, rows: int) -> Array:
    """An optional input of so many events, (N, ...), of which each value is missing."""
    shape = (rows, *spec.shape)
    return np.full(shape, b"", dtype=object) if spec.dtype == "bytes" else np.full(shape, np.nan, dtype=spec.dtype)


def _assumed(spec: TensorSpec) -> Column:
    """The column of an optional input that is none."""
    return Column(name=spec.name, kind="hashed" if spec.dtype == "bytes" else "numeric")


def _ids(spec: TensorSpec, array: Array) -> Array:
    if spec.dtype == "bytes":
        if array.dtype.kind not in "iu":
            return array
        return _objects([id_text(spec.name, value).encode() for value in array.reshape(-1).tolist()], array.shape)
    if array.dtype != object:
        return array.astype(spec.dtype) if array.dtype.kind in "iu" and array.dtype.itemsize < 8 else array
    numbers = [id_number(spec.name, value) for value in array.reshape(-1).tolist()]
    return np.array(numbers, dtype=spec.dtype).reshape(array.shape)


def _values(column: Column, spec: TensorSpec, array: Array) -> Array:
    if array.dtype == object or spec.dtype == "bytes":
        if spec.shape:  # texts for a list of numbers
            return array
        return column_array(column, _texts(column, array.tolist()))
    if array.dtype.kind == "b" and column.kind in ("numeric", "list"):
        column_array(replace(column, kind="numeric", length=0), array.reshape(-1)[:1].tolist())  # refuses them by name
    numbers: Array = array.astype(np.float64, copy=False)
    flat = numbers.reshape(-1)
    if column.kind in ("datetime", "boolean"):
        return column_array(replace(column, unit="auto"), flat.tolist()).reshape(numbers.shape)
    if column.missing_values:
        numbers = unmarked_numbers(column, numbers)
    if np.isinf(numbers).any():
        raise Refused(
            "non_finite",
            f"input {column.name!r:.80}: expected finite numbers, or NaN where one is missing, got infinity",
        )
    return numbers


def _texts(column: Column, values: Sequence[Any]) -> Sequence[Any]:
    """With texts instead of bytes."""
    try:
        if set(map(type, values)) == {bytes}:  # the usual case; often few differ
            return Texts(values, {value: value.decode() for value in set(values)})
        return [value.decode() if isinstance(value, bytes) else value for value in values]
    except UnicodeDecodeError as error:
        raise Refused("malformed", f"column {column.name!r:.80}: expected UTF-8, got {error.object!r:.80}") from None


def _objects(values: Sequence[bytes], shape: Sequence[int]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(tuple(shape))
