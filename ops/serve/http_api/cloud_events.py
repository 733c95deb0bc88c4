"""CloudEvents over HTTP, in its three modes, as the records of Kafka's binding: one record per event.

Kafka has no batches of CloudEvents, so each event of a batch becomes a record in structured mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from thalweg.proto import cloudevents
from thalweg.proto.schema import InputError

RecordHeaders: TypeAlias = tuple[tuple[str, bytes], ...]

_STRUCTURED: RecordHeaders = (("content-type", cloudevents.STRUCTURED.encode()),)


def record_headers(headers: Mapping[str, str], *, single: bool) -> RecordHeaders:
    """The headers of each record of a request; none if its headers do not speak of CloudEvents.

    Args:
        headers: Of the request, by lower-case name.
        single: The body is one object, and no list.

    Raises:
        InputError: The body is not what the mode has.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == cloudevents.BATCH:
        if single:
            raise InputError(f"content-type {kind}: expected a list of CloudEvents, got an object")
        return _STRUCTURED
    if kind == cloudevents.STRUCTURED:
        if not single:
            raise InputError(
                f"content-type {kind}: expected one CloudEvent, got a list; {cloudevents.BATCH} is the type of lists"
            )
        return _STRUCTURED
    if "ce-specversion" not in headers:
        return ()
    if not single:
        raise InputError("headers ce-…: expected one event, got a list")
    attributes = {f"ce_{name[3:]}": unquote_to_bytes(text) for name, text in headers.items() if name.startswith("ce-")}
    return (*attributes.items(), ("content-type", kind.encode() if "json" in kind else b"application/json"))
