"""Which records belong to a trace: by their header, or by the attribute of a CloudEvent."""

from __future__ import annotations

import re
from collections.abc import Iterator

from thalweg.proto.cloudevents import STRUCTURED
from thalweg.proto.records import Headers, Records
from thalweg.stream.traces.context import NAME, TraceContext, parse

LOOKED_AT = 64
"""So many records of a run are looked at, evenly spaced: all of a slow stream, a sample of a busy one."""
_ATTRIBUTE = re.compile(rb'"traceparent"\s*:\s*"([^"\\]{1,512})"')
_STRUCTURED = STRUCTURED.encode()


def traced(run: Records) -> Iterator[tuple[int, TraceContext]]:
    """Rows of a run that belong to a trace, with the span that appended them; of at most `LOOKED_AT` records."""
    every = -(-len(run) // LOOKED_AT)
    for row in range(0, len(run), every or 1):
        headers = run.headers[row]
        if headers and (context := _context(headers, run.values[row])) is not None:
            yield row, context


def _context(headers: Headers, value: bytes | None) -> TraceContext | None:
    """The header's; else, of a CloudEvent, the attribute's, which says where the event came from."""
    found: bytes | None = None
    attribute: bytes | None = None
    for name, content in headers:
        if name == NAME:
            if found is not None:
                return None  # twice: nobody knows which one is meant
            found = content
        elif name == "ce_traceparent":
            attribute = content
        elif name == "content-type" and content.startswith(_STRUCTURED) and value is not None:
            match = _ATTRIBUTE.search(value)
            attribute = match[1] if match else attribute
    return parse(attribute if found is None else found)
