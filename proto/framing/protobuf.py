"""Protobuf records as JSON, by the compiled schema that they were written with.

Fields have the names of the schema. One that is absent is null where the schema can tell (messages, `optional`,
`oneof`), its declared default, or the zero of its type. Integers are numbers, enums the names of their values, bytes
text (base64 where they are no UTF-8); the well-known types are what they stand for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import msgspec
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from thalweg.proto.framing.foreign_json import SchemaInvalid, finite, told
from thalweg.proto.lockstep.protobuf import message_step
from thalweg.proto.lockstep.values import Names, Step, together
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.extraction import Values

_MOST_INDEXES = 32  # messages within messages
_MOST_FIELDS = 1_000_000  # of all messages of a record: an empty message takes two bytes, and may have many fields
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Of: TypeAlias = Callable[[Any, "_Budget"], Any]


class _Budget:
    """The fields that a record may still have."""

    def __init__(self) -> None:
        self.left = _MOST_FIELDS

    def take(self, fields: int) -> None:
        self.left -= fields
        if self.left < 0:
            raise Refused("too_large", f"expected at most {_MOST_FIELDS} fields in all messages of a record, got more")


class ProtobufReader:
    """Reads records of one schema.

    Args:
        compiled: A `FileDescriptorSet`, each file after those that it imports; the schema's own file is the last one.

    Raises:
        SchemaInvalid: It is none.
    """

    def __init__(self, compiled: bytes) -> None:
        pool = DescriptorPool()
        try:
            files = FileDescriptorSet.FromString(compiled).file
            for file in files:
                pool.AddSerializedFile(file.SerializeToString())
            self._file = pool.FindFileByName(files[-1].name)
        except Exception as error:  # of the library, whatever the bytes may be
            raise SchemaInvalid(f"no compiled Protobuf schema: {told(error)}") from error
        self._top = list(self._file.message_types_by_name.values())
        self._steps: dict[tuple[tuple[int, ...], frozenset[Names]], Step | None] = {}
        self._known: dict[tuple[int, ...], tuple[type[Message], _Of]] = {}

    def columns(self, payloads: Sequence[bytes], wanted: frozenset[Names]) -> Mapping[Names, Values] | None:
        """As `Payloads.columns`."""
        try:
            indexes, start = _indexes(payloads[0])
            key = (indexes, wanted)
            if key not in self._steps:
                self._steps[key] = message_step(self._descriptor(indexes), wanted)
        except Refused:
            return None
        step, head = self._steps[key], payloads[0][:start]
        if step is None or not all(payload.startswith(head) for payload in payloads):
            return None
        return together(step, payloads, start)

    def has(self, names: Collection[str]) -> bool:
        """Whether the schema has a message of one of these full names."""
        return any(one.full_name in names for one in self._top)

    def message(self, payload: bytes) -> tuple[str, bytes]:
        """The full name of the message in a record, and its bytes. Raises Refused if there is none."""
        indexes, start = _indexes(payload)
        return self._descriptor(indexes).full_name, payload[start:]

    def object(self, payload: bytes) -> dict[str, Any]:
        """The record as a JSON object; NaN is None. Raises Refused if it is not one of this schema."""
        indexes, start = _indexes(payload)
        if indexes not in self._known:
            descriptor = self._descriptor(indexes)
            self._known[indexes] = (message_factory.GetMessageClass(descriptor), _of_message(descriptor, {}))
        kind, of = self._known[indexes]
        try:
            message = kind.FromString(payload[start:])
        except DecodeError as error:
            raise Refused("malformed", f"no {kind.DESCRIPTOR.full_name}: {told(error)}") from error
        found = of(message, _Budget())
        if not isinstance(found, dict):
            raise Refused("malformed", f"expected a message of fields, got {kind.DESCRIPTOR.full_name}")
        return found

    def json(self, payload: bytes) -> bytes:
        """As `object`, as a JSON text."""
        return msgspec.json.encode(finite(self.object(payload)))

    def _descriptor(self, indexes: tuple[int, ...]) -> Descriptor:
        within, found = self._top, None
        for index in indexes:
            if index >= len(within):
                shown = ", ".join(map(str, indexes))
                raise Refused("malformed", f"the schema has no message of the indexes {shown}")
            found = within[index]
            within = [one for one in found.nested_types if not one.GetOptions().map_entry]  # none in the text
        assert found is not None
        return found


def _indexes(payload: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of the schema a record is, from the outermost inwards, and where it begins.

    A zero alone is the first message.
    """
    count, place = _zigzag(payload, 0)
    if count == 0:
        return (0,), place
    if not 0 < count <= _MOST_INDEXES:
        raise Refused("malformed", f"expected 1 to {_MOST_INDEXES} message indexes, got {count}")
    found = []
    for _ in range(count):
        index, place = _zigzag(payload, place)
        if index < 0:
            raise Refused("malformed", f"expected a message index of at least 0, got {index}")
        found.append(index)
    return tuple(found), place


