"""Rows of ten named columns in the forms other than JSON: framed Avro and Protobuf, and our own protobuf messages."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fastavro
import numpy as np
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from benchmarks.columns import LABELS, Stream
from thalweg.models.columns.settings import columns_of
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch, to_events
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.stream.log.log import Message
from thalweg.stream.registry.protoc import compiled

PER_BATCH = 500
_AVRO = {
    "numeric": "double",
    "categorical": "string",
    "boolean": "boolean",
    "datetime": {"type": "long", "logicalType": "timestamp-millis"},
}
_PROTOBUF = {
    "numeric": "optional double",
    "categorical": "optional string",
    "boolean": "optional bool",
    "datetime": "google.protobuf.Timestamp",
}


class Framed:
    """A registry of the two schemas, and records of them. A value that is missing is null in Avro, absent in Protobuf.

    Args:
        stream: The rows.
    """

    def __init__(self, stream: Stream) -> None:

        kinds = {name: column.kind for name, column in columns_of(stream.columns).items()}
        fields = [{"name": name, "type": ["null", _AVRO[kind]]} for name, kind in kinds.items()]
        own = [{"name": "row", "type": "string"}, {"name": "answer", "type": "boolean"}]
        self._avro = fastavro.parse_schema({"type": "record", "name": "Row", "fields": [*own, *fields]})
        lines = [f"{_PROTOBUF[kind]} {name} = {place + 3};" for place, (name, kind) in enumerate(kinds.items())]
        text = f"""syntax = "proto3"; import "google/protobuf/timestamp.proto";
            message Row {{ string row = 1; bool answer = 2; {" ".join(lines)} }}"""
        protobuf = compiled(RegisteredSchema("PROTOBUF", text))
        self.schemas = {1: RegisteredSchema("AVRO", json.dumps(self._avro)), 2: protobuf}
        pool = DescriptorPool()
        for file in FileDescriptorSet.FromString(protobuf.compiled).file:
            pool.AddSerializedFile(file.SerializeToString())
        self._message = message_factory.GetMessageClass(pool.FindMessageTypeByName("Row"))
        self._kinds = kinds

    def fetch(self, id: int) -> RegisteredSchema | None:
        """As a registry."""
        return self.schemas.get(id)

    def avro(self, row: Mapping[str, Any]) -> bytes:
        """A row, framed."""
        content = io.BytesIO()
        fastavro.schemaless_writer(content, self._avro, self._typed(row))
        return b"\0\0\0\0\1" + content.getvalue()

    def protobuf(self, row: Mapping[str, Any]) -> bytes:
        """A row, framed."""
        given = {name: value for name, value in self._typed(row).items() if value is not None}
        moments = {name: given.pop(name) for name, kind in self._kinds.items() if kind == "datetime" and name in given}
        message = self._message(**given)
        for name, millis in moments.items():
            getattr(message, name).FromMilliseconds(millis)
        return b"\0\0\0\0\2\0" + message.SerializeToString()

    def _typed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        typed = dict(row)
        for name, kind in self._kinds.items():
            value = row.get(name)
            if value is None or value == "":
                typed[name] = None
            elif kind == "datetime":
                typed[name] = round(value * 1000)
            elif kind == "boolean":
                typed[name] = bool(value)
        return typed


def framed_records(rows: Sequence[Mapping[str, Any]], write: Callable[[Mapping[str, Any]], bytes]) -> list[Message]:
    """One record per row."""
    return [Message(write(row)) for row in rows]


def event_records(stream: Stream, answers: Sequence[bool]) -> tuple[list[Message], list[Message]]:
    """The rows as `Event` records, one each, and as `EventBatch` records of 500."""
    count = len(stream.labels)
    codes = np.array([int(answer) for answer in answers], dtype=np.int32)
    ids = [f"r{number}" for number in range(count)]
    batch = Batch(stream.inputs, ClassLabels(codes, LABELS), np.ones(count), np.full(count, 1.7e9), ids)
    single = [Message(value, None, EVENT_HEADERS) for value in to_events(batch)]
    parts = (batch.take(np.arange(start, min(start + PER_BATCH, count))) for start in range(0, count, PER_BATCH))
    return single, [Message(to_event_batch(part), None, EVENT_BATCH_HEADERS) for part in parts]
