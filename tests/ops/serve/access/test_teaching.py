"""Predictions that teach take what teaching takes; web pages teach nobody; streams are judged message by message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.ops.serve.serving import FEATURES, RunningServer, Taught, events, new_learner, served
from tests.services.processes import PATIENCE, until
from thalweg.memory.exchange.pending import InMemoryPending
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve.access.access import AccessSettings
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.ops.serve.models import RequestSinks
from thalweg.proto import inference_pb2, inference_pb2_grpc, thalweg_pb2, thalweg_pb2_grpc
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.log.in_memory import InMemoryLog

ROW = [1.0, 0.0, 0.0, 0.0]
BODY = '{"features": [1.0, 0.0, 0.0, 0.0]}'
PREDICT, TEACH = "may-only-predict-this", "may-predict-and-teach"
FILE = f"{PREDICT} roles=predict\n{TEACH} roles=predict,learn\nanonymous roles=predict\n"
FOREIGN = {"origin": "http://evil.example", "content-type": "text/plain"}


class Adapting:
    """A served model that learns from its requests, or from those whose label arrives."""

    def __init__(self, parts: RunningServer, log: InMemoryLog, pending: InMemoryPending) -> None:
        self.parts, self._log, self._pending = parts, log, pending
        self.http = f"http://127.0.0.1:{parts.server.http_port}"
        self.grpc = f"127.0.0.1:{parts.server.grpc_port}"

    def learned(self) -> int:
        """Events in its topic."""
        return sum(end for _, end in self._log.bounds("m.events").values())


def adapting(folder: Path, *, learns: bool, tokens: str = "", access: AccessSettings | None = None) -> Any:
    log, pending = InMemoryLog(), InMemoryPending()
    sinks = RequestSinks(
        RequestBuffer({"m": pending}) if not learns else None,
        RequestLog({"m": "m.events"}, log) if learns else None,
    )
    folder.mkdir(exist_ok=True)
    if tokens:
        (folder / "tokens").write_text(tokens)
    known = Tokens(folder / "tokens") if tokens else None
    running = served(folder, log=log, sinks=sinks, labels_topic="m.labels", tokens=known, access=access)
    return running, log, pending


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapting]:
    running, log, pending = adapting(tmp_path_factory.mktemp("learning"), learns=True, tokens=FILE)
    with running as parts:
        yield Adapting(parts, log, pending)


@pytest.fixture(scope="module")
def joining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapting]:
    running, log, pending = adapting(tmp_path_factory.mktemp("joining"), learns=False, tokens=FILE)
    with running as parts:
        yield Adapting(parts, log, pending)


@pytest.fixture(scope="module")
def tokenless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapting]:
    access = AccessSettings(origins=["https://ours.example"])
    running, log, pending = adapting(tmp_path_factory.mktemp("tokenless"), learns=True, access=access)
    with running as parts:
        yield Adapting(parts, log, pending)


def infer_request(event_id: str = "") -> inference_pb2.ModelInferRequest:
    request = inference_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
    request.raw_input_contents.append(np.asarray([ROW], dtype=np.float32).tobytes())
    if event_id:
        request.parameters["event_id"].string_param = event_id
    return request


def asked_everywhere(it: Adapting, token: str | None, event_id: str = "") -> dict[str, str]:
    """The outcome of one prediction over every wire: `ok`, `unauthenticated` or `forbidden`."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    words = {200: "ok", 401: "unauthenticated", 403: "forbidden"}
    row = {"features": ROW} | ({"id": event_id} if event_id else {})
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, FEATURES], "data": ROW}
    parameters = {"parameters": {"event_id": event_id}} if event_id else {}
    found = {}
    with httpx.Client(base_url=it.http, headers=headers) as client:
        found["rows"] = words[client.post("/v1/models/m/predict", json=row).status_code]
        found["kserve"] = words[client.post("/v1/models/m:predict", json={"instances": [row]}).status_code]
        body = {"inputs": [tensor], **parameters}
        found["v2"] = words[client.post("/v2/models/m/infer", json=body).status_code]
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(it.grpc) as channel:
        stub, own = inference_pb2_grpc.GRPCInferenceServiceStub(channel), thalweg_pb2_grpc.LearningServiceStub(channel)
        rows = thalweg_pb2.PredictRequest(model="m", rows=httpx.Request("POST", "http://x", json=row).read())
        for name, call, request in (
            ("infer", stub.ModelInfer, infer_request(event_id)),
            ("Predict", own.Predict, rows),
        ):
            try:
                call(request, metadata=metadata, timeout=PATIENCE)
                found[name] = "ok"
            except grpc.RpcError as error:
                found[name] = {"UNAUTHENTICATED": "unauthenticated", "PERMISSION_DENIED": "forbidden"}[
                    error.code().name  # type: ignore[attr-defined]
                ]
        (answer,) = stub.ModelStreamInfer(iter([infer_request(event_id)]), metadata=metadata, timeout=PATIENCE)
        text = answer.error_message
        found["stream"] = "ok" if not text else "unauthenticated" if "a token is required" in text else "forbidden"
    return found


