"""From tables to the batches that the fold learns: the same values as records of the log would give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.models.parts.input_columns import all_finite
from thalweg.ops.notebook.frames import Frame
from thalweg.ops.notebook.values import FrameError, is_missing, plain_values, raw_values, record_values, seconds_of
from thalweg.proto.bounds.counted import counted
from thalweg.proto.bounds.limits import MAX_SECONDS
from thalweg.proto.bounds.number_range import expected_and_got
from thalweg.proto.bounds.texts import check_ids, check_keys
from thalweg.proto.bounds.times import time_column
from thalweg.proto.columns import label_column, weight_column
from thalweg.proto.event import Batch
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.assembly import names
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.values import column_array
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec


def inputs_of(schema: Schema, given: Any) -> dict[str, Array]:
    """The inputs (N, ...) in a table or in arrays.

    Columns are taken by name. Tensors are given as arrays by name, or for a single input as one array (N, ...), or as a
    table with as many columns as it has numbers, in that order.

    Raises:
        FrameError: A column is missing or does not fit.
    """
    if schema.columns:
        frame = Frame(given)
        try:
            return {name: _column_array(column, frame.column(name)) for name, column in schema.columns.items()}
        except Refused as error:
            raise FrameError(str(error)) from None
    specs = schema.inputs
    if isinstance(given, np.ndarray):
        found: Mapping[str, Any] = {_only(specs, given): given}
    elif isinstance(given, Mapping):
        for name in specs:
            if name not in given:
                raise FrameError(f"input {name!r:.80}: missing; there are {', '.join(map(repr, given)) or 'none'}")
        found = {name: given[name] for name in specs}
    else:
        frame = Frame(given)
        name = _only(specs, given)
        width = int(np.prod(specs[name].shape))
        if len(frame.names) != width:
            shown = ", ".join(frame.names)
            raise FrameError(
                f"input {name!r:.80}: expected {counted(width, 'column')} of numbers, "
                f"got {len(frame.names)}: {shown:.300}"
            )
        values = [_numbers(frame, column) for column in frame.names]
        found = {name: np.stack(values, axis=1).reshape(len(frame), *specs[name].shape)}
    return {name: _tensor(specs[name], array) for name, array in found.items()}


def _column_array(column: Column, given: Any) -> Array:
    if column.kind == "datetime":  # what is a time has no unit
        seconds = seconds_of(given)
        if seconds is not None and not (np.abs(seconds) >= MAX_SECONDS).any():
            return seconds
    return column_array(column, record_values(given, column.name))


def _only(specs: Mapping[str, TensorSpec], given: Any) -> str:
    if len(specs) > 1:
        raise FrameError(f"expected arrays by name for the inputs {', '.join(specs)}, got {type(given).__name__}")
    return next(iter(specs))


def _numbers(frame: Frame, name: str) -> Array:
    values = frame.values(name)
    for row, value in enumerate(values):
        if not isinstance(value, int | float):
            raise FrameError(f"column {name!r:.80}, row {row}: expected a number, got {value!r:.80}")
    return np.array(values, dtype=np.float64)


def _tensor(spec: TensorSpec, given: Any) -> Array:
    if isinstance(given, np.ndarray):
        array = given
    else:  # texts as objects: NumPy's own lose zeros at their end
        array = np.array(raw_values(given), dtype=object) if spec.dtype == "bytes" else np.asarray(plain_values(given))
    wanted = f"input {spec.name!r:.80}: expected {spec.dtype} (N, {', '.join(map(str, spec.shape))})"
    if array.ndim != 1 + len(spec.shape) or any(
        want not in (-1, got) for want, got in zip(spec.shape, array.shape[1:])
    ):
        raise FrameError(f"{wanted}, got {array.dtype} {array.shape}")
    if spec.dtype == "bytes":
        texts = np.empty(array.shape, dtype=object)
        texts.reshape(-1)[:] = [_bytes(one) for one in array.reshape(-1)]
        return texts
    if array.dtype.kind not in "fiub":
        raise FrameError(f"{wanted}, got {array.dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(spec.dtype, copy=False)
    if cast.dtype.kind != "f" and array.dtype.kind == "f" and not np.array_equal(cast, array):
        raise FrameError(f"{wanted}, got numbers with fractions")
    if cast.dtype.kind == "f" and not all_finite(cast):
        row = int(np.flatnonzero(~np.isfinite(cast.reshape(len(cast), -1)).all(axis=1))[0])
        raise FrameError(f"input {spec.name!r:.80}, row {row}: {expected_and_got(spec.dtype, array[row])}")
    return cast


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if is_missing(value) else str(value).encode()


def batch_of(
    schema: Schema,
    inputs: Inputs,
    labels: Any = None,
    *,
    weights: Any = None,
    keys: Any = None,
    ids: Any = None,
    times: Any = None,
) -> Batch:
    """A batch of N events.

    Args:
        schema: The schema of the events.
        inputs: From `inputs_of`.
        labels: (N,) or (N, K); None, NaN and NA are unlabelled.
        weights: (N,), 1 where missing.
        keys: (N,) texts or numbers.
        ids: (N,) texts or numbers, by which duplicates are recognised.
        times: (N,) times, RFC 3339, or Unix seconds (or a finer unit); 0 where missing.

    Raises:
        FrameError: Something does not fit.
    """
    count = len(next(iter(inputs.values())))
    try:
        found = [None] * count if labels is None else _column("labels", labels, count)
        if schema.label == "number":
            found = [_complete(value) for value in found]
        given = [1.0] * count if weights is None else _column("weights", weights, count)
        when = [None] * count if times is None else _column("times", times, count)
        return Batch(
            inputs,
            label_column(schema, found),
            weight_column([1.0 if one is None else one for one in given]),
            time_column(when, [0.0] * count, zone_needed=False),
            _names("id", ids, count, check_ids),
            _names("key", keys, count, check_keys),
        )
    except Refused as error:
        raise FrameError(str(error)) from None


def _column(name: str, given: Any, count: int) -> list[Any]:
    values = plain_values(given, name)
    if len(values) != count:
        raise FrameError(f"{name}: expected {count}, one a row, got {len(values)}")
    return values


def _complete(value: Any) -> Any:
    """A label of several numbers; None if one is missing."""
    return None if isinstance(value, list) and None in value else value


def _names(name: str, given: Any, count: int, check: Any) -> list[str | None] | None:
    if given is None:
        return None
    found = names(name, "bad_id" if name == "id" else "bad_key", _column(f"{name}s", given, count))
    check(found or ())
    return found
