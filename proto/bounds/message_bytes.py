"""What a protobuf message takes in memory once it is parsed, from its bytes and before it is.

A message may be small and expand: an empty sub-message is two bytes on the wire and an object in memory, a number one
byte and eight. What is counted here is rather too much than too little: with what it takes to read the values into
arrays.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_MESSAGE_BYTES = 400  # of a sub-message, with its place in a list, and of the objects that read it
_TEXT_BYTES = 150  # of a text beside its own bytes, likewise
_VARINT, _DELIMITED = 0, 2  # how a field is written
_NUMBERS = {_VARINT: 0, 1: 8, 5: 4}  # of one number, and its bytes where they are fixed
_PIECE_BYTES = 1 << 20
_SIZES = {
    FieldDescriptor.CPPTYPE_BOOL: 1,
    FieldDescriptor.CPPTYPE_FLOAT: 4,
    FieldDescriptor.CPPTYPE_INT32: 4,
    FieldDescriptor.CPPTYPE_UINT32: 4,
    FieldDescriptor.CPPTYPE_ENUM: 4,
}
_FIXED = {
    FieldDescriptor.TYPE_FLOAT: 4,
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_SFIXED32: 4,
    FieldDescriptor.TYPE_DOUBLE: 8,
    FieldDescriptor.TYPE_FIXED64: 8,
    FieldDescriptor.TYPE_SFIXED64: 8,
}


def parsed_bytes(kind: type[Message], content: bytes, most: int) -> int:
    """Bytes of memory that a message takes beside its content.

    Args:
        kind: Of the message.
        content: The message as it came; where it is none, what comes before the fault counts.
        most: Counting ends when this is passed.
    """
    at, end, taken = 0, len(content), 0
    fields = _fields(kind.DESCRIPTOR)
    outer: list[tuple[dict[int, FieldDescriptor], int]] = []
    try:
        while taken <= most:
            while at >= end and outer:
                fields, end = outer.pop()
            if at >= end:
                break
            tag, at = _varint(content, at)
            wire, field = tag & 7, fields.get(tag >> 3)
            if wire == _DELIMITED:
                length, at = _varint(content, at)
                if field is not None and field.message_type is not None:
                    taken += _MESSAGE_BYTES
                    outer.append((fields, end))
                    fields, end = _fields(field.message_type), min(end, at + length)
                    continue
                taken += length if field is None else _values(field, content, at, min(length, end - at))
                at += length
            elif wire in _NUMBERS:
                taken += _element(field)
                at = at + _NUMBERS[wire] if wire != _VARINT else _varint(content, at)[1]
            else:  # a group, which no message of ours has, or no message
                return taken + end - at
    except IndexError:  # it ends within a field, and the parser will say so
        pass
    return taken


def _values(field: FieldDescriptor, content: bytes, at: int, length: int) -> int:
    """Of a text, or of packed numbers."""
    if field.type in (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING):
        return length + _TEXT_BYTES
    size = _FIXED.get(field.type)
    return (length // size if size else _varints(content, at, at + length)) * _element(field)


def _varints(content: bytes, at: int, end: int) -> int:
    """How many numbers of variable length stand there: the last byte of each is below 128."""
    whole = np.frombuffer(content, np.uint8, end - at, at)
    return sum(
        int(np.count_nonzero(whole[start : start + _PIECE_BYTES] < 128)) for start in range(0, len(whole), _PIECE_BYTES)
    )


def _element(field: FieldDescriptor | None) -> int:
    """Of a number: in a list that grew by doubling, and in the arrays that it is read into."""
    return 16 if field is None else 2 * _SIZES.get(field.cpp_type, 8) + 16


@lru_cache(256)
def _fields(kind: Any) -> dict[int, FieldDescriptor]:
    return dict(kind.fields_by_number)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    byte = content[at]
    if byte < 128:
        return byte, at + 1
    value, shift = byte & 127, 7
    while True:
        at += 1
        byte = content[at]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at + 1
        shift += 7
        if shift > 63:
            raise IndexError
