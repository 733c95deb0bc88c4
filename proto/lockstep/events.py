"""`thalweg.v1.Event` records, read together: all with the same inputs, whose values are raw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from thalweg.proto import thalweg_pb2
from thalweg.proto.lockstep.reading import ALL, NotAlike, Reading
from thalweg.proto.schema import Array
from thalweg.proto.tensors import raw_dtype

_ID, _TIME, _KEY, _INPUT, _RAW = b"\x0a", b"\x11", b"\x1a", b"\x22", b"\x2a"
_TEXT, _NUMBER, _WEIGHT = b"\x32", b"\x39", b"\x49"


@dataclass(frozen=True, slots=True)
class EventColumns:
    """N events."""

    inputs: dict[str, Array]
    """As they came, each (N, ...)."""
    ids: list[str]
    """Empty: none."""
    times: list[float | None]
    keys: list[str]
    """Empty: none."""
    labels: list[str | float | None]
    weights: list[float]


def event_columns(records: Sequence[bytes]) -> EventColumns | None:
    """The parts of many events; None if they cannot be read together, each then has to be read by itself."""
    try:
        return _read(Reading(records), thalweg_pb2.Event.FromString(records[0]))
    except (NotAlike, ValueError):  # the first one is no event
        return None
    except Exception as error:  # of the library
        if type(error).__name__ == "DecodeError":
            return None
        raise


def _read(reading: Reading, first: thalweg_pb2.Event) -> EventColumns:
    count = reading.count(ALL)
    ids = _texts(reading, _ID, count)
    times = _numbers(reading, _TIME, count, None)
    keys = _texts(reading, _KEY, count)
    for tensor in first.inputs:
        if tensor.HasField("contents"):
            raise NotAlike
        _same(reading, _INPUT, tensor.SerializeToString())
    inputs: dict[str, Array] = {}
    if len(first.raw_input_contents) != len(first.inputs):
        raise NotAlike
    for tensor, raw in zip(first.inputs, first.raw_input_contents):
        if tensor.name in inputs:
            raise NotAlike
        inputs[tensor.name] = _column(reading, tensor.datatype, list(tensor.shape), len(raw))
    labels: list[str | float | None] = list(_texts(reading, _TEXT, count, None))
    numbers = _numbers(reading, _NUMBER, count, None)
    if any(number is not None for number in numbers):
        if any(label is not None for label in labels):
            raise NotAlike
        labels = list(numbers)
    weights = [1.0 if one is None else one for one in _numbers(reading, _WEIGHT, count, None)]
    reading.finish()
    return EventColumns(inputs, [one or "" for one in ids], times, [one or "" for one in keys], labels, weights)


def _here(reading: Reading, tag: bytes) -> NDArray[np.int64]:
    """The rows in which this field comes next, which is then read."""
    rows = np.flatnonzero(reading.starts_with(ALL, tag))
    reading.skip(rows, len(tag))
    return rows


def _texts(reading: Reading, tag: bytes, count: int, absent: str | None = "") -> list[str | None]:
    rows = _here(reading, tag)
    given = list(reading.texts(rows, reading.varint(rows)))
    if len(given) == count:
        return list(given)
    found: list[str | None] = [absent] * count
    for row, text in zip(rows.tolist(), given):
        found[row] = text
    return found


def _numbers(reading: Reading, tag: bytes, count: int, absent: float | None) -> list[float | None]:
    rows = _here(reading, tag)
    given: list[float] = reading.fixed(rows, 8).view("<f8")[:, 0].tolist()
    if len(given) == count:
        return list(given)
    found = [absent] * count
    for row, number in zip(rows.tolist(), given):
        found[row] = number
    return found


def _same(reading: Reading, tag: bytes, content: bytes) -> None:
    """A field that is the same in all."""
    head = tag + (bytes([len(content)]) if len(content) < 128 else bytes([len(content) & 127 | 128, len(content) >> 7]))
    if len(content) >= 1 << 14:
        raise NotAlike
    expected = np.frombuffer(head + content, np.uint8)
    if not (reading.fixed(ALL, len(expected)) == expected).all():
        raise NotAlike


def _column(reading: Reading, kind: str, shape: list[int], size: int) -> Array:
    if not reading.starts_with(ALL, _RAW).all():
        raise NotAlike
    reading.skip(ALL, 1)
    lengths = reading.varint(ALL)
    count = len(lengths)
    if kind == "BYTES":
        if shape:
            raise NotAlike
        inner = reading.fixed(ALL, 4).view("<u4")[:, 0].astype(np.int64)
        if not np.array_equal(inner + 4, lengths):
            raise NotAlike
        array = np.empty(count, dtype=object)
        array[:] = reading.pieces(ALL, inner)
        return array
    dtype = raw_dtype(kind)
    if dtype is None or min(shape, default=1) < 1 or size != prod(shape) * dtype.itemsize or (lengths != size).any():
        raise NotAlike
    return reading.fixed(ALL, size).view(dtype).reshape(count, *shape)
