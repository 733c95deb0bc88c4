"""What records spans, as the loop and the servers see it; implemented by `ops.traces`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Literal, NamedTuple, Protocol

from thalweg.stream.traces.context import TraceContext

Kind = Literal["internal", "server", "consumer"]
"""As OpenTelemetry has them."""
Attributes = Mapping[str, str | int | float]


class OpenSpan(Protocol):
    """A span that has begun."""

    @property
    def context(self) -> TraceContext:
        """For what continues it."""

    def end(self, at: float, error: str = "") -> None:
        """End it. `at`: Unix seconds. `error`: what went wrong; empty: nothing."""


class Spans(Protocol):
    """Records spans. Thread-safe, never waits, never raises."""

    def wanted(self, parent: TraceContext) -> bool:
        """Whether spans below this one are recorded. Quick."""

    def begin(
        self,
        name: str,
        parent: TraceContext | None,
        at: float,
        kind: Kind = "internal",
        attributes: Attributes | None = None,
    ) -> OpenSpan:
        """Begin a span that is wanted. `parent`: None begins a trace. `at`: Unix seconds."""


class Recorded(NamedTuple):
    """A span that has ended."""

    name: str
    context: TraceContext
    parent: TraceContext | None
    began: float
    ended: float
    kind: Kind
    attributes: Attributes
    error: str


class InMemorySpans:
    """Keeps the spans of traces that are sampled, for tests and notebooks."""

    def __init__(self) -> None:
        self.ended: list[Recorded] = []
        self._ids = count(1)

    def wanted(self, parent: TraceContext) -> bool:
        return parent.sampled

    def begin(
        self,
        name: str,
        parent: TraceContext | None,
        at: float,
        kind: Kind = "internal",
        attributes: Attributes | None = None,
    ) -> OpenSpan:
        number = next(self._ids)
        context = TraceContext(number if parent is None else parent.trace_id, number, 1)
        return _InMemorySpan(self.ended, Recorded(name, context, parent, at, at, kind, dict(attributes or {}), ""))


class _InMemorySpan:
    def __init__(self, ended: list[Recorded], begun: Recorded) -> None:
        self._ended, self._begun = ended, begun

    @property
    def context(self) -> TraceContext:
        return self._begun.context

    def end(self, at: float, error: str = "") -> None:
        self._ended.append(self._begun._replace(ended=at, error=error))
