"""A service with a collector: one trace from the producer's header over both processes to the first answer."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests.ops.running import service, until
from tests.services.otlp import collecting
from tests.stream.traces.test_context import CONTEXT, GOOD
from thalweg.stream.log.log import Message

pytestmark = pytest.mark.slow
EVENT = {"inputs": {"features": [0.0, 0.0, 0.0, 1.0]}, "label": "a"}


@pytest.mark.parametrize("kind", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_a_trace_goes_from_the_producer_through_learner_and_server_to_the_first_answer(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    log = f"kafka://{request.getfixturevalue('kafka_servers')}" if kind == "kafka" else None
    with collecting() as collector, service(tmp_path, log=log, topic=f"m-{uuid.uuid4().hex[:8]}") as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")  # wrong: the default is used
        running.start()
        until("readiness", running.ready)
        value = json.dumps(EVENT).encode()
        running.log.append(running.topic, [Message(value), Message(value, headers=(("traceparent", GOOD.encode()),))])
        until("the model has learned both", lambda: running.metric("thalweg_learned_events") == 2)
        running.predict()

        spans = until("the trace is complete", lambda: len(found := collector.of(CONTEXT.trace_id)) >= 4 and found)

    assert [span.name.split()[0] for span in spans] == ["poll", "learn", "publish", "first"]
    assert [span.parent for span in spans] == [f"{CONTEXT.span_id:016x}", *(span.span_id for span in spans[:-1])]
    assert [span.resource["thalweg.role"] for span in spans] == ["learner", "learner", "learner", "server"]
    assert all(span.began <= span.ended for span in spans)
    assert len(collector.spans) == 4  # nothing else was sampled
