"""Labels that come later, through the real service: asked over gRPC, told over gRPC or the log, with a real Redis."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.ops.running import Service, service, until
from tests.samples import FEATURES
from tests.services.processes import PATIENCE, required_or_skipped, stop
from tests.services.redis import RedisServer
from thalweg.ops.cli.produce import messages
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc, thalweg_pb2, thalweg_pb2_grpc
from thalweg.proto.event import Batch, ClassLabels
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.log import Message

pytestmark = pytest.mark.slow

MODEL = 'labels_topic = "m.labels"\nlabel_seconds = {seconds}\n'


class Caller:
    """A client of one service that recommends."""

    def __init__(self, running: Service) -> None:
        self.running = running
        self._channel = grpc.insecure_channel(f"127.0.0.1:{running.ports['grpc']}")
        self.inference = inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self.learning = thalweg_pb2_grpc.LearningServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def ask(self, event_id: str | None, user: int, item: int, rows: int = 1, **more: Any) -> pb.ModelInferResponse:
        request = pb.ModelInferRequest(model_name="m")
        for name, value in (("user", user), ("item", item)):
            request.inputs.add(name=name, datatype="INT64", shape=[rows])
            request.raw_input_contents.append(np.full(rows, value, dtype=np.int64).tobytes())
        if event_id is not None:
            request.parameters["event_id"].string_param = event_id
        for name, value in more.items():
            request.parameters[name].int64_param = value
        return self.inference.ModelInfer(request, timeout=PATIENCE, wait_for_ready=True)

    def label(self, event_id: str, label: float) -> thalweg_pb2.Ack:
        return self.learning.Label(thalweg_pb2.LabelRequest(model="m", id=event_id, number=label), timeout=PATIENCE)

    def told(self, name: str) -> float:
        return self.running.metric(name, model_name="m") or 0.0


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with required_or_skipped():
        server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def answered(running: Service) -> int:
    return int(running.metric("thalweg_learned_events", model_name="m") or 0)


def test_with_the_embedded_store_a_label_teaches_what_was_asked(tmp_path: Path) -> None:
    with service(tmp_path, learner="error_memory", model=MODEL.format(seconds=3600)) as running:
        supervisor = running.start()
        until("readiness", running.ready)
        caller = Caller(running)
        caller.ask("click-1", user=1, item=7)
        ack = caller.label("click-1", 1.0)
        assert (ack.topic, ack.id) == ("m.labels", "click-1")
        until("the label to be learned", lambda: answered(running) == 1)

        response = caller.ask(None, user=1, item=3, explain=5)

        (told,) = json.loads(response.parameters["explanation"].string_param)
        assert (told[0]["id"], told[0]["view"], told[0]["label"]) == ("click-1", "user", 1.0)
        assert (told[0]["topic"], told[0]["partition"], told[0]["offset"]) == ("m.joined", 0, 0)
        with httpx.Client(base_url=f"http://127.0.0.1:{running.ports['http']}") as client:
            tensors = [{"name": name, "datatype": "INT64", "shape": [1], "data": [2]} for name in ("user", "item")]
            asked = {"inputs": tensors, "parameters": {"event_id": "click-2", "explain": True}}
            assert client.post("/v2/models/m/infer", json=asked).json()["parameters"]["explanation"] == [[]]
        running.log.append("m.labels", [Message(b'{"id": "click-2", "label": 0}')])
        until("the second label to be learned", lambda: answered(running) == 2)
        caller.label("click-2", 1.0)
        until("the repeated label to be counted", lambda: caller.told("thalweg_labels_duplicated_total") == 1)
        assert caller.told("thalweg_labels_joined_total") == 2
        assert caller.told("thalweg_label_delay_seconds_count") == 2
        assert caller.told("thalweg_requests_remembered_total") == 2
        assert answered(running) == 2
        for refused, detail in (
            (lambda: caller.ask("", user=1, item=1), "expected an id, got an empty string"),
            (lambda: caller.ask("x", user=1, item=1, rows=2), "expected inputs of one row, got 2"),
            (lambda: caller.label("", 1.0), "expected the id of an event"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                refused()
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
            assert detail in caught.value.details()  # type: ignore[attr-defined]
        caller.close()
        assert stop(supervisor) == 0


def test_labels_without_an_event_go_to_the_dead_letters(tmp_path: Path) -> None:
    with service(tmp_path, learner="error_memory", model=MODEL.format(seconds=1)) as running:
        running.start()
        until("readiness", running.ready)
        caller = Caller(running)
        caller.label("nobody", 1.0)
        until("the label to be given up", lambda: caller.told("thalweg_labels_unmatched_total") == 1)

        (letter,) = DeadLetters(running.log, "m.labels", "m").newest(10)
        assert (letter.reason, letter.value) == ("unmatched_label", b'{"id": "nobody", "label": 1.0}')
        caller.close()


@pytest.mark.redis
@pytest.mark.kafka
def test_a_redis_that_goes_and_comes_back_stops_no_prediction_and_loses_no_label(
    tmp_path: Path, redis_server: RedisServer, kafka_servers: str
) -> None:
    topic = f"m-{uuid.uuid4().hex[:8]}"
    labels = f'labels_topic = "{topic}.labels"\nlabel_seconds = 3600\nstart = "latest"\n'
    with service(
        tmp_path, f"kafka://{kafka_servers}", topic, learner="error_memory", store=redis_server.url, model=labels
    ) as running:
        running.start()
        until("readiness", running.ready)
        caller = Caller(running)
        for number in range(20):
            caller.ask(f"{topic}-{number}", user=number % 3, item=number)
        until("requests in Redis", lambda: caller.told("thalweg_requests_remembered_total") == 20)
        for number in range(10):
            caller.label(f"{topic}-{number}", number % 2)
        until("ten labels joined", lambda: caller.told("thalweg_labels_joined_total") == 10)

        redis_server.stop()
        until("it to be said", lambda: json.loads(running.get("/readyz")[1])["degraded"])
        assert running.get("/readyz")[0] == 200
        until("the request store to be down", lambda: caller.told("thalweg_request_store_up") == 0)
        for number in range(20, 30):
            assert len(caller.ask(f"{topic}-{number}", user=1, item=number).outputs) == 3
        for number in range(20, 30):
            caller.label(f"{topic}-{number}", 1.0)
        until("the join to notice", lambda: caller.told("thalweg_join_store_up") == 0)
        running.kill("learner")  # labels that wait are in the log, whoever dies

        redis_server.start()  # it has forgotten what it knew: requests 10 to 19 are gone, 20 to 29 were never there yet
        until("the labels of the time without Redis", lambda: caller.told("thalweg_labels_joined_total") == 10)
        until(
            "all well", lambda: caller.told("thalweg_join_store_up") == 1 and running.metric("thalweg_request_store_up")
        )
        until(
            "the store not to be degraded",
            lambda: "store" not in str(json.loads(running.get("/readyz")[1])["degraded"]),
        )
        until("all twenty to be learned", lambda: answered(running) == 20)
        caller.close()


ASKED = 20


class Questions:
    """The same few inputs, asked and told of under ids of their own."""

    def __init__(self, running: Service) -> None:
        self.running = running
        self._channel = grpc.insecure_channel(f"127.0.0.1:{running.ports['grpc']}")
        self._inference = inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._learning = thalweg_pb2_grpc.LearningServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def ask(self, number: int, event_id: str | None) -> str:
        """What is answered; the odd ones are asked over HTTP."""
        x = np.eye(FEATURES, dtype=np.float32)[number % 3]
        if number % 2:
            tensor = {"name": "features", "datatype": "FP32", "shape": [1, FEATURES], "data": x.tolist()}
            asked = {"inputs": [tensor], "parameters": {} if event_id is None else {"event_id": event_id}}
            url = f"http://127.0.0.1:{self.running.ports['http']}/v2/models/m/infer"
            outputs = httpx.post(url, json=asked, timeout=PATIENCE).json()["outputs"]
            return next(str(output["data"][0]) for output in outputs if output["name"] == "label")
        request = pb.ModelInferRequest(model_name="m")
        request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
        request.raw_input_contents.append(x.tobytes())
        if event_id is not None:
            request.parameters["event_id"].string_param = event_id
        response = self._inference.ModelInfer(request, timeout=PATIENCE, wait_for_ready=True)
        return response.raw_output_contents[0][4:].decode()

    def label(self, event_id: str, label: str) -> None:
        self._learning.Label(thalweg_pb2.LabelRequest(model="m", id=event_id, text=label), timeout=PATIENCE)

    def right_answers(self, events: int) -> int:
        """How many were graded as right, of so many learned, as a version saved now has it."""
        version = self._learning.Snapshot(thalweg_pb2.SnapshotRequest(model="m"), timeout=PATIENCE).version
        manifest = self.running.snapshots().load(version).manifest
        assert manifest.events_learned == events
        return round(manifest.metrics["accuracy"] * events)


def rule(count: int, seed: int, turn: int) -> Batch:
    """The place of the highest input says which class it is, `turn` places on."""
    random = np.random.default_rng(seed)
    place = random.integers(0, 3, count)
    features = random.normal(0, 0.1, (count, FEATURES)).astype(np.float32)
    features[np.arange(count), place] += 1
    codes = ((place + turn) % 3).astype(np.int32)
    ids = [f"{seed}-{row}" for row in range(count)]
    return Batch({"features": features}, ClassLabels(codes, ("a", "b", "c")), np.ones(count), np.zeros(count), ids)


def grade_what_was_served(running: Service, name: str) -> None:
    """Ask, let it learn another rule, tell the labels: right then, wrong by now; the learner is killed in between."""
    supervisor = running.start()
    until("readiness", running.ready)
    running.log.append(running.topic, messages(rule(200, 1, turn=0), 50))
    until("the first rule to be learned", lambda: answered(running) == 200)
    asking = Questions(running)
    served = [asking.ask(number, f"{name}-{number}") for number in range(ASKED)]
    assert served == [("a", "b", "c")[number % 3] for number in range(ASKED)]
    until("all to wait", lambda: running.metric("thalweg_requests_remembered_total", model_name="m") == ASKED)
    running.log.append(running.topic, messages(rule(2000, 2, turn=1), 50))
    until("the second rule to be learned", lambda: answered(running) == 2200)
    assert [asking.ask(number, None) for number in range(ASKED)] == [("b", "c", "a")[n % 3] for n in range(ASKED)]
    right = asking.right_answers(2200)

    for number in range(10):
        asking.label(f"{name}-{number}", served[number])
    until("ten labels to be learned", lambda: answered(running) == 2210)
    assert asking.right_answers(2210) == right + 10  # by what it would answer now all ten are wrong
    for number in range(10, ASKED):
        asking.label(f"{name}-{number}", served[number])
    until("all labels to be learned", lambda: answered(running) == 2220)
    pid = running.kill("learner")
    until("another learner", lambda: running.pid("learner") != pid)
    until("it to have learned them again", lambda: running.published(running.pid("learner") or 0) == 2220)

    assert asking.right_answers(2220) == right + ASKED
    asking.close()
    assert stop(supervisor) == 0


LATE = 'labels_topic = "{topic}.labels"\nlabel_seconds = 3600\nsnapshot_seconds = 3600\n'


def test_a_late_label_grades_the_answer_that_was_served_though_it_would_answer_otherwise_by_now(tmp_path: Path) -> None:
    with service(tmp_path, model=LATE.format(topic="m")) as running:
        grade_what_was_served(running, "q")


@pytest.mark.redis
@pytest.mark.kafka
def test_over_kafka_and_redis_a_late_label_grades_the_answer_that_was_served(
    tmp_path: Path, redis_server: RedisServer, kafka_servers: str
) -> None:
    topic = f"m-{uuid.uuid4().hex[:8]}"
    model = LATE.format(topic=topic)
    with service(tmp_path, f"kafka://{kafka_servers}", topic, store=redis_server.url, model=model) as running:
        grade_what_was_served(running, topic)
