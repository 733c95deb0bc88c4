"""Traces of published versions, handed on to the servers in a ring beside them: no part of any state."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from thalweg.stream.publication.ring import RingReader, RingWriter
from thalweg.stream.traces.context import TraceContext

FILE = "traces"
"""Name of the ring in a model's live folder."""
_ENTRIES = 256
_ENTRY = struct.Struct("<q16s8sBd")  # version, trace id, span id, flags, published


class HandedOn(NamedTuple):
    """The span that published a version with a record of a trace."""

    version: int
    """The first that has learned it."""
    context: TraceContext
    published: float
    """Unix seconds."""


def hand_on(ring: RingWriter, one: HandedOn) -> None:
    """Raises OSError and ValueError."""
    trace_id, span_id, flags = one.context
    ring.append(one.version, trace_id.to_bytes(16, "big"), span_id.to_bytes(8, "big"), flags, one.published)


def handed_on(values: tuple[object, ...]) -> HandedOn:
    """An entry of the ring."""
    version, trace_id, span_id, flags, published = values
    assert isinstance(trace_id, bytes)
    assert isinstance(span_id, bytes)
    context = TraceContext(int.from_bytes(trace_id, "big"), int.from_bytes(span_id, "big"), flags)  # type: ignore[arg-type]
    return HandedOn(version, context, published)  # type: ignore[arg-type]


def trace_writer(folder: Path) -> RingWriter:
    """The learner's side. Raises OSError."""
    return RingWriter(folder / FILE, _ENTRY, _ENTRIES)


def trace_reader(folder: Path) -> RingReader:
    """A server's side."""
    return RingReader(folder / FILE, _ENTRY, _ENTRIES)
