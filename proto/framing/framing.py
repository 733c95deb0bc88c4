"""The frame of a record for a schema registry, and what is in it as JSON.

Whoever decodes asks for schemas that were fetched before: nothing here waits, and the same records with the same
schemas always give the same text.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import msgspec

from thalweg.proto.bounds.counted import counted
from thalweg.proto.framing.avro import AvroReader
from thalweg.proto.framing.foreign_json import SchemaInvalid
from thalweg.proto.framing.protobuf import ProtobufReader
from thalweg.proto.records import Partition
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.assembly import name_of
from thalweg.proto.rows.table import Payloads

MAGIC = 0
"""The first byte of a framed record; no JSON and no protobuf message begins with it."""
Form: TypeAlias = Literal["json", "event", "event_batch"]
_OURS: dict[str, Form] = {"thalweg.v1.Event": "event", "thalweg.v1.EventBatch": "event_batch"}
_FRAME = struct.Struct(">BI")
FRAME_BYTES = _FRAME.size
_Reader: TypeAlias = AvroReader | ProtobufReader | Literal["JSON"]


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema of the registry; an id always names the same one."""

    form: str
    """`AVRO`, `JSON` or `PROTOBUF`."""
    text: str
    """The schema itself."""
    references: tuple[str, ...] = ()
    """The texts of the schemas that it names, each after those that it names itself."""
    names: tuple[str, ...] = ()
    """Under which it names them, if that is not in the texts: the paths of Protobuf's imports."""
    compiled: bytes = b""
    """Protobuf: a `FileDescriptorSet`, each file after those that it imports, its own the last."""
    fault: str = ""
    """Why it cannot be read; what is found when it is fetched stays so."""


class Schemas(Protocol):
    """The schemas that were fetched before the records are decoded."""

    @property
    def keys(self) -> bool:
        """Whether keys of records are read by their schemas, too; else a framed key is the bytes that it is."""

    def find(self, id: int, partition: Partition, offset: int) -> RegisteredSchema | None:
        """The schema with this id; None if the registry did not know it when the record at this place was read."""


def schema_id(value: bytes | None) -> int | None:
    """The id in the frame of a record; None if it is not framed."""
    if value is None or len(value) < _FRAME.size or value[0] != MAGIC:
        return None
    found: int = _FRAME.unpack_from(value)[1]
    return found


class Unframing:
    """What is in framed records.

    Args:
        schemas: What was fetched.
    """

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._readers: dict[int, _Reader | Refused] = {}

    def open(self, value: bytes, partition: Partition, offset: int) -> tuple[Form, bytes]:
        """The content of a framed record: JSON, or one of our own messages. Raises Refused with the id where it cannot
        be read.
        """
        id = schema_id(value)
        if id is None:
            raise Refused(
                "malformed", f"expected a zero byte and a schema id of 4 bytes, got {counted(len(value), 'byte')}"
            )
        reader = self._reader(id, partition, offset)
        payload = value[_FRAME.size :]
        try:
            if isinstance(reader, ProtobufReader):
                name, message = reader.message(payload)
                if name in _OURS:
                    return _OURS[name], message
            return "json", payload if reader == "JSON" else reader.json(payload)
        except Refused as error:
            raise Refused(error.reason, f"schema {id}: {error}") from error

    def rows(self, value: bytes, partition: Partition, offset: int) -> tuple[int, Payloads] | None:
        """The id of a framed record, or of its frame, and the reader of such records, if they can be read many at once;
        else None.
        """
        id = schema_id(value)
        if id is None:
            return None
        try:
            reader = self._reader(id, partition, offset)
        except Refused:
            return None
        if reader == "JSON" or (isinstance(reader, ProtobufReader) and reader.has(_OURS)):
            return None
        return id, reader

    def key(self, key: bytes, partition: Partition, offset: int) -> bytes | None:
        """The text in a framed key; None for an empty one. Raises Refused where it cannot be read, or is no text and no
        number.
        """
        try:
            form, value = self.open(key, partition, offset)
            if form != "json":
                raise Refused("bad_key", "key: expected a text or a number, got an event")
            found = name_of("key", "bad_key", msgspec.json.decode(value))
        except Refused as error:
            raise Refused(
                "bad_key" if error.reason == "malformed" else error.reason, f"key: {str(error).removeprefix('key: ')}"
            ) from error
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Refused("bad_key", f"key: expected a text or a number: {error}") from error
        return None if found is None else found.encode()

    def _reader(self, id: int, partition: Partition, offset: int) -> _Reader:
        schema = self._schemas.find(id, partition, offset)
        if schema is None:  # or not known yet when this record was read
            raise Refused("unknown_schema", f"the schema registry has no schema {id}")
        if id not in self._readers:
            self._readers[id] = _reader(id, schema)
        reader = self._readers[id]
        if isinstance(reader, Refused):
            raise reader
        return reader


def framed(values: Sequence[bytes | None]) -> bool:
    """Whether one of the records may be framed."""
    return any(value is not None and value[:1] == b"\0" for value in values)


def _reader(id: int, schema: RegisteredSchema) -> _Reader | Refused:
    if schema.fault:
        return Refused("unknown_schema", f"schema {id}: {schema.fault}")
    try:
        if schema.form == "JSON":
            return "JSON"
        if schema.form == "PROTOBUF":
            return ProtobufReader(schema.compiled)
        if schema.form == "AVRO":
            return AvroReader(schema.text, schema.references)
    except SchemaInvalid as error:
        return Refused("unknown_schema", f"schema {id}: {error}")
    return Refused("unknown_schema", f"schema {id} is {schema.form:.20}: expected AVRO, JSON or PROTOBUF")
