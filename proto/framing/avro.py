"""Avro records as JSON, by the schema that they were written with.

Logical types: decimals are numbers, timestamps, dates and times RFC 3339, UUIDs texts. One that is unknown is ignored,
as the specification says: the value of the type beneath it comes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import msgspec

from thalweg.proto.bounds.counted import counted
from thalweg.proto.framing.foreign_json import SchemaInvalid, finite, told
from thalweg.proto.lockstep.avro import avro_step
from thalweg.proto.lockstep.values import Names, Step, together
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.extraction import Values
from thalweg.proto.rows.foreign import plain

_LOGICAL = {
    "int": ("date", "time-millis"),
    "long": (
        "time-micros",
        "timestamp-millis",
        "timestamp-micros",
        "local-timestamp-millis",
        "local-timestamp-micros",
    ),
    "string": ("uuid",),
}
_NO_TYPES = {"default", "doc", "symbols", "aliases", "name", "namespace"}
"""What a schema may hold besides types."""


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
                fastavro.parse_schema(_known_kinds(json.loads(one)), named_schemas=named)
            self._schema = fastavro.parse_schema(_known_kinds(json.loads(text)), named_schemas=named)
        except Exception as error:  # of the library, or of what is not even JSON
            raise SchemaInvalid(f"no Avro schema: {told(error)}") from error
        if _has_free_items(self._schema, named):
            raise SchemaInvalid("an array of items that take no bytes: a few bytes would claim any number of them")
        self._read = fastavro.schemaless_reader
        self._named = named
        self._steps: dict[frozenset[Names], Step | None] = {}

    def columns(self, payloads: Sequence[bytes], wanted: frozenset[Names]) -> Mapping[Names, Values] | None:
        """As `Payloads.columns`."""
        if wanted not in self._steps:
            self._steps[wanted] = avro_step(self._schema, self._named, wanted)
        step = self._steps[wanted]
        return None if step is None else together(step, payloads)

    def json(self, payload: bytes) -> bytes:
        """The record as a JSON text. Raises Refused if it is not one of this schema."""
        stream = BytesIO(payload)
        try:
            found = self._read(stream, self._schema, None)
            rest = len(payload) - stream.tell()
            text = msgspec.json.encode(finite(plain(found)))
        except Exception as error:  # whatever the bytes may be
            raise Refused("malformed", f"no Avro record of it: {told(error)}") from error
        if rest:
            raise Refused("malformed", f"{counted(rest, 'byte is', 'bytes are')} left after the Avro record")
        return text


def _known_kinds(schema: Any) -> Any:
    """A schema without the logical types that are unknown, or that the type beneath them cannot have."""
    if isinstance(schema, list):
        return [_known_kinds(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    known = {name: value if name in _NO_TYPES else _known_kinds(value) for name, value in schema.items()}
    logical = schema.get("logicalType")
    if logical is not None and not _is_sound(schema.get("type"), logical, schema):
        del known["logicalType"]
    return known


def _is_sound(kind: Any, logical: Any, schema: Mapping[str, Any]) -> bool:
    if logical == "decimal":
        precision, scale = schema.get("precision"), schema.get("scale", 0)
        if type(precision) is not int or type(scale) is not int or kind not in ("bytes", "fixed"):
            return False
        return 0 <= scale <= precision and precision > 0
    return isinstance(kind, str) and isinstance(logical, str) and logical in _LOGICAL.get(kind, ())


def _has_free_items(schema: Any, named: Mapping[str, Any]) -> bool:
    """Whether an array in a schema may have members of no bytes; every other value takes a byte at least."""
    waiting, seen = [schema], set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if one in seen or one not in named:
                continue
            seen.add(one)
            one = named[one]
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            if one.get("type") == "array" and _is_free(one["items"], named, frozenset()):
                return True
            inner = (one.get("items"), one.get("values"), one.get("type"), *(f["type"] for f in one.get("fields", ())))
            waiting += [part for part in inner if part is not None]
    return False


def _is_free(schema: Any, named: Mapping[str, Any], within: frozenset[str]) -> bool:
    """Whether a value of a schema takes no bytes; a record within itself takes some, or is endless."""
    if isinstance(schema, str):
        if schema in named and schema not in within:
            return _is_free(named[schema], named, within | {schema})
        return schema == "null"
    if not isinstance(schema, dict):
        return False  # a union begins with an index
    kind = schema.get("type")
    if kind in ("record", "error"):
        return all(_is_free(field["type"], named, within) for field in schema.get("fields", ()))
    return schema.get("size") == 0 if kind == "fixed" else _is_free(kind, named, within)
