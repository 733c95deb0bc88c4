"""The learner's side of traces: a span each for reading, learning and publishing, of a sample of the records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from thalweg.proto.bounds.times import record_times
from thalweg.proto.records import Records
from thalweg.stream.freshness.tracker import NoTracker
from thalweg.stream.publication.ring import RingWriter
from thalweg.stream.traces.context import TraceContext
from thalweg.stream.traces.handed_on import HandedOn, hand_on, trace_writer
from thalweg.stream.traces.records import traced
from thalweg.stream.traces.spans import OpenSpan, Spans

log = structlog.get_logger(__name__)

MOST = 16
"""Records followed at once; further ones are not."""


@dataclass(slots=True)
class _Followed:
    """A record on its way."""

    version: int
    context: TraceContext
    """Of the latest span."""
    since: float
    """When that one ended, Unix seconds."""
    learned: bool = False
    publishing: OpenSpan | None = None


class TraceTracker(NoTracker):
    """Follows records of one model that belong to a trace. One thread uses it.

    Args:
        model: The model's name.
        system: What the log is, as OpenTelemetry names messaging systems.
        live: The model's folder in the live folder.
        spans: Records the spans.
    """

    def __init__(self, model: str, system: str, live: Path, spans: Spans) -> None:
        self._model, self._system, self._live, self._spans = model, system, live, spans
        self._ring: RingWriter | None = None
        self._followed: list[_Followed] = []
        self._problem = ""

    def taken(self, version: int, records: Sequence[Records], now: float) -> None:
        for run in records:
            for row, context in traced(run):
                if len(self._followed) >= MOST:
                    return
                if self._spans.wanted(context):
                    self._followed.append(_Followed(version, self._read(run, row, context, now), now))

    def learned(self, version: int, seconds: float, now: float) -> None:
        for one in self._followed:
            if one.version <= version and not one.learned:
                attributes = self._attributes(version) | {"thalweg.seconds": seconds}
                span = self._spans.begin(f"learn {self._model}", one.context, one.since, attributes=attributes)
                span.end(now)
                one.context, one.since, one.version, one.learned = span.context, now, version, True

    def publishing(self, version: int, now: float) -> None:
        for one in self._followed:
            if one.learned and one.version <= version and one.publishing is None:
                attributes, name = self._attributes(version), f"publish {self._model}"
                one.publishing = self._spans.begin(name, one.context, one.since, attributes=attributes)
                self._hand_on(HandedOn(version, one.publishing.context, now))

    def published(self, version: int, now: float) -> None:
        for one in self._followed:
            if one.publishing is not None:
                one.publishing.end(now)
        self._followed = [one for one in self._followed if one.publishing is None]

    def close(self) -> None:
        self._followed = []
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _read(self, run: Records, row: int, context: TraceContext, now: float) -> TraceContext:
        """A span from the append of a record until it was read."""
        (appended,) = record_times(run.times[row : row + 1])
        attributes: dict[str, str | int | float] = {
            "messaging.system": self._system,
            "messaging.operation.type": "receive",
            "messaging.destination.name": run.partition.topic,
            "messaging.destination.partition.id": str(run.partition.number),
            "messaging.kafka.offset": run.offsets[row],
            "thalweg.model": self._model,
        }
        began = min(appended, now) if appended else now
        span = self._spans.begin(f"poll {run.partition.topic}", context, began, "consumer", attributes)
        span.end(now)
        return span.context

    def _attributes(self, version: int) -> dict[str, str | int | float]:
        return {"thalweg.model": self._model, "thalweg.version": version}

    def _hand_on(self, one: HandedOn) -> None:
        try:
            if self._ring is None:
                self._ring = trace_writer(self._live)
            hand_on(self._ring, one)
            self._problem = ""
        except (OSError, ValueError) as error:  # the trace ends here; nothing else depends on it
            if not self._problem:
                log.warning("traces cannot be handed on to the servers", model=self._model, problem=str(error))
            self._problem = str(error)
