"""The records of a labels topic: `{"id": …, "label": …}`."""

from __future__ import annotations

from typing import Any

import msgspec

from thalweg.proto import columns
from thalweg.proto.rejected import Reason, Refused
from thalweg.proto.schema import Schema


class LabelRecord(msgspec.Struct):
    """A label and the id of its event."""

    id: str | int
    label: Any


_DECODER = msgspec.json.Decoder(LabelRecord)


def label_of(value: bytes | None, schema: Schema) -> LabelRecord:
    """Decodes the record of a label for events of this schema. Raises Refused if it is none."""
    try:
        record = _DECODER.decode(value or b"")
        columns.label_column(schema, [record.label])
        str(record.id).encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        # also for a number too large for a float, and for JSON nested too deeply
        reason: Reason = "bad_label" if "`$.label" in str(error) else "malformed"
        raise Refused(reason, f'expected {{"id": …, "label": …}}: {error}') from None
    if record.label is None or not str(record.id):
        raise Refused("bad_label", f"expected an id and a label, got {value!r:.200}")
    return record
