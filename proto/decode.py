"""Records to columns: a run of records becomes one batch; invalid records are listed with their reason.

The same records always give the same batch, bit for bit. No content of a record makes this raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from thalweg.proto import cloudevents
from thalweg.proto.bounds.json_numbers import strict_json
from thalweg.proto.bounds.limits import MAX_HEADERS_BYTES
from thalweg.proto.cloudevents import Envelopes
from thalweg.proto.columns import empty_batch
from thalweg.proto.decode_json import JsonDecoder
from thalweg.proto.decode_protobuf import ProtobufDecoder
from thalweg.proto.event import Batch, Decoded, join
from thalweg.proto.framing.framing import FRAME_BYTES, MAGIC, Form, Schemas, Unframing, framed, schema_id
from thalweg.proto.records import Headers, Records
from thalweg.proto.rejected import Reason, Refused, Rejected, without_tombstones
from thalweg.proto.rows.decoder import RowDecoder
from thalweg.proto.rows.table import Payloads
from thalweg.proto.schema import InputError, Schema

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

_MESSAGES: dict[str, Form] = {"thalweg.v1.event": "event", "thalweg.v1.eventbatch": "event_batch"}


@dataclass(frozen=True, slots=True)
class _Opened:
    """One record without its envelope, or why it is invalid."""

    row: int
    value: bytes
    form: Form = "json"
    envelope: cloudevents.Envelope | None = None
    refused: Rejected | None = None
    schema: int = -1
    """Of the registry, of a record that is still in its form, without its frame; -1: `form` says what it is."""
    payloads: Payloads | None = None
    """Reads those."""


class Decoder:
    """Decodes the records of one model's topic.

    Args:
        schema: The schema of events; every input's shape must be fixed.
        max_record_bytes: Larger records are rejected unread.
        max_future_seconds: Events dated further ahead of their record are rejected; None: the records' times are not
            those of a log, and say nothing about the events'.
        schemas: For records framed for a schema registry; None: there are none.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        max_record_bytes: int = 64 << 20,
        max_future_seconds: float | None = None,
        schemas: Schemas | None = None,
    ) -> None:
        for spec in schema.inputs.values():
            if -1 in spec.shape:
                raise InputError(f"input {spec.name!r}: events need a fixed shape, got {list(spec.shape)}")
        self._schema = schema
        self._max_bytes = max_record_bytes
        self._unframing = None if schemas is None else Unframing(schemas)
        self._reads_keys = schemas is not None and schemas.keys
        plain = schema.fields is None and not schema.columns
        self._unwraps = not any(path.partition(".")[0] == "data" for path in _paths(schema))
        """Whether the data of CloudEvents is looked for; not if the schema's own paths lead into it."""
        self._json = (JsonDecoder if plain else RowDecoder)(schema, max_future_seconds)
        self._nan_is_missing = all(name in schema.columns for name in schema.inputs)
        self._protobuf = ProtobufDecoder(schema, max_future_seconds)

    def decode(self, records: Records) -> Decoded:
        """One batch of all valid events, in record order; and the invalid records."""
        found = self._decoded(records)
        if found.rejected:
            left = without_tombstones(found.rejected, records.values)
            found = Decoded(found.batch, left, len(found.rejected) - len(left))
        if self._unframing is None and any(one.reason == "malformed" for one in found.rejected):
            hinted = [_hinted(one, records.values[one.row]) for one in found.rejected]
            return replace(found, rejected=hinted)
        return found

    def _decoded(self, records: Records) -> Decoded:
        bad_keys: dict[int, Rejected] = {}
        if self._unframing is not None and self._reads_keys and framed(records.keys):
            records, bad_keys = _with_read_keys(records, self._unframing)
        if not bad_keys and (payloads := self._common_payloads(records)) is not None:
            values = [value[FRAME_BYTES:] for value in records.values if value]
            return self._decode("json", records, range(len(records)), values, None, payloads)
        form = None if bad_keys else self._common_form(records)
        if form is not None:
            return self._decode(form, records, range(len(records)), [value for value in records.values if value])
        batches: list[Batch] = []
        rejected: list[Rejected] = []
        opened = [self._open(row, value, records.headers[row]) for row, value in enumerate(records.values)]
        if self._unframing is not None:
            opened = [self._unframed(one, records, self._unframing) for one in opened]
        for row, refused in bad_keys.items():
            opened[row] = _Opened(row, b"", refused=refused)
        for (form, invalid, _), group in groupby(opened, key=_kind):
            run = list(group)
            if invalid:
                rejected += [one.refused for one in run if one.refused is not None]
                continue
            envelopes = [one.envelope for one in run]
            part = self._decode(
                form,
                records,
                [one.row for one in run],
                [one.value for one in run],
                Envelopes.of(envelopes) if any(envelopes) else None,
                run[0].payloads,
            )
            rejected += part.rejected
            if len(part.batch):
                batches.append(part.batch)
        return Decoded(join(batches) if batches else empty_batch(self._schema), rejected)

    def _common_form(self, records: Records) -> Form | None:
        """The format of all records, if they have the same headers and no envelopes and none is to be rejected."""
        values = [value for value in records.values if value]
        if not values or len(values) < len(records) or max(map(len, values)) > self._max_bytes:
            return None
        if self._unframing is not None and framed(values):
            return None
        headers = records.headers[0]
        if records.headers.count(headers) < len(records):
            return None
        first = self._open(0, values[0], headers)
        if first.envelope is not None or first.refused is not None:
            return None
        if first.form == "json" and self._unwraps and cloudevents.MARK in b"".join(values):
            return None  # any of them may have an envelope that no header tells of
        return first.form

    def _common_payloads(self, records: Records) -> Payloads | None:
        """What reads all records, if they are framed with the same id and have the same headers and no envelopes."""
        values = records.values
        if self._unframing is None or not values or not isinstance(self._json, RowDecoder):
            return None
        head = (values[0] or b"")[:FRAME_BYTES]
        if len(head) < FRAME_BYTES or head[0] != MAGIC or not all(value and value.startswith(head) for value in values):
            return None
        if max(map(len, filter(None, values))) > self._max_bytes:
            return None
        headers = records.headers[0]
        if records.headers.count(headers) < len(records):
            return None
        first = self._open(0, values[0], headers)
        if first.envelope is not None or first.refused is not None:
            return None
        found = self._unframing.rows(head, records.partition, records.offsets[0])  # known to it, known to later ones
        return None if found is None else found[1]

    def _decode(
        self,
        form: Form,
        records: Records,
        rows: Sequence[int],
        values: Sequence[bytes],
        envelopes: Envelopes | None = None,
        payloads: Payloads | None = None,
    ) -> Decoded:
        if payloads is not None and isinstance(self._json, RowDecoder):
            return self._json.decode_payloads(records, rows, values, envelopes, payloads)
        if form == "json":
            return self._json.decode(records, rows, values, envelopes)
        if form == "event":
            return self._protobuf.events(records, rows, values, envelopes)
        return self._protobuf.event_batches(records, rows, values)

    def _unframed(self, opened: _Opened, records: Records, unframing: Unframing) -> _Opened:
        """The record without the frame of a schema registry, whatever its headers say."""
        if opened.refused is not None or not opened.value or opened.value[0] != MAGIC:
            return opened
        row = opened.row
        if isinstance(self._json, RowDecoder):
            many = unframing.rows(opened.value, records.partition, records.offsets[row])
            if many is not None:
                id, payloads = many
                return replace(opened, value=opened.value[FRAME_BYTES:], form="json", schema=id, payloads=payloads)
        try:
            form, value = unframing.open(opened.value, records.partition, records.offsets[row])
        except Refused as error:
            return _refuse(row, error.reason, str(error))
        if form == "json" and opened.envelope is None:
            return self._opened_json(row, value)
        return replace(opened, value=value, form=form)

    def _open(self, row: int, value: bytes | None, headers: Headers) -> _Opened:
        if not value:
            return _refuse(row, "empty", "the record has no value")
        if len(value) > self._max_bytes:
            return _refuse(row, "too_large", f"expected at most {self._max_bytes} bytes, got {len(value)}")
        if not headers:
            return self._opened_json(row, value)
        size = sum(len(name) + len(content or b"") for name, content in headers)
        if size > MAX_HEADERS_BYTES:
            return _refuse(row, "too_large", f"headers: expected at most {MAX_HEADERS_BYTES} bytes, got {size}")
        by_name = {name.lower(): content or b"" for name, content in headers}  # Kafka allows headers without a value
        content_type = (by_name.get("content-type") or by_name.get("ce_datacontenttype") or b"").decode("latin-1")
        try:
            if content_type.lower().startswith(cloudevents.BATCH):
                raise InputError("CloudEvent: Kafka has no batches of them; expected one event per record")
            if content_type.lower().startswith(cloudevents.STRUCTURED):
                envelope = cloudevents.from_structured(self._strict(value))
            elif "ce_specversion" in by_name or "ce_id" in by_name:
                envelope = cloudevents.from_headers(by_name, content_type, value)
            else:
                form = _form(content_type)
                return self._opened_json(row, value) if form == "json" else _Opened(row, value, form)
            return _Opened(row, envelope.value, _form(envelope.content_type), envelope)
        except InputError as error:
            return _refuse(row, "malformed", str(error))

    def _strict(self, value: bytes) -> bytes:
        """With null for NaN, where that is a missing value; a tensor has none, and says what came."""
        return strict_json(value) if self._nan_is_missing else value

    def _opened_json(self, row: int, value: bytes) -> _Opened:
        """JSON without an envelope, or with one that its content type does not tell of, as many producers write it."""
        text = self._strict(value)
        if not self._unwraps or not cloudevents.is_structured(text):
            return _Opened(row, value)
        try:
            envelope = cloudevents.from_structured(text)
            return _Opened(row, envelope.value, _form(envelope.content_type), envelope)
        except InputError as error:
            return _refuse(row, "malformed", str(error))


