"""Avro records as JSON, by the schema that they were written with.

Logical types: decimals are numbers, timestamps, dates and times RFC 3339, UUIDs texts. One that is unknown is ignored,
as the specification says: the value of the type beneath it comes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import msgspec

from thalweg.proto.rejected import Refused
from thalweg.proto.rows.foreign import plain

_BEYOND = msgspec.Raw(b"1e999")  # JSON has no infinity; a number too large is refused as one


class SchemaInvalid(Exception):
    """The text is no Avro schema; the message says why."""


class AvroReader:
    """Reads records of one schema.

    Args:
        text: The schema.
        references: The schemas of the names in it, each after those that it names itself.

    Raises:
        SchemaInvalid: One of them is no Avro schema.
    """

    def __init__(self, text: str, references: Sequence[str] = ()) -> None:
        import fastavro  # an extra: needed by those who configure a registry

        named: dict[str, Any] = {}
        try:
            for one in references:
                fastavro.parse_schema(json.loads(one), named_schemas=named)
            self._schema = fastavro.parse_schema(json.loads(text), named_schemas=named)
        except Exception as error:  # of the library, or of what is not even JSON
            raise SchemaInvalid(f"no Avro schema: {_told(error)}") from error
        self._read = fastavro.schemaless_reader

    def json(self, payload: bytes) -> bytes:
        """The record as a JSON text. Raises Refused if it is not one of this schema."""
        stream = BytesIO(payload)
        try:
            found = self._read(stream, self._schema, None)
            rest = len(payload) - stream.tell()
            text = msgspec.json.encode(_finite(plain(found)))
        except Exception as error:  # whatever the bytes may be
            raise Refused("malformed", f"no Avro record of it: {_told(error)}") from error
        if rest:
            raise Refused("malformed", f"{rest} bytes are left after the Avro record")
        return text


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return _BEYOND
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return value


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
