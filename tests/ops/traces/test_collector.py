"""Wrong values of `OTEL_EXPORTER_OTLP_…` are told at the start, one by one, and never what is secret."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tests.services.otlp import collecting
from thalweg.ops.traces.start import spans_of

ENDPOINT, TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (ENDPOINT, "nonsense", "got 'nonsense', which does not begin with http:// or https://"),
        (ENDPOINT, "shop:hidden@collector:4318", "got 'collector:4318', which does not begin with http:// or https://"),
        (TRACES, "http:collector:4318", "got 'http:collector:4318', which does not begin with http:// or https://"),
        (ENDPOINT, "http://", "got 'http://', which names no host"),
        (ENDPOINT, "http://collector:http", "got 'http://collector:http': port could not be cast"),
        (ENDPOINT, "http://collector:99999", "got 'http://collector:99999': port out of range"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", "expected a file, got '/nowhere.pem', which is not there"),
    ],
)
def test_where_nothing_could_be_exported_that_is_told_at_the_start_and_there_are_no_traces(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    environment = {"OTEL_TRACES_EXPORTER": "otlp", name: value}
    monkeypatch.setenv(name, value)

    with capture_logs() as lines:
        assert spans_of("server", environment) is None

    (line,) = lines
    assert line["event"].startswith(f"no traces: {name}: expected ")
    assert said in line["event"]
    assert "hidden" not in line["event"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "abc", "expected seconds above 0, a day at most, got 'abc'; 10 is used"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "-1", "got '-1'"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "inf", "got 'inf'"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli", "expected one of none, gzip, deflate, got 'brotli'; none is used"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "tenant=acme,Bearer hidden", "no NAME= in part 2, which is left out"),
        ("OTEL_RESOURCE_ATTRIBUTES", "shop", "no NAME= in part 1, which is left out"),
    ],
)
def test_another_wrong_value_is_told_at_the_start_and_spans_are_exported_without_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    with collecting() as collector, capture_logs() as lines:
        environment = {ENDPOINT: collector.url, name: value}
        for key, one in environment.items():
            monkeypatch.setenv(key, one)
        spans = spans_of("server", environment)
        at_start = list(lines)
        assert spans is not None
        spans.begin("one", None, 1_700_000_000.0).end(1_700_000_000.0)
        spans.close()

    assert [span.name for span in collector.spans] == ["one"]
    (line,) = at_start
    assert line["event"].startswith(f"{name}: expected ")
    assert said in line["event"]
    assert "hidden" not in line["event"]
    assert lines == at_start
