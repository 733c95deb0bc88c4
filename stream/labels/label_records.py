"""The records of a labels topic: `{"id": …, "label": …}`, or with the names of a model's own records."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from thalweg.proto import columns, thalweg_pb2
from thalweg.proto.bounds.json_depth import too_deep
from thalweg.proto.bounds.json_numbers import strict_json
from thalweg.proto.bounds.limits import MAX_JSON_DEPTH, MAX_LABEL_RECORD_BYTES
from thalweg.proto.bounds.texts import check_ids
from thalweg.proto.cloudevents import from_structured, is_structured
from thalweg.proto.encode import EVENT_HEADERS
from thalweg.proto.event import ClassLabels
from thalweg.proto.framing.framing import MAGIC, Unframing
from thalweg.proto.json_text import BYTE_ORDER_MARK, fault_of, json_of
from thalweg.proto.records import Partition
from thalweg.proto.rejected import Reason, Refused
from thalweg.proto.rows.assembly import name_of
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.rows.paths import Path, find, shown
from thalweg.proto.schema import InputError, Schema
from thalweg.stream.log.log import Message


class LabelRecord(NamedTuple):
    """A label and the id of its event."""

    id: str
    label: Any


class _Own(msgspec.Struct):
    """A record of our own form."""

    id: str | int | float
    label: Any


_DECODER = msgspec.json.Decoder(_Own)
_OWN = FieldMapping()


def unframed_label(value: bytes | None, unframing: Unframing | None, partition: Partition, offset: int) -> bytes | None:
    """The record of a label without the frame of a schema registry. Raises Refused where it cannot be read."""
    if unframing is None or not value or value[0] != MAGIC or len(value) > MAX_LABEL_RECORD_BYTES:
        return value
    form, content = unframing.open(value, partition, offset)
    if form != "json":
        raise Refused("bad_label", "expected a record with an id and a label, got an event")
    return content


def label_of(value: bytes | None, schema: Schema) -> LabelRecord:
    """Decodes the record of a label for events of this schema. Raises Refused if it is none.

    Id and label have the names of `Schema.fields`, if there are any; what is not found there may have our own name.
    They may be the data of a CloudEvent.
    """
    value = strict_json((value or b"").removeprefix(BYTE_ORDER_MARK))
    if len(value) > MAX_LABEL_RECORD_BYTES:
        raise Refused("too_large", f"expected at most {MAX_LABEL_RECORD_BYTES} bytes, got {len(value)}")
    if too_deep(value):
        raise Refused("malformed", f"expected JSON nested at most {MAX_JSON_DEPTH} deep, got deeper")
    fields = schema.fields or _OWN
    if not _leads_into_data(fields) and is_structured(value):
        try:
            value = from_structured(value).value
        except InputError as error:
            raise Refused("malformed", str(error)) from error
    form = f'expected {{"{fields.id or "id"}": …, "{fields.label or "label"}": …}}'
    try:
        id, label = _mapped(value, fields) if schema.fields is not None else _own(value)
        if label is None or (id := name_of("id", "bad_id", id)) is None:
            got, lacks = value.decode(errors="replace"), fields.label or "label" if label is None else fields.id or "id"
            wanted = f"expected an id and a label, {form.removeprefix('expected ')}"
            raise Refused("bad_label", f"{wanted}: `{lacks}` is missing, got {got:.200}")
        columns.check_label(schema, label)
        check_ids([id])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # also for a number too large for a float
        reason: Reason = "bad_label" if "`$.label" in str(error) else "malformed"
        said = _told(error, fields) if isinstance(error, msgspec.ValidationError) else fault_of(value, error)
        raise Refused(reason, f"{form}: {said:.200}") from None
    return LabelRecord(id, label)


def _told(error: msgspec.ValidationError, fields: FieldMapping) -> str:
    """What the decoder found wrong, with the names that the sender is to use."""
    text = str(error)
    for ours, named in (("id", fields.id), ("label", fields.label)):
        if named and named != ours:
            text = text.replace(f"field `{ours}`", f"field `{named}`")
    return text


def _leads_into_data(fields: FieldMapping) -> bool:
    """Whether the paths themselves find what is in a CloudEvent."""
    return any(path.partition(".")[0] == "data" for path in (fields.id, fields.label))


def _own(value: bytes) -> tuple[Any, Any]:
    record = _DECODER.decode(value)
    return record.id, record.label


def _mapped(value: bytes, fields: FieldMapping) -> tuple[Any, Any]:
    record = _record(value)
    if not isinstance(record, dict):
        raise Refused("malformed", f"expected a JSON object, got {shown(record)}")
    id, label = (
        record.get(ours) if (found := find(record, Path.of(where)) if where else None) is None else found
        for ours, where in (("id", fields.id), ("label", fields.label))
    )
    if id is None and label is None:
        return _own(value)
    return id, label


def _record(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.ValidationError:  # a number too large, perhaps in a field that nobody asked for
        return json_of(value)


def joined_event(schema: Schema, id: str, label: Any, value: bytes) -> Message:
    """The record of an event with its late label; `value`: the event as it waits, without one."""
    event = thalweg_pb2.Event.FromString(value)
    column = columns.label_column(schema, [label])
    if isinstance(column, ClassLabels):
        event.label_text = column.names[column.codes[0]]
    elif column is not None:
        event.label_numbers.values.extend(column.values[0].tolist())
    event.id = id
    key = event.key.encode() if event.HasField("key") else None
    return Message(event.SerializeToString(), key, EVENT_HEADERS)
