"""Spans by OpenTelemetry's SDK, exported over HTTP in the background."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from thalweg.memory.software import version_of
from thalweg.ops.traces.batches import batches_of
from thalweg.ops.traces.collector import check_collector
from thalweg.ops.traces.reasons import Reasons, shown_url, without_secrets
from thalweg.ops.traces.sampling import Sampling
from thalweg.stream.traces.context import TraceContext
from thalweg.stream.traces.spans import Attributes, Kind

log = structlog.get_logger(__name__)

_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER}
_RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"
_AGAIN_SECONDS = 30.0
_CLOSE_MILLIS = 2000
_ROOT = Context()
_REASONS = Reasons()


class _Open:
    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def context(self) -> TraceContext:
        found = self._span.get_span_context()
        return TraceContext(found.trace_id, found.span_id, int(found.trace_flags))

    def end(self, at: float, error: str = "") -> None:
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end(round(at * 1e9))


class ExportedSpans:
    """As `stream.traces.spans.Spans`.

    Args:
        role: Of the process: `server`, `learner`.
        environment: Environment variables, of which the SDK reads its own from the process's.
        exporter: Takes the finished spans; None: OTLP over HTTP.

    Raises:
        CollectorUnknown: Nothing could be exported.
        Exception: Anything that the SDK raises, as for variables that it does not take.
    """

    def __init__(self, role: str, environment: Mapping[str, str], exporter: SpanExporter | None = None) -> None:
        for name in ("opentelemetry", "urllib3.connectionpool"):  # they repeat what is told once here
            logging.getLogger(name).setLevel(logging.CRITICAL)
        _REASONS.listen(logging.getLogger(OTLPSpanExporter.__module__))
        timeout = check_collector(environment)
        self.sampling = Sampling(environment)
        resource = Resource.create({"thalweg.role": role, "service.version": version_of("thalweg")})
        if not environment.get("OTEL_SERVICE_NAME") and "service.name=" not in environment.get(_RESOURCE, ""):
            resource = resource.merge(Resource({"service.name": "thalweg"}))
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        told = ToldOnce(exporter or OTLPSpanExporter(timeout=timeout))
        self._provider.add_span_processor(BatchSpanProcessor(told, **batches_of(environment)._asdict()))
        self._tracer = self._provider.get_tracer("thalweg", version_of("thalweg"))

    def wanted(self, parent: TraceContext) -> bool:
        return self.sampling.below(parent)

    def begin(
        self,
        name: str,
        parent: TraceContext | None,
        at: float,
        kind: Kind = "internal",
        attributes: Attributes | None = None,
    ) -> _Open:
        context = _ROOT
        if parent is not None:
            above = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=TraceFlags(parent.flags))
            context = set_span_in_context(NonRecordingSpan(above), _ROOT)
        return _Open(self._tracer.start_span(name, context, _KINDS[kind], attributes, start_time=round(at * 1e9)))

    def close(self) -> None:
        """Export what is waiting, for at most two seconds; a collector that is away is not waited for."""
        self._provider.force_flush(_CLOSE_MILLIS)
        self._provider.shutdown()


class ToldOnce(SpanExporter):
    """Passes spans on; while that fails they are dropped, it is tried again from time to time, and told once.

    Args:
        inner: Exports them.
        ticks: Monotonic seconds.
    """

    def __init__(self, inner: SpanExporter, ticks: Callable[[], float] = time.monotonic) -> None:
        self._inner, self._ticks = inner, ticks
        self._away_since: float | None = None
        self._dropped = 0
        url = getattr(inner, "_endpoint", "")  # the SDK resolves it of several variables, and does not tell
        self._where = f" to {shown_url(url)}" if isinstance(url, str) and url else ""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._away_since is not None and self._ticks() - self._away_since < _AGAIN_SECONDS:
            self._dropped += len(spans)
            return SpanExportResult.FAILURE
        try:
            _REASONS.take()
            result, problem = self._inner.export(spans), _REASONS.take()
        except Exception as error:
            result, problem = SpanExportResult.FAILURE, str(error) or type(error).__name__
        if result is SpanExportResult.SUCCESS:
            if self._away_since is not None:
                log.info("traces are exported again", dropped_spans=self._dropped)
            self._away_since, self._dropped = None, 0
            return result
        if self._away_since is None:
            why = without_secrets(problem) or "no reason was given"
            log.warning(f"traces cannot be exported{self._where}: {why}; they are dropped until the collector answers")
        self._away_since, self._dropped = self._ticks(), self._dropped + len(spans)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)
