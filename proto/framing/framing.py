"""The frame of a record for a schema registry, and what is in it as JSON.

Whoever decodes asks for schemas that were fetched before: nothing here waits, and the same records with the same
schemas always give the same text.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from thalweg.proto.framing.avro import AvroReader, SchemaInvalid
from thalweg.proto.records import Partition
from thalweg.proto.rejected import Refused

MAGIC = 0
"""The first byte of a framed record; no JSON and no protobuf message begins with it."""
_FRAME = struct.Struct(">BI")


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema of the registry; an id always names the same one."""

    form: str
    """`AVRO`, `JSON` or `PROTOBUF`."""
    text: str
    """The schema itself."""
    references: tuple[str, ...] = ()
    """The texts of the schemas that it names, each after those that it names itself."""


class Schemas(Protocol):
    """The schemas that were fetched before the records are decoded."""

    def find(self, id: int, partition: Partition, offset: int) -> RegisteredSchema | None:
        """The schema with this id; None if the registry did not know it when the record at this place was read."""


def schema_id(value: bytes | None) -> int | None:
    """The id in the frame of a record; None if it is not framed."""
    if value is None or len(value) < _FRAME.size or value[0] != MAGIC:
        return None
    found: int = _FRAME.unpack_from(value)[1]
    return found


class Unframing:
    """Framed records as JSON.

    Args:
        schemas: What was fetched.
    """

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._readers: dict[int, AvroReader | Literal["JSON"] | Refused] = {}

    def json(self, value: bytes, partition: Partition, offset: int) -> bytes:
        """The content of a framed record. Raises Refused with the id where it cannot be read."""
        id = schema_id(value)
        if id is None:
            raise Refused("malformed", f"expected a zero byte and a schema id of 4 bytes, got {len(value)} bytes")
        reader = self._readers.get(id)
        if reader is None or isinstance(reader, Refused):
            schema = self._schemas.find(id, partition, offset)
            if schema is None:
                raise Refused("unknown_schema", f"the schema registry has no schema {id}")
            if reader is None:
                reader = self._readers[id] = _reader(id, schema)
            if isinstance(reader, Refused):
                raise reader
        elif self._schemas.find(id, partition, offset) is None:  # not known yet when this record was read
            raise Refused("unknown_schema", f"the schema registry has no schema {id}")
        payload = value[_FRAME.size :]
        try:
            return payload if reader == "JSON" else reader.json(payload)
        except Refused as error:
            raise Refused(error.reason, f"schema {id}: {error}") from error


def framed(values: Sequence[bytes | None]) -> bool:
    """Whether one of the records may be framed."""
    return any(value is not None and value[:1] == b"\0" for value in values)


def _reader(id: int, schema: RegisteredSchema) -> AvroReader | Literal["JSON"] | Refused:
    if schema.form == "JSON":
        return "JSON"
    if schema.form != "AVRO":
        return Refused("unknown_schema", f"schema {id} is {schema.form:.20}: expected AVRO or JSON")
    try:
        return AvroReader(schema.text, schema.references)
    except SchemaInvalid as error:
        return Refused("unknown_schema", f"schema {id}: {error}")