@pytest.mark.parametrize(
    ("token", "outcome"),
    [(None, "unauthenticated"), (PREDICT, "forbidden"), (TEACH, "ok"), ("not-a-token-at-all", "unauthenticated")],
)
def test_a_model_that_learns_from_its_requests_answers_who_may_teach_it(
    learning: Adapting, token: str | None, outcome: str
) -> None:
    before = learning.learned()

    found = asked_everywhere(learning, token)

    assert set(found.values()) == {outcome}, found
    if outcome == "ok":
        until("the requests in the topic", lambda: learning.learned() == before + len(found))
    else:
        assert learning.learned() == before


@pytest.mark.parametrize(("token", "outcome"), [(None, "unauthenticated"), (PREDICT, "forbidden"), (TEACH, "ok")])
def test_a_request_that_waits_for_its_label_takes_the_role_to_teach(
    joining: Adapting, token: str | None, outcome: str
) -> None:
    assert set(asked_everywhere(joining, token, event_id=f"e-{token}").values()) == {outcome}


@pytest.mark.parametrize("token", [None, PREDICT, TEACH])
def test_a_prediction_that_teaches_nobody_takes_the_role_to_predict_alone(joining: Adapting, token: str | None) -> None:
    assert set(asked_everywhere(joining, token).values()) == {"ok"}


@pytest.mark.parametrize(
    "headers",
    [
        FOREIGN,
        {**FOREIGN, "origin": "null"},
        {"sec-fetch-site": "cross-site", "content-type": "text/plain"},
        {"sec-fetch-site": "same-site", "content-type": "text/plain"},
        {"origin": "http://127.0.0.1:1", "content-type": "text/plain"},
    ],
)
@pytest.mark.parametrize("path", ["predict", "events", "labels"])
def test_a_page_of_another_origin_teaches_nothing_without_a_token(
    tokenless: Adapting, headers: dict[str, str], path: str
) -> None:
    before = tokenless.learned()

    answer = httpx.post(f"{tokenless.http}/v1/models/m/{path}", content=BODY, headers=headers)

    assert (answer.status_code, "token" in answer.json()["error"]) == (403, True)
    assert tokenless.learned() == before
    assert 'thalweg_requests_refused_total{reason="origin"}' in httpx.get(f"{tokenless.http}/metrics").text


def test_programs_and_pages_of_our_own_origins_predict_without_tokens(tokenless: Adapting) -> None:
    before = tokenless.learned()
    own = {"origin": tokenless.http, "sec-fetch-site": "same-origin"}
    for headers in ({}, {"content-type": "text/plain"}, own, {"origin": "https://ours.example"}):
        assert httpx.post(f"{tokenless.http}/v1/models/m/predict", content=BODY, headers=headers).status_code == 200
    until("the requests in the topic", lambda: tokenless.learned() == before + 4)


