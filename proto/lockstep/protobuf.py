"""Protobuf messages of one type, read together, where each has its fields in the order of their numbers, as all
serializers write them, and those that are wanted are single values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from thalweg.proto.lockstep.reading import Integers, NotAlike, Reading, Rows, rows_of, unzigzag
from thalweg.proto.lockstep.values import Found, Names, Step, moments, spread, wanted_below

_VARINT, _EIGHT, _PIECE, _FOUR = 0, 1, 2, 5  # wire types
_WIRE = {
    **dict.fromkeys((FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED64), _EIGHT),
    **dict.fromkeys((FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_FIXED32, FieldDescriptor.TYPE_SFIXED32), _FOUR),
    **dict.fromkeys((FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE), _PIECE),
}
_OF_FIXED = {
    FieldDescriptor.TYPE_FIXED64: "<u8",
    FieldDescriptor.TYPE_SFIXED64: "<i8",
    FieldDescriptor.TYPE_FIXED32: "<u4",
    FieldDescriptor.TYPE_SFIXED32: "<i4",
}
_OF_VARINT: dict[int, Callable[[Integers], Any]] = {
    FieldDescriptor.TYPE_INT32: lambda value: value.astype(np.int32),
    FieldDescriptor.TYPE_INT64: lambda value: value,
    FieldDescriptor.TYPE_UINT32: lambda value: value.astype(np.uint32),
    FieldDescriptor.TYPE_UINT64: lambda value: value.view(np.uint64),
    FieldDescriptor.TYPE_SINT32: lambda value: unzigzag(value).astype(np.int32),
    FieldDescriptor.TYPE_SINT64: unzigzag,
    FieldDescriptor.TYPE_BOOL: lambda value: value != 0,
}
_MOST_MICROS = 2**53
_Value: TypeAlias = Callable[[Reading, Rows], Found]


def message_step(message: Descriptor, wanted: frozenset[Names], within: frozenset[str] = frozenset()) -> Step | None:
    """How the wanted values of a message are read, from its first byte to its end; None if some cannot be read so.

    Args:
        message: Its type.
        wanted: Paths in it; the others are skipped.
        within: The types around it.
    """
    if () in wanted or message.full_name in within or message.full_name.startswith("google.protobuf."):
        return None
    steps: list[tuple[FieldDescriptor, Step]] = []
    for field in sorted(message.fields, key=lambda one: one.number):
        step = _field_step(field, wanted_below(wanted, field.name), within | {message.full_name})
        if step is None:
            return None
        steps.append((field, step))

    def read(reading: Reading, rows: Rows) -> Found:
        found: Found = {}
        for field, step in steps:
            found |= {(field.name, *names): values for names, values in step(reading, rows).items()}
        reading.finish(rows)
        return found

    return read


def _field_step(field: FieldDescriptor, wanted: frozenset[Names], within: frozenset[str]) -> Step | None:
    if field.type == FieldDescriptor.TYPE_GROUP or field.number >= 1 << 11:
        return None
    tag = _tag(field.number, _WIRE.get(field.type, _VARINT))
    if field.is_repeated:
        return None if wanted else _skipping({tag: _WIRE.get(field.type, _VARINT), _tag(field.number, _PIECE): _PIECE})
    if not wanted:
        return _skipping({tag: _WIRE.get(field.type, _VARINT)})
    one_of = field.containing_oneof
    if one_of is not None and len(one_of.fields) > 1:
        return None  # the last one in a record counts
    value = _value(field, wanted, within)
    if value is None:
        return None
    absent = _absent(field)

    def read(reading: Reading, rows: Rows) -> Found:
        present = reading.starts_with(rows, tag)
        if present.all():
            reading.skip(rows, len(tag))
            return value(reading, rows)
        some = rows_of(rows, present)
        reading.skip(some, len(tag))
        return spread(value(reading, some), present, absent)

    return read


def _tag(number: int, wire: int) -> bytes:
    key = number << 3 | wire
    return bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])


def _absent(field: FieldDescriptor) -> Any:
    """The value of a field that is not there."""
    if field.message_type is not None or (field.has_presence and not field.has_default_value):
        return None
    if field.enum_type is not None:
        found = field.enum_type.values_by_number.get(field.default_value)
        return field.default_value if found is None else found.name
    return field.default_value if not isinstance(field.default_value, bytes) else field.default_value.decode()


def _skipping(tags: dict[bytes, int]) -> Step:
    """Goes past a field that may come any number of times."""

    def read(reading: Reading, rows: Rows) -> Found:
        for tag, wire in tags.items():
            some = rows_of(rows, reading.starts_with(rows, tag))
            while reading.count(some):
                reading.skip(some, len(tag))
                if wire == _VARINT:
                    reading.varint(some)
                else:
                    reading.skip(some, {_EIGHT: 8, _FOUR: 4}.get(wire) or reading.varint(some))
                some = rows_of(some, reading.starts_with(some, tag))
        return {}

    return read


def _value(field: FieldDescriptor, wanted: frozenset[Names], within: frozenset[str]) -> _Value | None:
    """How the value after a tag is read."""
    kind = field.type
    if field.message_type is not None:
        return _message_value(field.message_type, wanted, within)
    if wanted != {()}:
        return None  # a path that leads into a value
    if field.enum_type is not None:
        if field.enum_type.is_closed:
            return None  # values that it lacks are unknown fields
        named = {one.number: one.name for one in reversed(field.enum_type.values)}

        def enum(reading: Reading, rows: Rows) -> Found:
            return {(): [named.get(one, one) for one in reading.varint(rows).astype(np.int32).tolist()]}

        return enum
    if kind in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return lambda reading, rows: {(): reading.texts(rows, reading.varint(rows))}
    if kind in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        dtype = "<f8" if kind == FieldDescriptor.TYPE_DOUBLE else "<f4"
        return lambda reading, rows: {(): reading.numbers(rows, dtype)}
    if (fixed := _OF_FIXED.get(kind)) is not None:
        return lambda reading, rows: {(): reading.fixed(rows, int(fixed[2])).view(fixed)[:, 0].tolist()}
    of = _OF_VARINT[kind]
    return lambda reading, rows: {(): of(reading.varint(rows)).tolist()}


def _message_value(message: Descriptor, wanted: frozenset[Names], within: frozenset[str]) -> _Value | None:
    inner: Step | None
    if message.full_name == "google.protobuf.Timestamp":
        inner = _timestamp if wanted == {()} else None
    else:
        inner = message_step(message, wanted, within)
    if inner is None:
        return None
    step = inner

    def read(reading: Reading, rows: Rows) -> Found:
        lengths = reading.varint(rows)
        outer, stops = reading.ends[rows].copy(), reading.at[rows] + lengths
        if lengths.min(initial=0) < 0 or (stops > outer).any():
            raise NotAlike
        reading.ends[rows] = stops
        found = step(reading, rows)
        reading.finish(rows)
        reading.ends[rows] = outer
        return found

    return read


def _timestamp(reading: Reading, rows: Rows) -> Found:
    parts = []
    for tag in (b"\x08", b"\x10"):
        present = reading.starts_with(rows, tag)
        some = rows_of(rows, present)
        reading.skip(some, 1)
        values = np.zeros(reading.count(rows), np.int64)
        values[present] = reading.varint(some)
        parts.append(values)
    seconds, nanos = parts
    if np.abs(seconds).max(initial=0) > _MOST_MICROS // 1_000_000 - 1 or seconds.min(initial=0) < -_MOST_MICROS:
        raise NotAlike
    return {(): moments(seconds * 1_000_000 + nanos.astype(np.int32) // 1000)}
