"""JSON bodies: parsed under bounds, and refused with words for their sender."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from thalweg.ops.serve.known_names import check_fields
from thalweg.proto.json_text import NotUtf8, NumberTooLong, json_of
from thalweg.proto.schema import InputError


def value_of(body: bytearray) -> Any:
    """The JSON value of a body. Raises InputError."""
    if not body.strip():
        raise InputError("the request is empty: expected JSON")
    try:
        return json_of(body)
    except (NotUtf8, NumberTooLong) as error:
        raise InputError(str(error)) from error
    except ValueError as error:
        raise InputError(f"the request is not JSON: {error}") from error


def object_of(body: bytearray, fields: Collection[str], expected: str) -> dict[str, Any]:
    """The JSON object of a body, which has no other fields than these. Raises InputError."""
    found = value_of(body)
    if not isinstance(found, dict):
        raise InputError(f"the request: expected {expected}")
    check_fields(found, fields, "the request")
    return found
