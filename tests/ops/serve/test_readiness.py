"""A model that has learned nothing is ready nowhere and gives no answer; what does not work is told everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.ops.serve.serving import FEATURES, RunningServer, Taught, served
from tests.services.processes import until
from thalweg.memory.exchange.pending import InMemoryPending
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve.class_names import NO_NUMBER
from thalweg.ops.serve.errors import NotReady
from thalweg.ops.serve.models import Models, RequestSinks
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.telemetry.learners.processes import LearnerProcesses
from thalweg.ops.telemetry.process_health import HealthFile
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc, thalweg_pb2, thalweg_pb2_grpc
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import TensorSpec
from thalweg.proto.task import ADAPTATION
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.quarantine.stop import Stop

NOTHING = "model 'm': has learned nothing yet; ready after 1 labelled event"


class Started:
    """A server whose model has published a version that has learned nothing."""

    def __init__(self, folder: Path) -> None:
        self.pending = InMemoryPending()
        self.parts = RunningServer(folder, sinks=RequestSinks(RequestBuffer({"m": self.pending})))
        model = self.parts.server.models.find("m")
        model.ready_after_events, model.labels_topic = 1, "labels"
        self.parts.server.start()
        self.parts.publisher.publish(self.parts.learner.predictor(), version=0, learned_events=0, event_time=0.0)
        assert model.versions.subscriber.wait_for(0, 20) is not None
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.parts.server.http_port}")
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.parts.server.grpc_port}")

    def infer(self, **parameters: str) -> httpx.Response:
        tensor = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.0] * FEATURES}
        return self.http.post("/v2/models/m/infer", json={"inputs": [tensor], "parameters": parameters})

    def grpc_health(self, name: str) -> str:
        stub = health_pb2_grpc.HealthStub(self.channel)
        status = stub.Check(health_pb2.HealthCheckRequest(service=name)).status
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))

    def model_ready(self) -> bool:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        return bool(stub.ModelReady(pb.ModelReadyRequest(name="m")).ready)

    def close(self) -> None:
        self.http.close()
        self.channel.close()
        self.parts.server.close()
        self.parts.publisher.close()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    made = Started(tmp_path)
    yield made
    made.close()


def test_before_its_first_event_a_model_is_ready_nowhere_and_afterwards_everywhere(started: Started) -> None:
    told = started.http.get("/readyz").json()
    assert NOTHING in told["reasons"]
    assert NOTHING in told["degraded"]
    assert not started.model_ready()
    assert started.http.get("/v2/models/m/ready").status_code == 503
    assert started.grpc_health("m") == "NOT_SERVING"
    first = started.http.get("/v1/models/m")
    assert (first.status_code, first.json()["ready"], first.json()["reason"]) == (
        503,
        False,
        NOTHING.partition(": ")[2],
    )
    known = thalweg_pb2_grpc.LearningServiceStub(started.channel).GetModel(thalweg_pb2.GetModelRequest(name="m"))
    assert (known.ready, known.reason) == (False, NOTHING.partition(": ")[2])
    page = next(one for one in started.http.get("/api/models").json()["models"] if one["name"] == "m")
    assert (page["ready"], page["level"], page["troubles"][0]["code"]) == (False, "watch", "not_ready")

    started.parts.learn(300)

    assert started.model_ready()
    assert started.http.get("/v2/models/m/ready").status_code == 200
    until("gRPC health", lambda: started.grpc_health("m") == "SERVING")
    assert NOTHING not in started.http.get("/readyz").json()["reasons"]
    assert started.infer().status_code == 200


def test_callers_may_come_before_models_have_learned_but_not_before_they_have_versions(started: Started) -> None:
    def reasons(query: str) -> list[str]:
        found: list[str] = started.http.get(f"/readyz{query}").json()["reasons"]
        return found

    missing = "model 'empty': no version is published yet"
    assert {NOTHING, missing} <= set(reasons(""))
    assert NOTHING not in reasons("?exclude=untrained")
    assert missing in reasons("?exclude=untrained")
    wrong = started.http.get("/readyz?exclude=models")
    assert (wrong.status_code, wrong.json()) == (400, {"error": "exclude: expected 'untrained', got 'models'"})

    registry = HealthRegistry()
    registry.register("learner", "empty").failed("its state was made under other settings")
    file = HealthFile(started.parts.live, registry)
    file.start()
    try:  # it stays away, and keeps callers from no other model
        health = ServiceHealth(started.parts.server.models, learners=LearnerProcesses(started.parts.live))
        until("the health", lambda: missing not in "".join(health.readiness(untrained=False)["reasons"]))
        assert missing in "".join(health.readiness()["reasons"])
    finally:
        file.close()


def test_before_its_first_event_it_gives_no_answer(started: Started) -> None:
    answer = started.infer()
    stub = inference_pb2_grpc.GRPCInferenceServiceStub(started.channel)
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
    request.raw_input_contents.append(np.zeros(FEATURES, np.float32).tobytes())
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(request)

    rows = {
        route: started.http.post(f"/v1/models/m{route}", json=body)
        for route, body in (
            ("/predict", {"features": [0.0] * FEATURES}),
            (":predict", {"instances": [[0.0] * FEATURES]}),
        )
    }
    assert (answer.status_code, answer.json()["error"]) == (503, NOTHING)
    assert {(one.status_code, one.json()["error"]) for one in rows.values()} == {(503, NOTHING)}
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == NOTHING


def test_a_model_that_its_circuit_breaker_stopped_says_so_wherever_it_gives_no_answer(started: Started) -> None:
    stopped = Stop(0, "its learner could not learn 10 of 10 events", "ValueError: no", 1.0).reason("m")
    registry = HealthRegistry()
    registry.register("learner", "m").failed(stopped)
    file = HealthFile(started.parts.live, registry)
    file.start()
    try:
        ServiceHealth(started.parts.server.models, learners=LearnerProcesses(started.parts.live))
        wanted = f"{NOTHING}; its learner stands still: {stopped}"
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(started.channel)
        request = pb.ModelInferRequest(model_name="m")
        request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
        request.raw_input_contents.append(np.zeros(FEATURES, np.float32).tobytes())

        until("the health", lambda: started.infer().json()["error"] == wanted)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(request)

        row = started.http.post("/v1/models/m/predict", json={"features": [0.0] * FEATURES})
        assert row.json()["error"] == refused.value.details() == wanted
        assert started.http.get("/v1/models/m").json()["reason"] == wanted.partition(": ")[2]
        assert "thalweg resume CONFIG --model m" in wanted
        registry.register("learner", "m").running()
        until("the health", lambda: started.infer().json()["error"] == NOTHING)
    finally:
        file.close()


def test_a_model_without_a_version_says_why_its_learner_made_none(tmp_path: Path) -> None:
    with served(tmp_path) as parts:
        empty = parts.server.models.find("empty")
        assert empty.unready() == "no version is published yet"
        empty.told_of_learner(lambda: "its learner stands still: no state")

        with pytest.raises(NotReady, match="'empty': no version is published yet; its learner stands still: no state"):
            empty.versions.current()
        assert empty.unready() == "no version is published yet; its learner stands still: no state"


def regression() -> Learner:
    inputs = {"features": TensorSpec("features", "float32", (FEATURES,))}
    return Ridge(LearnerContext(inputs=inputs, params={"task": "regression", "expansion": 0}))


def numbers(count: int, seed: int = 0) -> Batch:
    rows = np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)
    return Batch({"features": rows}, NumberLabels(100.0 + rows[:, :1].astype(float)), np.ones(count), np.zeros(count))


def test_a_regression_that_has_learned_nothing_gives_no_number(tmp_path: Path) -> None:
    """Where it is asked to answer from the start."""
    pending = InMemoryPending()
    sinks = RequestSinks(RequestBuffer({"m": pending}))
    with served(
        tmp_path, model=Taught(regression, Ridge.predictor_from, numbers), sinks=sinks, labels_topic="labels"
    ) as parts:
        model = parts.server.models.find("m")
        model.ready_after_events = 0
        parts.publisher.publish(regression().predictor(), version=50, learned_events=0, event_time=0.0)
        assert model.versions.subscriber.wait_for(50, 20) is not None
        parts.version = 50
        with httpx.Client(base_url=f"http://127.0.0.1:{parts.server.http_port}", timeout=60) as client:
            tensor = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.0] * FEATURES}
            row = {"features": [0.0] * FEATURES}

            before = client.post("/v1/models/m/predict", json=row).json()
            tensors = client.post(
                "/v2/models/m/infer", json={"inputs": [tensor], "parameters": {"event_id": "e1"}}
            ).json()
            parts.learn(50)
            after = client.post("/v1/models/m/predict", json=row).json()
            later = client.post("/v2/models/m/infer", json={"inputs": [tensor]}).json()

        assert ("value" in before, before["reason"]) == (False, NO_NUMBER)
        assert tensors["parameters"]["no_label"] == NO_NUMBER
        assert 90 < after["value"] < 110
        assert "reason" not in after
        assert "no_label" not in later.get("parameters", {})
        until("the request in the store", lambda: pending.find("m", ["e1"])[0])
        (waiting,) = pending.find("m", ["e1"])
        assert waiting is not None
        kept = thalweg_pb2.Event.FromString(waiting.value)
        assert (kept.served.state_version, list(kept.served.value)) == (50, [])


def test_a_request_that_waits_for_its_label_is_kept_although_there_is_no_answer(started: Started) -> None:
    """Else a model whose events are requests alone would never begin to learn."""
    answer = started.infer(event_id="e1")

    assert answer.status_code == 503
    assert "the request waits for the label of 'e1'" in answer.json()["error"]
    until("the request in the store", lambda: started.pending.find("m", ["e1"])[0])
    rows = [{"id": id, "features": [0.0] * FEATURES} for id in ("r1", "r2")]
    many = started.http.post("/v1/models/m/predict", json=rows)
    assert (many.status_code, "waits for the label of 'r1', 'r2'" in many.json()["error"]) == (503, True)
    until("the rows in the store", lambda: all(started.pending.find("m", ["r1", "r2"])))


def test_rolled_back_to_an_empty_version_it_is_not_ready_any_more(started: Started) -> None:
    started.parts.learn(300)
    assert started.model_ready()
    empty = Ridge.predictor_from(started.parts.learner.predictor().state())

    started.parts.publisher.publish(empty, version=9, learned_events=0, event_time=0.0)
    until("the version", lambda: not started.model_ready())

    assert started.infer().status_code == 503


def test_a_model_that_adapts_a_trained_one_needs_no_label_to_be_ready(started: Started) -> None:
    model = started.parts.server.models.find("m")
    served: Any = SimpleNamespace(info=SimpleNamespace(learned_events=0), predictor=SimpleNamespace(task=ADAPTATION))

    assert model.untrained(served) == ""


def test_which_models_need_labels_is_a_metric(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    model = started.parts.server.models.find("m")

    def needed() -> str:
        page = started.http.get("/metrics").text
        return next(line for line in page.splitlines() if line.startswith("thalweg_labels_needed{")).split()[-1]

    assert needed() == "1.0"
    model.learn_from_requests = True
    assert needed() == "0.0"
    model.learn_from_requests = False
    served = model.versions.newest
    assert served is not None
    monkeypatch.setattr(type(served.predictor), "task", ADAPTATION)
    assert needed() == "0.0"


def test_a_part_of_the_server_that_has_failed_makes_it_unhealthy(started: Started) -> None:
    assert started.http.get("/healthz").text == "ok\n"
    models: Models = started.parts.server.models

    models.registry.register("request_log").failed("ValueError: as a test has it")
    failed = started.http.get("/healthz")

    assert (failed.status_code, failed.text) == (503, "request log: ValueError: as a test has it\n")


def test_a_learner_that_does_not_learn_is_told_in_health_metrics_and_on_the_page(started: Started) -> None:
    started.parts.learn(300)
    models: Models = started.parts.server.models
    learner = models.registry.register("learner", "m", silent_seconds=3600)
    learner.running()
    until("gRPC health", lambda: started.grpc_health("m/learning") == "SERVING")

    learner.waiting("the log is out of reach")

    until("gRPC health", lambda: started.grpc_health("m/learning") == "NOT_SERVING")
    assert started.grpc_health("m") == "SERVING"  # predictions go on
    text = "model 'm': learner waiting: the log is out of reach"
    assert text in started.http.get("/readyz").json()["degraded"]
    page = started.http.get("/api/models/m").json()
    assert page["level"] == "watch"
    assert page["troubles"][0] == {
        "level": "watch",
        "code": "learner_waiting",
        "text": "learner waiting: the log is out of reach",
    }
