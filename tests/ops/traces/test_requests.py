"""Requests have spans, below the caller's where it names one; what is appended carries them on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tests.ops.serve.serving import RunningServer, served
from tests.services.processes import PATIENCE
from tests.stream.traces.test_context import CONTEXT, GOOD, SPAN, TRACE
from thalweg.ops.traces.exporting import ExportedSpans
from thalweg.ops.traces.requests import RequestTraces
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc, thalweg_pb2, thalweg_pb2_grpc
from thalweg.stream.traces.context import NAME, parse

UNSAMPLED = GOOD[:-1] + "0"
TENSOR = {"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [0.0] * 4}
EVENT = {"inputs": {"features": [0.0, 0.0, 0.0, 0.0]}, "label": "a"}


class Kept(SpanExporter):
    """Keeps what is exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class Traced:
    """A server with traces, and its callers."""

    def __init__(self, parts: RunningServer, spans: ExportedSpans, kept: Kept) -> None:
        self.parts, self._spans, self._kept = parts, spans, kept
        self._channel = grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}")
        self.inference = inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self.learning = thalweg_pb2_grpc.LearningServiceStub(self._channel)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{parts.server.http_port}")

    def close(self) -> None:
        self._channel.close()
        self.http.close()

    def infer(self, *metadata: tuple[str, str], model: str = "m") -> None:
        request = pb.ModelInferRequest(model_name=model)
        request.inputs.add(name="features", datatype="FP32", shape=[1, 4])
        request.raw_input_contents.append(np.zeros(4, np.float32).tobytes())
        self.inference.ModelInfer(request, metadata=metadata, timeout=PATIENCE)

    def learn(self, *metadata: tuple[str, str]) -> None:
        event = thalweg_pb2.Event(model="m", label_text="a")
        event.inputs.add(name="features", datatype="FP32", shape=[4]).contents.fp32_contents.extend([0.0] * 4)
        (ack,) = self.learning.Learn(iter([event]), metadata=metadata, timeout=PATIENCE)
        assert not ack.error

    def spans(self) -> list[ReadableSpan]:
        """Those since the last call."""
        self._spans._provider.force_flush()
        found, self._kept.spans = self._kept.spans, []
        return found

    def appended(self) -> list[bytes]:
        """What the newest record of the topic says of its trace."""
        (run,) = self.parts.log.reader(["m.events"], {}).poll(0.0)
        return [value for name, value in run.headers[-1] if name == NAME]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    kept = Kept()
    spans = ExportedSpans("server", {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, kept)
    with served(tmp_path_factory.mktemp("traced"), traces=RequestTraces(spans)) as parts:
        made = Traced(parts, spans, kept)
        yield made
        made.close()
    spans.close()


def named(span: ReadableSpan) -> str:
    return f"{span.name} below {span.parent.span_id if span.parent else 0:016x}"


def test_a_call_of_grpc_has_a_span_below_the_callers(traced: Traced) -> None:
    traced.infer((NAME, GOOD))

    (span,) = traced.spans()
    assert named(span) == f"inference.GRPCInferenceService/ModelInfer below {SPAN}"
    assert f"{span.context.trace_id:032x}" == TRACE
    assert dict(span.attributes or {})["rpc.method"] == "ModelInfer"
    assert span.status.is_ok or span.status.is_unset
    assert (span.end_time or 0) - (span.start_time or 0) > 0


def test_a_call_of_rest_has_a_span_below_the_callers(traced: Traced) -> None:
    body = {"inputs": [TENSOR]}
    traced.http.post("/v2/models/m/infer", json=body, headers={NAME: GOOD}).raise_for_status()

    (span,) = traced.spans()
    assert named(span) == f"POST /v2/models/{{name}}/infer below {SPAN}"
    assert dict(span.attributes or {})["url.path"] == "/v2/models/m/infer"


@pytest.mark.parametrize("value", [UNSAMPLED, "00-nonsense", GOOD.upper()])
def test_who_is_not_sampled_or_malformed_is_answered_without_a_span(traced: Traced, value: str) -> None:
    traced.infer((NAME, value))
    traced.http.post("/v2/models/m/infer", json={"inputs": [TENSOR]}, headers={NAME: value}).raise_for_status()

    assert not traced.spans()


def test_of_two_contexts_nobody_knows_which_one_is_meant(traced: Traced) -> None:
    headers = [(NAME, GOOD), (NAME, GOOD)]
    traced.http.post("/v2/models/m/infer", json={"inputs": [TENSOR]}, headers=headers).raise_for_status()

    assert not traced.spans()


def test_errors_of_the_server_are_errors_of_the_span_and_those_of_the_caller_are_not(traced: Traced) -> None:
    for model in ("empty", "none"):  # not ready yet; unknown
        with pytest.raises(grpc.RpcError):
            traced.infer((NAME, GOOD), model=model)
        traced.http.post(f"/v2/models/{model}/infer", json={"inputs": [TENSOR]}, headers={NAME: GOOD})

    errors = [span.status.description for span in traced.spans()]
    assert errors == ["UNAVAILABLE", "UNAVAILABLE", None, None]


def test_what_is_appended_carries_the_span_of_the_request(traced: Traced) -> None:
    traced.http.post("/v1/models/m/events", json=EVENT, headers={NAME: GOOD}).raise_for_status()
    (span,) = traced.spans()
    assert [parse(value) for value in traced.appended()] == [CONTEXT._replace(span_id=span.context.span_id)]

    traced.learn((NAME, GOOD))
    (span,) = traced.spans()
    assert span.name == "thalweg.v1.LearningService/Learn"
    assert [parse(value) for value in traced.appended()] == [CONTEXT._replace(span_id=span.context.span_id)]


def test_what_is_appended_carries_the_callers_context_where_the_request_has_no_span(traced: Traced) -> None:
    traced.http.post("/v1/models/m/events", json=EVENT, headers={NAME: UNSAMPLED}).raise_for_status()
    assert traced.appended() == [UNSAMPLED.encode()]

    traced.http.post("/v1/models/m/events", json=EVENT, headers={NAME: "nonsense"}).raise_for_status()
    assert traced.appended() == []
    traced.http.post("/v1/models/m/events", json=EVENT).raise_for_status()
    assert traced.appended() == []
    assert not traced.spans()


def test_no_call_has_the_context_of_one_before_it(traced: Traced) -> None:
    for _ in range(5):  # the threads of gRPC are used again
        traced.learn((NAME, GOOD))
        traced.learn()
        assert traced.appended() == []
        traced.learn((NAME, UNSAMPLED))
        assert traced.appended() == [UNSAMPLED.encode()]
    assert len(traced.spans()) == 5


def test_a_server_without_traces_carries_the_callers_context_on_all_the_same(tmp_path: Path) -> None:
    with served(tmp_path) as parts, httpx.Client(base_url=f"http://127.0.0.1:{parts.server.http_port}") as client:
        client.post("/v1/models/m/events", json=EVENT, headers={NAME: GOOD}).raise_for_status()

        (run,) = parts.log.reader(["m.events"], {}).poll(0.0)
        assert (NAME, GOOD.encode()) in run.headers[0]
        assert json.loads(run.values[0] or b"") == EVENT


def test_health_and_the_page_have_no_spans(traced: Traced) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/api/models"):
        assert traced.http.get(path, headers={NAME: GOOD}).status_code in (200, 503)

    assert not traced.spans()
