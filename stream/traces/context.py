"""The context of a trace as W3C Trace Context writes it: `00-<trace id>-<span id>-<flags>`, in `traceparent`."""

from __future__ import annotations

import re
from typing import NamedTuple

NAME = "traceparent"
"""Of the header."""
_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_SAMPLED = 1
_LONGEST = 512


class TraceContext(NamedTuple):
    """A span of a trace."""

    trace_id: int
    span_id: int
    flags: int

    @property
    def sampled(self) -> bool:
        """Whether who began the trace records it."""
        return bool(self.flags & _SAMPLED)

    @property
    def header(self) -> str:
        """As the value of `traceparent`."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}"


def parse(value: bytes | str | None) -> TraceContext | None:
    """The context that a header says; None for one that the specification says to ignore.

    A version that is not known yet may have more after the flags; the first one has not.
    """
    if value is None or len(value) > _LONGEST:
        return None
    found = _FORM.fullmatch(value.encode("utf-8", "replace") if isinstance(value, str) else value)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    context = TraceContext(int(trace_id, 16), int(span_id, 16), int(flags, 16) & _SAMPLED)
    return context if context.trace_id and context.span_id else None
