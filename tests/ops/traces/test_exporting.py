"""Spans reach a collector over HTTP; one that is away costs nothing, is told once, and is found again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from structlog.testing import capture_logs

from tests.services.otlp import collecting
from tests.stream.traces.test_context import CONTEXT
from thalweg.ops.traces.exporting import ExportedSpans, ToldOnce
from thalweg.ops.traces.reasons import without_secrets
from thalweg.ops.traces.start import asked_for, spans_of
from thalweg.stream.traces.context import TraceContext

NOW = 1_700_000_000.5


class Away(SpanExporter):
    """Fails as it is told."""

    def __init__(self) -> None:
        self.tries = 0
        self.fails: Any = SpanExportResult.FAILURE

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.tries += 1
        if isinstance(self.fails, Exception):
            raise self.fails
        assert isinstance(self.fails, SpanExportResult)
        return self.fails

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def test_spans_reach_the_collector_with_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "shop"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        spans = spans_of("server", environment)
        assert spans is not None
        above = spans.begin("outer", CONTEXT, NOW, "server", {"thalweg.model": "m", "n": 3})
        spans.begin("inner", above.context, NOW + 0.25).end(NOW + 0.5, "INTERNAL")
        above.end(NOW + 1)
        spans.begin("alone", None, NOW).end(NOW)
        spans.close()

    outer, inner = collector.of(CONTEXT.trace_id)
    assert (outer.name, outer.parent, outer.began, outer.ended) == ("outer", f"{CONTEXT.span_id:016x}", NOW, NOW + 1)
    assert (inner.name, inner.parent, inner.error) == ("inner", outer.span_id, "INTERNAL")
    assert outer.attributes == {"thalweg.model": "m", "n": "3"}
    assert outer.resource["service.name"] == "shop"
    assert outer.resource["thalweg.role"] == "server"
    assert [one.parent for one in collector.spans if one.name == "alone"] == [""]
    assert set(collector.requests) == {"/v1/traces"}


@pytest.mark.parametrize("given", [{}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=ours"}])
def test_the_service_has_a_name(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        spans = ExportedSpans("learner", given)
        spans.begin("one", None, NOW).end(NOW)
        spans.close()

    assert collector.spans[0].resource["service.name"] == ("ours" if given else "thalweg")


@pytest.mark.parametrize("fails", [SpanExportResult.FAILURE, OSError("no route to host")])
def test_a_collector_that_is_away_is_told_once_asked_rarely_and_found_again(fails: Any) -> None:
    inner, now = Away(), 0.0
    inner.fails = fails
    exporter = ToldOnce(inner, lambda: now)
    with capture_logs() as lines:
        for _ in range(100):
            exporter.export([])
        now = 31.0
        exporter.export([])
    assert inner.tries == 2
    assert [line["log_level"] for line in lines] == ["warning"]
    assert ("no route to host" in lines[0]["event"]) == isinstance(fails, OSError)

    inner.fails, now = SpanExportResult.SUCCESS, 62.0
    with capture_logs() as lines:
        assert exporter.export([]) is SpanExportResult.SUCCESS
        exporter.export([])
    assert [line["log_level"] for line in lines] == ["info"]


def test_what_waits_for_a_collector_that_is_away_is_bounded_and_ends_with_the_process() -> None:
    spans = ExportedSpans("server", {}, Away())
    for _ in range(20_000):  # ten times what the SDK holds
        spans.begin("one", None, NOW).end(NOW)

    spans.close()


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "shop"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_there_are_traces_where_an_endpoint_is_named_and_nothing_switches_them_off(
    environment: dict[str, str], asked: bool
) -> None:
    assert asked_for(environment) == asked


def test_without_the_extra_that_is_told_and_nothing_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "thalweg.ops.traces.exporting", None)
    with capture_logs() as lines:
        assert spans_of("server", {"OTEL_TRACES_EXPORTER": "otlp"}) is None

    assert "thalweg[otel]" in lines[0]["event"]


def test_another_protocol_is_told() -> None:
    with capture_logs() as lines:
        spans = spans_of("server", {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})

    assert spans is not None
    assert "http/protobuf" in lines[0]["event"]
    assert TraceContext(1, 2, 1).sampled


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1" + 30 * "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100000"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "1.5"),
    ],
)
def test_a_wrong_size_of_queue_or_batches_is_told_and_spans_are_exported_with_the_default(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with collecting() as collector, capture_logs() as lines:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, name: value}
        for key, one in environment.items():
            monkeypatch.setenv(key, one)
        spans = spans_of("server", environment)
        assert spans is not None
        spans.begin("one", None, NOW).end(NOW)
        spans.close()

    assert [span.name for span in collector.spans] == ["one"]
    assert [line["log_level"] for line in lines] == ["warning"]
    assert name in lines[0]["event"]


def test_a_queue_smaller_than_the_usual_batch_is_as_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector, capture_logs() as lines:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_MAX_QUEUE_SIZE": "10"}
        for key, one in environment.items():
            monkeypatch.setenv(key, one)
        spans = spans_of("server", environment)
        assert spans is not None
        spans.begin("one", None, NOW).end(NOW)
        spans.close()

    assert len(collector.spans) == 1
    assert not lines


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "none"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),
    ],
)
def test_what_the_sdk_does_not_take_leaves_the_service_without_traces_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment = {"OTEL_TRACES_EXPORTER": "otlp", name: value}
    monkeypatch.setenv(name, value)
    with capture_logs() as lines:
        assert spans_of("server", environment) is None

    assert [line["log_level"] for line in lines] == ["warning"]
    assert name in lines[0]["event"]


def test_why_and_where_to_spans_cannot_be_exported_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector, capture_logs() as lines:
        collector.status = 401
        where = collector.url.removeprefix("http://")
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://shop:hidden@{where}"}
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", environment["OTEL_EXPORTER_OTLP_ENDPOINT"])
        spans = spans_of("server", environment)
        assert spans is not None
        spans.begin("one", None, NOW).end(NOW)
        spans.close()

    (line,) = lines
    assert line["event"].startswith(f"traces cannot be exported to http://{where}/v1/traces: ")
    assert "401" in line["event"]
    assert "hidden" not in line["event"]


def test_the_value_of_a_header_is_in_no_message() -> None:
    environment = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20s3cret,tenant=acme"}

    assert without_secrets("in header value: 'Bearer s3cret'\nof acme", environment) == "in header value: '***' of ***"


@pytest.mark.slow
def test_nothing_of_opentelemetry_is_imported_where_no_traces_are_asked_for() -> None:
    code = (
        "import sys\nimport thalweg.ops.run.processes\nfrom thalweg.ops.traces.start import spans_of\n"
        "assert spans_of('server', {'OTEL_SERVICE_NAME': 'shop'}) is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
