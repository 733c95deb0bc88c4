"""The CloudEvents of request loggers, KServe's and Seldon's, recognised by their type.

Source: KServe, `pkg/logger/worker.go`. The logger of an InferenceService posts one event for each request and one for
each response, in binary mode; both have the `ce-id` of the request, which is the caller's header `Ce-Id` or made up.
A broker between them may deliver the same in structured mode or in batches. Seldon Core's logger does the same with
types of its own; there request and response have the id of the request as the extension `requestid`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from thalweg.proto import cloudevents
from thalweg.proto.records import Headers
from thalweg.proto.schema import InputError

REQUEST = "org.kubeflow.serving.inference.request"
RESPONSE = "org.kubeflow.serving.inference.response"
_REQUESTS = (REQUEST, "io.seldon.serving.inference.request")
_RESPONSES = (RESPONSE, "io.seldon.serving.inference.response")
_COMMON = b".serving.inference.re"
"""Structured events of all these types hold these bytes."""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A request or a response that was logged."""

    id: str
    """Of the request; its response has the same."""
    response: bool
    time: str | None
    """RFC 3339."""
    data: bytes
    """The body as it was sent to, or came from, the model."""

    def where(self) -> str:
        """The beginning of an error's text."""
        return f"{'response' if self.response else 'request'} {self.id!r:.80}: "


class _Typed(msgspec.Struct):
    id: str = ""
    type: str = ""
    requestid: str = ""


_typed = msgspec.json.Decoder(_Typed)


def is_logged(headers: Mapping[str, str]) -> bool:
    """Whether the headers of an HTTP request are those of such an event in binary mode, whose body may be anything."""
    return headers.get("ce-type", "") in (*_REQUESTS, *_RESPONSES)


def logged_events(values: Sequence[bytes], headers: Headers) -> list[LoggedEvent] | None:
    """The events of a request to the route of events; None if they are not the logger's.

    Args:
        values: Its records.
        headers: Of each of them, as `cloud_events.record_headers` has it; none: they may be structured all the same.

    Raises:
        InputError: One of them is broken, or of another type than the others.
    """
    by_name = dict(headers)
    if "ce_type" in by_name:
        kind = by_name["ce_type"].decode(errors="replace")
        if kind not in (*_REQUESTS, *_RESPONSES):
            return None
        content_type = by_name.get("content-type", b"").decode("latin-1")
        return [_binary(kind, by_name, content_type, value) for value in values]
    if not any(_COMMON in value for value in values):
        return None
    found = [_structured(value) for value in values]
    if not any(found):
        return None
    for row, one in enumerate(found):
        if one is None:
            raise InputError(f"row {row}: expected a CloudEvent of type {REQUEST} or {RESPONSE}, as the others are")
    return [one for one in found if one is not None]


def _binary(kind: str, headers: dict[str, bytes], content_type: str, value: bytes) -> LoggedEvent:
    envelope = cloudevents.from_headers(headers, content_type, value)
    id = headers["ce_id"].decode()
    if kind not in (REQUEST, RESPONSE):
        id = headers.get("ce_requestid", b"").decode(errors="replace") or id
    return LoggedEvent(id, kind in _RESPONSES, envelope.time, value)


def _structured(value: bytes) -> LoggedEvent | None:
    try:
        attributes = _typed.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if attributes.type not in (*_REQUESTS, *_RESPONSES):
        return None
    envelope = cloudevents.from_structured(value)
    id = attributes.id if attributes.type in (REQUEST, RESPONSE) else attributes.requestid or attributes.id
    return LoggedEvent(id, attributes.type in _RESPONSES, envelope.time, envelope.value)
