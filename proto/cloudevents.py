"""CloudEvents 1.0 around an event: binary mode (attributes in headers) and structured mode (attributes beside data).

The event is the data. `source` and `id` together identify the event; `time` is its time if it has none itself.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from thalweg.proto.bounds.json_depth import too_deep
from thalweg.proto.bounds.limits import MAX_ATTRIBUTE_BYTES, MAX_JSON_DEPTH
from thalweg.proto.json_text import BYTE_ORDER_MARK, fault_of
from thalweg.proto.schema import InputError

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
"""A list of such events, where a transport has batches: HTTP does, Kafka does not."""
MARK = b'"specversion"'
"""A CloudEvent in structured mode holds these bytes."""
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the envelope says about an event."""

    id: str
    time: str | None
    content_type: str
    value: bytes
    """The event itself, in the format of `content_type`."""


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Identity and time from the envelope of each event of a run; None where an event has no envelope."""

    ids: Sequence[str | None]
    times: Sequence[str | None]

    @classmethod
    def of(cls, envelopes: Sequence[Envelope | None]) -> Envelopes:
        """The columns of these rows."""
        return cls(
            [None if one is None else one.id for one in envelopes],
            [None if one is None else one.time for one in envelopes],
        )

    def __getitem__(self, part: slice) -> Envelopes:
        return Envelopes(self.ids[part], self.times[part])


class _Structured(msgspec.Struct):
    id: str
    source: str
    specversion: str
    type: str
    time: str | None = None
    datacontenttype: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    data_base64: str | None = None


_decoder = msgspec.json.Decoder(_Structured)


def from_headers(headers: dict[str, bytes], content_type: str, value: bytes) -> Envelope:
    """Binary mode. Raises InputError when an attribute is missing, too long or not UTF-8, or the version unknown."""
    said = {name: _text(name, headers.get(name) or b"") for name in ("ce_id", "ce_source", "ce_specversion", "ce_time")}
    for name in ("ce_id", "ce_source"):
        if not said[name]:
            raise InputError(f"CloudEvent: header {name!r} is missing or empty")
    _check_version(said["ce_specversion"])
    return Envelope(identity(said["ce_source"], said["ce_id"]), said["ce_time"] or None, content_type or _JSON, value)


def is_structured(value: bytes) -> bool:
    """Whether a JSON record is a CloudEvent in structured mode, although its content type does not say so."""
    if MARK not in value or too_deep(value):
        return False
    try:
        event = _decoder.decode(value.removeprefix(BYTE_ORDER_MARK))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return event.specversion.startswith("1.") and bool(event.data_base64 or bytes(event.data))


def from_structured(value: bytes) -> Envelope:
    """Structured mode. Raises InputError for a record that is not a CloudEvent or has no data."""
    value = value.removeprefix(BYTE_ORDER_MARK)
    if too_deep(value):
        raise InputError(f"CloudEvent: expected JSON nested at most {MAX_JSON_DEPTH} deep, got deeper")
    try:
        event = _decoder.decode(value)
        data = base64.b64decode(event.data_base64, validate=True) if event.data_base64 else bytes(event.data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        syntax = isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError)
        raise InputError(f"CloudEvent: {fault_of(value, error) if syntax else error}") from error
    for name, text in (("id", event.id), ("source", event.source), ("time", event.time)):
        if text and len(text.encode()) > MAX_ATTRIBUTE_BYTES:
            raise InputError(_too_long(name, len(text.encode())))
    _check_version(event.specversion)
    if not event.id or not event.source:
        raise InputError("CloudEvent: id and source must not be empty")
    if not data:
        raise InputError("CloudEvent: expected data or data_base64, got neither")
    return Envelope(identity(event.source, event.id), event.time, event.datacontenttype or _JSON, data)


def identity(source: str, id: str) -> str:
    """One id from the pair that CloudEvents guarantee to be unique."""
    return f"{source}#{id}"


def _check_version(version: str) -> None:
    if not version.startswith("1."):
        raise InputError(f"CloudEvent: expected specversion 1.x, got {version!r:.80}")


def _text(name: str, value: bytes) -> str:
    if len(value) > MAX_ATTRIBUTE_BYTES:
        raise InputError(_too_long(name, len(value)))
    try:
        return value.decode()
    except UnicodeDecodeError as error:  # not replaced: two ids must not become one
        raise InputError(f"CloudEvent: {name}: expected UTF-8, got {value!r:.80}") from error


def _too_long(name: str, length: int) -> str:
    return f"CloudEvent: {name}: expected at most {MAX_ATTRIBUTE_BYTES} bytes, got {length}"
