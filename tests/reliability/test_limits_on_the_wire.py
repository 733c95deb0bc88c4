"""Each limit tried at its value and one byte above, over the wires themselves: gRPC, REST, and a log that is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.ops.serve.serving import FEATURES, RunningServer, events
from tests.stream.chain import Chain
from tests.stream.labels.test_joining import Counted
from thalweg.memory.exchange.pending import InMemoryPending
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.ops.serve.models import RequestSinks
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc, thalweg_pb2, thalweg_pb2_grpc
from thalweg.proto.bounds.limits import (
    MAX_HEADERS_BYTES,
    MAX_ID_BYTES,
    MAX_JSON_DEPTH,
    MAX_KEY_BYTES,
    MAX_LABEL_BYTES,
    MAX_LABEL_RECORD_BYTES,
    MAX_TEXT_BYTES,
)
from thalweg.proto.encode import EVENT_HEADERS, to_events
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.labels.joining import Joiner, JoinSettings
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.log import Message
from thalweg.stream.log.sqlite import SqliteLog

MOST = 4 << 20
"""Bytes of one request, as `RunningServer` configures them."""


class _Wires:
    """A server whose requests wait for labels, and its callers."""

    def __init__(self, folder: Path) -> None:
        self.parts = RunningServer(folder, sinks=RequestSinks(RequestBuffer({"m": InMemoryPending()})))
        self.parts.server.models.find("m").labels_topic = "m.labels"
        self.parts.server.start()
        self.parts.learn(300)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.parts.server.http_port}", timeout=60)
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.parts.server.grpc_port}", options)
        self.inference = inference_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        self.learning = thalweg_pb2_grpc.LearningServiceStub(self.channel)

    def close(self) -> None:
        self.http.close()
        self.channel.close()
        self.parts.server.close()
        self.parts.publisher.close()

    def learn(self, **fields: str) -> str:
        """The error of an event with these fields; empty: it was taken."""
        event = thalweg_pb2.Event.FromString(to_events(events(1))[0])
        event.model = "m"
        for name, value in fields.items():
            setattr(event, name, value)
        (ack,) = self.learning.Learn(iter([event]), timeout=60)
        return str(ack.error)

    def label(self, **fields: str) -> str:
        return self._code(lambda: self.learning.Label(thalweg_pb2.LabelRequest(model="m", **fields), timeout=60))

    def infer(self, **parameters: str) -> str:
        request = pb.ModelInferRequest(model_name="m")
        request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
        request.raw_input_contents.append(bytes(4 * FEATURES))
        for name, value in parameters.items():
            request.parameters[name].string_param = value
        return self._code(lambda: self.inference.ModelInfer(request, timeout=60))

    def infer_bytes(self, size: int) -> str:
        """A request of exactly this size, whose last bytes are those of its id."""
        rows = (size - 1000) // (4 * FEATURES)
        request = pb.ModelInferRequest(model_name="m", id="i" * 200)
        request.inputs.add(name="features", datatype="FP32", shape=[rows, FEATURES])
        request.raw_input_contents.append(bytes(4 * FEATURES * rows))
        request.outputs.add(name="label")  # so that the answer fits, too
        request.id += "i" * (size - request.ByteSize())
        assert request.ByteSize() == size
        return self._code(lambda: self.inference.ModelInfer(request, timeout=60))

    def post(self, **more: Any) -> int:
        return self.post_bytes(json.dumps({"inputs": [TENSOR], **more}).encode())

    def post_bytes(self, body: bytes) -> int:
        return self.http.post("/v2/models/m/infer", content=body).status_code

    @staticmethod
    def _code(call: Any) -> str:
        try:
            call()
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"


TENSOR = {"name": "features", "datatype": "FP32", "shape": [1, FEATURES], "data": [0.0] * FEATURES}


@pytest.fixture(scope="module")
def wires(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Wires]:
    made = _Wires(tmp_path_factory.mktemp("served"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("field", "most"), [("id", MAX_ID_BYTES), ("key", MAX_KEY_BYTES), ("label_text", MAX_LABEL_BYTES)]
)
def test_an_event_over_grpc_is_taken_at_its_limit_and_refused_one_byte_above(
    wires: _Wires, field: str, most: int
) -> None:
    assert wires.learn(**{field: "a" * most}) == ""
    assert f"at most {most} bytes, got {most + 1}" in wires.learn(**{field: "a" * (most + 1)})


def test_a_label_over_grpc_is_taken_at_its_limits_and_refused_one_byte_above(wires: _Wires) -> None:
    assert wires.label(id="a" * MAX_ID_BYTES, text="a" * MAX_LABEL_BYTES) == "OK"
    assert wires.label(id="a" * (MAX_ID_BYTES + 1), text="a") == "INVALID_ARGUMENT"
    assert wires.label(id="a", text="a" * (MAX_LABEL_BYTES + 1)) == "INVALID_ARGUMENT"


def test_the_id_of_a_request_that_waits_for_its_label_has_the_limit_of_ids(wires: _Wires) -> None:
    for unit in ("a", "ü"):
        whole = unit * (MAX_ID_BYTES // len(unit.encode()))
        assert (wires.infer(event_id=whole), wires.infer(event_id=whole + unit)) == ("OK", "INVALID_ARGUMENT")
        assert wires.post(parameters={"event_id": whole}) == 200
        assert wires.post(parameters={"event_id": whole + unit}) == 400


def test_a_request_is_taken_at_the_largest_size_and_refused_one_byte_above(wires: _Wires) -> None:
    assert wires.infer_bytes(MOST) == "OK"
    assert wires.infer_bytes(MOST + 1) == "RESOURCE_EXHAUSTED"
    body = json.dumps({"inputs": [TENSOR]}).encode()
    assert wires.post_bytes(body.ljust(MOST)) == 200
    assert wires.post_bytes(body.ljust(MOST + 1)) == 413


def test_json_is_taken_at_the_largest_depth_and_refused_one_level_above(wires: _Wires) -> None:
    def nested(depth: int) -> bytes:
        """`parameters.x` makes the whole text so deep."""
        value = b"[" * (depth - 2) + b"]" * (depth - 2)
        return json.dumps({"inputs": [TENSOR], "parameters": {"priority": "X"}}).encode().replace(b'"X"', value)

    deepest, deeper = (wires.http.post("/v2/models/m/infer", content=nested(MAX_JSON_DEPTH + n)) for n in (0, 1))
    assert "levels deep" not in deepest.text
    assert (deeper.status_code, f"nested more than {MAX_JSON_DEPTH} levels deep" in deeper.text) == (400, True)


class _Texts(Chain):
    """A chain that also takes a text."""

    schema = Schema({**Chain.schema.inputs, "text": TensorSpec("text", "bytes", ())}, "class")


SETTINGS = ProcessorSettings(
    model="m", topic="t", batch_seconds=0, idle_seconds=0, undecodable_share=1.0, max_record_bytes=3 << 20
)


def record(size: int = 0, **fields: Any) -> bytes:
    inputs = {"features": [1.0, 2.0], "text": fields.pop("text", "t")}
    return json.dumps({"inputs": inputs, "label": "a", **fields}).encode().ljust(size)


def headers(size: int) -> tuple[tuple[str, bytes], ...]:
    return (("h", bytes(size - 1)),)


def event(**fields: str) -> bytes:
    message = thalweg_pb2.Event(label_text="a")
    message.inputs.add(name="features", datatype="FP32", shape=[2])
    message.inputs.add(name="text", datatype="BYTES", shape=[])
    text = fields.pop("text", "t").encode()
    message.raw_input_contents.extend([np.ones(2, "<f4").tobytes(), len(text).to_bytes(4, "little") + text])
    for name, value in fields.items():
        setattr(message, name, value)
    return bytes(message.SerializeToString())


def of(length: int) -> str:
    return "a" * length


LIMITS = {
    "id": (lambda more: Message(record(id=of(MAX_ID_BYTES + more))), "bad_id"),
    "key": (lambda more: Message(record(key=of(MAX_KEY_BYTES + more))), "bad_key"),
    "record's key": (lambda more: Message(record(), key=bytes(MAX_KEY_BYTES + more)), "bad_key"),
    "label": (lambda more: Message(record(label=of(MAX_LABEL_BYTES + more))), "bad_label"),
    "text": (lambda more: Message(record(text=of(MAX_TEXT_BYTES + more))), "too_large"),
    "headers": (lambda more: Message(record(), headers=headers(MAX_HEADERS_BYTES + more)), "too_large"),
    "record": (lambda more: Message(record(SETTINGS.max_record_bytes + more)), "too_large"),
    "event's id": (lambda more: Message(event(id="b" * (MAX_ID_BYTES + more)), headers=EVENT_HEADERS), "bad_id"),
    "event's key": (lambda more: Message(event(key=of(MAX_KEY_BYTES + more)), headers=EVENT_HEADERS), "bad_key"),
    "event's label": (
        lambda more: Message(event(label_text=of(MAX_LABEL_BYTES + more)), headers=EVENT_HEADERS),
        "bad_label",
    ),
    "event's text": (lambda more: Message(event(text=of(MAX_TEXT_BYTES + more)), headers=EVENT_HEADERS), "too_large"),
}


def test_records_in_the_log_are_learned_at_each_limit_and_dead_letters_one_byte_above(tmp_path: Path) -> None:
    log, learner, snapshots = SqliteLog(tmp_path / "log.db"), _Texts(), InMemorySnapshots()
    for make, _ in LIMITS.values():
        log.append("t", [make(0), make(1)])

    Processor(learner, log, snapshots, SETTINGS, ports=Ports(dead_letters=DeadLetters(log, "t", "m"))).run(
        until_end=True
    )

    letters = {letter.offset: (letter.reason, letter.value) for letter in DeadLetters(log, "t").newest(1000)}
    wanted = {2 * place + 1: (reason, make(1).value) for place, (make, reason) in enumerate(LIMITS.values())}
    assert letters == wanted
    assert sum(map(len, learner.learned)) == len(LIMITS)
    log.close()


def test_a_record_of_labels_is_joined_at_its_limits_and_a_dead_letter_one_byte_above(tmp_path: Path) -> None:
    log, pending = SqliteLog(tmp_path / "log.db"), InMemoryPending()
    names = [str(n).rjust(MAX_ID_BYTES, "i") for n in range(2)]
    pending.remember("m", [(name, 0.0, event(id=name)) for name in names])
    whole = json.dumps({"id": names[0], "label": of(MAX_LABEL_BYTES)}).encode().ljust(MAX_LABEL_RECORD_BYTES)
    for value in (
        whole,
        whole + b" ",
        json.dumps({"id": names[1] + "i", "label": "a"}).encode(),
        json.dumps({"id": names[1], "label": of(MAX_LABEL_BYTES + 1)}).encode(),
    ):
        log.append("labels", [Message(value)])
    settings = JoinSettings(model="m", topic="t", labels_topic="labels", joined_topic="m.joined", label_seconds=100.0)

    letters = DeadLetters(log, "labels", "m")
    Joiner(settings, log, pending, _Texts.schema, tmp_path / "joined", letters, Counted()).run(until_end=True)

    assert [letter.reason for letter in letters.newest(10)] == ["too_large", "bad_id", "bad_label"]
    assert sum(last - first for first, last in log.bounds("m.joined").values()) == 1
    log.close()
