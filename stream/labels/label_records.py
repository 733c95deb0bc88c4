"""The records of a labels topic: `{"id": …, "label": …}`."""

from __future__ import annotations

from typing import Any

import msgspec

from thalweg.proto import columns, thalweg_pb2
from thalweg.proto.bounds.json_depth import too_deep
from thalweg.proto.bounds.limits import MAX_JSON_DEPTH, MAX_LABEL_RECORD_BYTES
from thalweg.proto.bounds.texts import check_ids
from thalweg.proto.encode import EVENT_HEADERS
from thalweg.proto.event import ClassLabels
from thalweg.proto.json_text import BYTE_ORDER_MARK, fault_of
from thalweg.proto.rejected import Reason, Refused
from thalweg.proto.schema import Schema
from thalweg.stream.log.log import Message


class LabelRecord(msgspec.Struct):
    """A label and the id of its event."""

    id: str | int
    label: Any


_DECODER = msgspec.json.Decoder(LabelRecord)


def label_of(value: bytes | None, schema: Schema) -> LabelRecord:
    """Decodes the record of a label for events of this schema. Raises Refused if it is none."""
    value = value or b""
    if len(value) > MAX_LABEL_RECORD_BYTES:
        raise Refused("too_large", f"expected at most {MAX_LABEL_RECORD_BYTES} bytes, got {len(value)}")
    if too_deep(value):
        raise Refused("malformed", f"expected JSON nested at most {MAX_JSON_DEPTH} deep, got deeper")
    try:
        record = _DECODER.decode(value.removeprefix(BYTE_ORDER_MARK))
        if record.label is None or record.id == "":
            raise Refused("bad_label", f"expected an id and a label, got {value!r:.200}")
        columns.check_label(schema, record.label)
        check_ids([str(record.id)])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # also for a number too large for a float
        reason: Reason = "bad_label" if "`$.label" in str(error) else "malformed"
        said = str(error) if isinstance(error, msgspec.ValidationError) else fault_of(value, error)
        raise Refused(reason, f'expected {{"id": …, "label": …}}: {said:.200}') from None
    return record


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
