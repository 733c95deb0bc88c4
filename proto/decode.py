"""Records to columns: a run of records becomes one batch, and what cannot be used is named with its reason.

The same records always give the same batch, bit for bit. Nothing a record holds makes this raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeAlias

from thalweg.proto import cloudevents
from thalweg.proto.decode_json import Envelopes, JsonDecoder
from thalweg.proto.decode_protobuf import ProtobufDecoder
from thalweg.proto.event import Batch, Headers, InputError, Records, Schema, join
from thalweg.proto.rejected import Decoded, Reason, Rejected

__all__ = [
    "CONTENT_TYPE_EVENT",
    "CONTENT_TYPE_EVENT_BATCH",
    "CONTENT_TYPE_JSON",
    "Decoded",
    "Decoder",
    "Reason",
    "Rejected",
]

CONTENT_TYPE_JSON = b"application/json"
CONTENT_TYPE_EVENT = b"application/protobuf"
CONTENT_TYPE_EVENT_BATCH = b"application/protobuf; messageType=thalweg.v1.EventBatch"

_Kind: TypeAlias = Literal["json", "event", "event_batch", "refused"]


@dataclass(slots=True)
class _Record:
    """One record, its envelope taken off."""

    row: int
    kind: _Kind
    value: bytes
    id: str | None = None
    time: str | None = None
    refused: Rejected | None = None


class Decoder:
    """Decodes the records of one model's topic.

    Args:
        schema: What an event must look like; every input's shape must be fixed.
        max_record_bytes: Larger records are set aside unread.
    """

    def __init__(self, schema: Schema, *, max_record_bytes: int = 64 << 20) -> None:
        for spec in schema.inputs.values():
            if -1 in spec.shape:
                raise InputError(f"input {spec.name!r}: events need a fixed shape, got {list(spec.shape)}")
        self._schema = schema
        self._max_bytes = max_record_bytes
        self._json = JsonDecoder(schema)
        self._protobuf = ProtobufDecoder(schema)

    def decode(self, records: Records) -> Decoded:
        """One batch of all events, in the order of the records; and the records that cannot be used."""
        values = [value for value in records.values if value]
        plain = len(values) == len(records) > 0 and not any(records.headers)
        if plain and max(map(len, values)) <= self._max_bytes:
            return self._json.decode(records, range(len(values)), values, None)
        parts: list[Batch] = []
        rejected: list[Rejected] = []
        opened = [self._open(row, value, records.headers[row]) for row, value in enumerate(records.values)]
        for kind, group in groupby(opened, key=lambda record: record.kind):
            part = self._decode_group(records, kind, list(group))
            rejected += part.rejected
            if len(part.batch) or not parts:
                parts.append(part.batch)
        full = [part for part in parts if len(part)]
        return Decoded(join(full or parts) if parts else self._json.empty(), rejected)

    def _decode_group(self, records: Records, kind: _Kind, group: Sequence[_Record]) -> Decoded:
        rows = [record.row for record in group]
        values = [record.value for record in group]
        if kind == "json":
            bare = all(record.id is None and record.time is None for record in group)
            envelopes = None if bare else Envelopes([r.id for r in group], [r.time for r in group])
            return self._json.decode(records, rows, values, envelopes)
        if kind == "event":
            return self._protobuf.events(records, rows, values, [r.id for r in group], [r.time for r in group])
        if kind == "event_batch":
            return self._protobuf.event_batches(records, rows, values)
        return Decoded(self._json.empty(), [record.refused for record in group if record.refused is not None])

    def _open(self, row: int, value: bytes | None, headers: Headers) -> _Record:
        if not value:
            return self._refuse(row, "empty", "the record has no value")
        if len(value) > self._max_bytes:
            return self._refuse(row, "too_large", f"expected at most {self._max_bytes} bytes, got {len(value)}")
        if not headers:
            return _Record(row, "json", value)
        by_name = {name.lower(): content or b"" for name, content in headers}  # Kafka knows headers without a value
        content_type = by_name.get("content-type", b"").decode("latin-1")
        try:
            if content_type.lower().startswith(cloudevents.STRUCTURED):
                envelope = cloudevents.from_structured(value)
            elif "ce_specversion" in by_name or "ce_id" in by_name:
                envelope = cloudevents.from_headers(by_name, content_type, value)
            else:
                return _Record(row, _kind(content_type), value)
        except InputError as error:
            return self._refuse(row, "malformed", str(error))
        return _Record(row, _kind(envelope.content_type), envelope.value, envelope.id, envelope.time)

    def _refuse(self, row: int, reason: Reason, detail: str) -> _Record:
        return _Record(row, "refused", b"", refused=Rejected(row, reason, detail))


def _kind(content_type: str) -> _Kind:
    name = content_type.lower().replace('"', "").replace(" ", "")
    if name.startswith(("application/protobuf", "application/x-protobuf")):
        return "event_batch" if "messagetype=thalweg.v1.eventbatch" in name else "event"
    return "json"
