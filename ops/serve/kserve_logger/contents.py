"""What a logged body holds: JSON, perhaps packed by gzip, perhaps followed by the raw values of tensors.

The logger posts the bytes of a body and none of its headers: neither its encoding nor, of the binary tensor extension
that Triton's clients use, the length of the JSON. Both are seen from the bytes themselves.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from thalweg.ops.serve.bounds.byte_budget import HELD
from thalweg.ops.serve.errors import TooLarge
from thalweg.ops.serve.http_api.binary_tensors import RawInputs
from thalweg.proto.json_text import as_json, expanded_bytes, json_of
from thalweg.proto.schema import InputError

_GZIP = b"\x1f\x8b"
_MOST_EXPANDED = 16 << 20
_SIZE = b'"binary_data_size"'


def contents_of(data: bytes, expected: str) -> tuple[Mapping[str, Any], RawInputs]:
    """The object of a body, and the raw values behind it; `expected`: for the error.

    Raises:
        InputError: It has none.
        TooLarge, QueueFull: It expands to too much.
    """
    if not data.strip():
        raise InputError(f"the request is empty: expected {expected}")
    if data[:2] == _GZIP:
        data = _unpacked(data)
        if (held := HELD.get()) is not None:  # what came as it is was counted when it came
            held.add(len(data) + expanded_bytes(data))
    end = _end_of_json(data) if _SIZE in data else len(data)
    try:
        found = json_of(data[:end])
    except ValueError as error:
        raise InputError(f"expected {expected}; it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"expected {expected}, got {as_json(found)}")
    return found, RawInputs(memoryview(data)[end:])


def _end_of_json(data: bytes) -> int:
    """How long the JSON is that a body begins with; all of it if that is none."""
    try:
        _, end = json.JSONDecoder().raw_decode(data.decode("latin-1"))  # a character for each byte
    except (ValueError, RecursionError):
        return len(data)
    return end if data[end:].strip() else len(data)


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(31)
    try:
        found = unpacker.decompress(data, _MOST_EXPANDED)
    except zlib.error as error:
        raise InputError(f"the body is not gzip, which it begins as: {error}") from error
    if unpacker.unconsumed_tail:
        raise TooLarge(f"the body expands to more than {_MOST_EXPANDED} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise InputError("the body is not gzip, which it begins as: it ends too early, or bytes follow its end")
    return found
