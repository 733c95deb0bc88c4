"""Protobuf schemas for tests, compiled as a registry's are, and records of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from tests.proto.framing.test_framing import framed
from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.stream.registry.protoc import compiled


@cache
def protobuf(text: str, **references: str) -> RegisteredSchema:
    """A schema as it was fetched; references by the names of their files without `.proto`."""
    names = tuple(f"{name}.proto" for name in references)
    schema = compiled(RegisteredSchema("PROTOBUF", text, tuple(references.values()), names))
    assert not schema.fault, schema.fault
    return schema


def message(schema: RegisteredSchema, name: str, values: dict[str, Any]) -> bytes:
    """A message of a schema, from its canonical JSON."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(schema.compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    written: bytes = json_format.ParseDict(values, kind(), descriptor_pool=pool).SerializeToString(deterministic=True)
    return written


def framed_message(id: int, payload: bytes, indexes: tuple[int, ...] = (0,)) -> bytes:
    """As a producer writes it: zig-zag varints of small numbers, and a zero alone for the first message."""
    place = b"\0" if indexes == (0,) else bytes([2 * len(indexes), *(2 * index for index in indexes)])
    return framed(id, place + payload)