def _zigzag(payload: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if place >= len(payload):
            break
        byte = payload[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return (value >> 1) ^ -(value & 1), place
    raise Refused("malformed", "expected the indexes of a message before it")


def _of_message(descriptor: Descriptor, known: dict[str, _Of]) -> _Of:
    """How a message becomes a JSON value; `known`: those of the messages around it, which it may hold again."""
    if descriptor.full_name in _WELL_KNOWN:
        return _WELL_KNOWN[descriptor.full_name]
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    fields: list[tuple[str, Callable[[Message, _Budget], Any]]] = []

    def of(message: Message, budget: _Budget) -> dict[str, Any]:
        budget.take(len(fields))
        return {name: value(message, budget) for name, value in fields}

    known[descriptor.full_name] = of
    fields += [(field.name, _of_field(field, known)) for field in descriptor.fields]
    return of


def _of_field(field: FieldDescriptor, known: dict[str, _Of]) -> Callable[[Message, _Budget], Any]:
    name = field.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_held = _of_value(field.message_type.fields_by_name["value"], known) or _same
        return lambda message, budget: {_key(key): of_held(one, budget) for key, one in getattr(message, name).items()}
    found = _of_value(field, known)
    if field.is_repeated and found is None:
        return lambda message, budget: list(getattr(message, name))
    of = found or _same
    if field.is_repeated:
        return lambda message, budget: [of(one, budget) for one in getattr(message, name)]
    if not field.has_presence or field.has_default_value:  # what is absent is the zero of its type, or the default
        return lambda message, budget: of(getattr(message, name), budget)
    return lambda message, budget: of(getattr(message, name), budget) if message.HasField(name) else None


def _of_value(field: FieldDescriptor, known: dict[str, _Of]) -> _Of | None:
    """How one value of a field becomes a JSON value; None: as it is."""
    if field.message_type is not None:
        return _of_message(field.message_type, known)
    if field.enum_type is not None:
        names = {one.number: one.name for one in reversed(field.enum_type.values)}  # of aliases, the first
        return lambda value, budget: names.get(value, value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value, budget: _text(value)
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return lambda value, budget: None if math.isnan(value) else value
    return None


def _same(value: Any, budget: _Budget) -> Any:
    return value


def _key(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _timestamp(message: Any, budget: _Budget) -> str:
    try:
        moment = _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError:
        raise Refused(
            "invalid_time", f"a Timestamp: expected the years 1 to 9999, got {message.seconds} s since 1970"
        ) from None
    return moment.isoformat()


def _duration(message: Any, budget: _Budget) -> float:
    return float(message.seconds + message.nanos / 1e9)


def _wrapped(message: Any, budget: _Budget) -> Any:
    value = message.value
    if isinstance(value, bytes):
        return _text(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _struct(message: Any, budget: _Budget) -> dict[str, Any]:
    budget.take(len(message.fields))
    return {name: _json_value(value, budget) for name, value in message.fields.items()}


def _json_list(message: Any, budget: _Budget) -> list[Any]:
    budget.take(len(message.values))
    return [_json_value(value, budget) for value in message.values]


def _json_value(message: Any, budget: _Budget) -> Any:
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    value = getattr(message, kind)
    if kind == "struct_value":
        return _struct(value, budget)
    if kind == "list_value":
        return _json_list(value, budget)
    return None if isinstance(value, float) and math.isnan(value) else value


def _decimal(message: Any, budget: _Budget) -> int | float:
    """Of Confluent's decimals: an integer of big-endian bytes, and the digits after the point."""
    number = int.from_bytes(message.value, "big", signed=True)
    scale = message.scale
    if scale == 0:
        return number
    try:
        return number / 10**scale if 0 < scale <= 400 else float(f"{number}e{-scale}")
    except (OverflowError, ValueError):
        return math.inf if number > 0 else -math.inf


_WELL_KNOWN: Mapping[str, _Of] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _json_list,
    "google.protobuf.Value": _json_value,
    "confluent.type.Decimal": _decimal,
    **dict.fromkeys(
        (
            f"google.protobuf.{kind}Value"
            for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
        ),
        _wrapped,
    ),
}