def _with_read_keys(records: Records, unframing: Unframing) -> tuple[Records, dict[int, Rejected]]:
    """The records with what framed keys hold; and those whose keys cannot be read, by row."""
    keys, bad = list(records.keys), {}
    for row, key in enumerate(keys):
        if key is not None and key[:1] == b"\0":
            try:
                keys[row] = unframing.key(key, records.partition, records.offsets[row])
            except Refused as error:
                bad[row] = Rejected(row, error.reason, str(error))
    return replace(records, keys=keys), bad


def _kind(one: _Opened) -> tuple[Form, bool, int]:
    """Records of one kind are decoded together."""
    return one.form, one.refused is not None, one.schema


def _refuse(row: int, reason: Reason, detail: str) -> _Opened:
    return _Opened(row, b"", refused=Rejected(row, reason, detail))


def _paths(schema: Schema) -> list[str]:
    fields = schema.fields
    parts = [] if fields is None else [fields.label, fields.id, fields.time, fields.key, fields.weight]
    return parts + [column.path for column in schema.columns.values()]


def _form(content_type: str) -> Form:
    media, *parameters = content_type.lower().replace('"', "").replace(" ", "").split(";")
    if media not in ("application/protobuf", "application/x-protobuf"):
        return "json"  # assume JSON for any other type: if it is not, decoding fails
    names = [text.removeprefix("messagetype=") for text in parameters if text.startswith("messagetype=")]
    if not names:
        return "event"
    if names[0] not in _MESSAGES:
        raise InputError(
            f"content-type: expected messageType thalweg.v1.Event or thalweg.v1.EventBatch, got {content_type!r:.80}"
        )
    return _MESSAGES[names[0]]


def _hinted(one: Rejected, value: bytes | None) -> Rejected:
    """With what may be meant by a zero byte at the beginning, where no registry is configured."""
    id = schema_id(value)
    if id is None or one.reason != "malformed":
        return one
    return replace(one, detail=f"{one.detail}; framed for a schema registry (schema {id})? log.registry.url is not set")