def test_with_a_token_a_page_is_a_caller_like_any_other(learning: Adapting) -> None:
    headers = {**FOREIGN, "authorization": f"Bearer {TEACH}"}

    assert httpx.post(f"{learning.http}/v1/models/m/predict", content=BODY, headers=headers).status_code == 200
    assert httpx.post(f"{learning.http}/v1/models/m/predict", content=BODY, headers=FOREIGN).status_code == 403


@pytest.mark.parametrize(
    "host", ["rebound.example", "rebound.example:8080", "localhost.rebound.example", "127.0.0.1.nip.io"]
)
def test_a_name_that_was_pointed_at_this_machine_is_not_answered(tokenless: Adapting, host: str) -> None:
    answers = [
        httpx.get(f"{tokenless.http}/api/models/m/dead_letters", headers={"host": host}),
        httpx.post(
            f"{tokenless.http}/v1/models/m/predict", content=BODY, headers={"host": host, "origin": f"http://{host}"}
        ),
    ]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert "service.hosts" in answers[0].json()["error"]
    assert httpx.get(f"{tokenless.http}/readyz", headers={"host": host}).status_code in (200, 503)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "[::1]:8080", "10.1.2.3:80", "a.localhost:1", "thalweg:8080"]
)
def test_addresses_and_localhost_are_answered(tokenless: Adapting, host: str) -> None:
    assert httpx.get(f"{tokenless.http}/v1/models", headers={"host": host}).status_code == 200


def test_with_names_configured_no_other_is_answered(tmp_path: Path) -> None:
    with served(tmp_path, access=AccessSettings(hosts=["models.example"])) as parts:
        url = f"http://127.0.0.1:{parts.server.http_port}/v1/models"
        codes = {
            host: httpx.get(url, headers={"host": host}).status_code
            for host in ("models.example", "MODELS.example:80", "127.0.0.1", "localhost", "thalweg", "other.example")
        }

    assert list(codes.values()) == [200, 200, 200, 200, 403, 403]


def test_of_a_stream_of_events_each_is_judged_by_its_model(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"{TEACH} roles=learn models=m")
    event = thalweg_pb2.Event(label_text="left")
    event.inputs.add(name="features", datatype="FP32", shape=[FEATURES]).contents.fp32_contents.extend(ROW)
    with (
        served(tmp_path, tokens=Tokens(tmp_path / "tokens")) as parts,
        grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as wire,
    ):
        stub = thalweg_pb2_grpc.LearningServiceStub(wire)
        sent = []
        for model in ("m", "empty", "m"):
            sent.append(thalweg_pb2.Event())
            sent[-1].CopyFrom(event)
            sent[-1].model = model
        acks = list(stub.Learn(iter(sent), metadata=[("authorization", f"Bearer {TEACH}")], timeout=PATIENCE))

    assert [("learn for model 'empty'" in ack.error, bool(ack.topic)) for ack in acks] == [
        (False, True),
        (True, False),
        (False, True),
    ]


def test_a_weight_beyond_the_bound_is_refused_at_the_door(tmp_path: Path) -> None:
    taught = Taught(new_learner, Ridge.predictor_from, events, replace(new_learner().schema, max_weight=1000.0))
    heavy = thalweg_pb2.Event(label_text="left", weight=1e30, model="m")
    heavy.inputs.add(name="features", datatype="FP32", shape=[FEATURES]).contents.fp32_contents.extend(ROW)
    with (
        served(tmp_path, model=taught) as parts,
        grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as wire,
    ):
        url = f"http://127.0.0.1:{parts.server.http_port}/v1/models/m/events"
        answer = httpx.post(url, json={"inputs": {"features": ROW}, "label": "left", "weight": 1e30})
        (ack,) = thalweg_pb2_grpc.LearningServiceStub(wire).Learn(iter([heavy]), timeout=PATIENCE)

    assert (answer.status_code, answer.json()["rows"][0]["reason"]) == (400, "bad_weight")
    assert "max_weight" in ack.error
    assert parts.log.bounds("m.events") == {}
