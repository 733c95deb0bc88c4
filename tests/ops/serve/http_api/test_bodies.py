"""Bodies of requests, on every route that reads one: their types, their encodings, and their bounds."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.serve.serving import FEATURES, RunningServer, served
from thalweg.ops.serve.errors import QueueFull
from thalweg.ops.serve.http_api import connections
from thalweg.ops.serve.settings import ServerLimits

ROW = [1.0, 0.0, 0.0, 0.0]
TENSOR = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": ROW}
EVENT = {"inputs": {"features": ROW}, "label": "left"}
BODIES: dict[str, Any] = {
    "/v2/models/m/infer": {"inputs": [TENSOR]},
    "/v2/models/m/versions/1/infer": {"inputs": [TENSOR]},
    "/v1/models/m/predict": {"features": ROW},
    "/v1/models/m:predict": {"instances": [ROW]},
    "/v1/models/m/events": EVENT,
    "/v1/models/m/labels": {"id": "e", "label": "left"},
}
LIMIT = 4 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    limits = ServerLimits(max_message_bytes=LIMIT, requests_bytes=16 << 20)
    with served(tmp_path_factory.mktemp("service"), labels_topic="m.labels", limits=limits) as parts:
        yield parts


@pytest.fixture(scope="module")
def client(service: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.server.http_port}", timeout=60) as client:
        yield client


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize("route", BODIES)
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
    ],
)
def test_a_packed_body_is_read_as_the_plain_one_is(client: httpx.Client, route: str, encoding: str, pack: Any) -> None:
    content = json.dumps(BODIES[route]).encode()

    answer = client.post(route, content=pack(content), headers={"content-encoding": encoding})

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("route", BODIES)
@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"content-type": "text/csv"}, "content-type: expected application/json, got 'text/csv'"),
        ({"content-type": "multipart/form-data; boundary=x"}, "got 'multipart/form-data'"),
        ({"content-type": "application/json; charset=latin-1"}, "expected charset utf-8, got 'latin-1'"),
        ({"content-type": "application/octet-stream"}, "expected the header Inference-Header-Content-Length"),
        ({"content-encoding": "br"}, "content-encoding: expected gzip, deflate or identity, got 'br'"),
        ({"content-encoding": "gzip, gzip"}, "got 'gzip, gzip'"),
    ],
)
def test_another_type_or_encoding_is_refused_with_what_is_expected(
    client: httpx.Client, route: str, headers: dict[str, str], text: str
) -> None:
    answer = client.post(route, content=json.dumps(BODIES[route]), headers=headers)

    assert (answer.status_code, text in answer.json()["error"]) == (415, True), answer.text


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/vnd.api+json",
    ],
)
def test_json_comes_under_the_types_that_clients_send_it_under(client: httpx.Client, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}

    assert (
        client.post("/v1/models/m/predict", content=json.dumps({"features": ROW}), headers=headers).status_code == 200
    )


@pytest.mark.parametrize("route", BODIES)
@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (gzip.compress(b" " * (LIMIT + 1)), 413, f"expands to more than {LIMIT} bytes"),
        (gzip.compress(b"[" + b"[]," * 500_000, mtime=0), 413, "bytes of memory"),
        (gzip.compress(b"{}", mtime=0)[:-5], 400, "ends too early"),
        (gzip.compress(b"{}", mtime=0) + b"{}", 400, "2 bytes follow its end"),
        (b"{}", 400, "the request is not gzip"),
        (b"", 400, "the request is not gzip"),
    ],
)
def test_what_a_packed_body_expands_to_is_bounded(
    client: httpx.Client, service: RunningServer, route: str, body: bytes, status: int, text: str
) -> None:
    answer = client.post(route, content=body, headers={"content-encoding": "gzip"})

    assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text
    assert service.metrics.gauges["request_bytes"]() == 0


@pytest.mark.parametrize("route", BODIES)
def test_a_body_larger_than_the_limit_and_a_full_queue_are_refused_on_every_route(
    client: httpx.Client, service: RunningServer, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = client.post(route, content=b" " * (LIMIT + 1))
    appends = route.endswith(("events", "labels"))
    slots = service.server._gates.kinds["blocking" if appends else "predictions"]
    monkeypatch.setattr(slots, "overloaded", lambda: True)
    full = client.post(route, json=BODIES[route])

    assert (large.status_code, "larger than" in large.json()["error"]) == (413, True)
    assert (full.status_code, full.headers["retry-after"]) == (429, "1")
    with pytest.raises(QueueFull):
        raise slots.refusal()


@pytest.mark.parametrize("route", ["/v2/models/m/infer", "/v1/models/m/predict", "/v1/models/m:predict"])
def test_an_answer_is_packed_when_that_is_asked_for(client: httpx.Client, route: str) -> None:
    def answer(accepted: str) -> httpx.Response:
        return client.post(route, json=BODIES[route], headers={"accept-encoding": accepted})

    assert answer("gzip, deflate, br").headers["content-encoding"] == "gzip"
    assert answer("deflate").headers["content-encoding"] == "deflate"
    assert answer("*").headers["content-encoding"] == "gzip"
    for plain in ("identity", "gzip;q=0", "br", "gzip;q=x"):
        assert "content-encoding" not in answer(plain).headers
        assert answer(plain).headers["vary"] == "accept-encoding"
    assert answer("gzip").json().keys() == answer("identity").json().keys()


def binary(head: dict[str, Any], *values: bytes, length: int | str | None = None) -> dict[str, Any]:
    text = json.dumps(head).encode()
    return {
        "content": text + b"".join(values),
        "headers": {"inference-header-content-length": str(len(text) if length is None else length)},
    }


RAW = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
VALUES = np.float32(ROW).tobytes()


def test_tensors_come_and_go_raw_where_that_is_asked_for(client: httpx.Client) -> None:
    head = {"inputs": [RAW], "outputs": [{"name": "label", "parameters": {"binary_data": True}}, {"name": "scores"}]}

    answer = client.post("/v2/models/m/infer", **binary(head, VALUES))

    assert answer.status_code == 200, answer.text
    length = int(answer.headers["inference-header-content-length"])
    label, scores = json.loads(answer.content[:length])["outputs"]
    assert label["parameters"] == {"binary_data_size": 8}
    assert "data" not in label
    assert len(scores["data"]) == 3
    assert answer.content[length:] == struct.pack("<I", 4) + b"left"
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (binary({"inputs": [RAW]}, VALUES[:15]), "expected 16 bytes after the JSON, got 15"),
        (binary({"inputs": [RAW]}, VALUES + b"x"), "expected 16 bytes after the JSON, got 17"),
        (binary({"inputs": [RAW | {"shape": [2, 4]}]}, VALUES), "expected 32 bytes for shape [2, 4] of FP32, got 16"),
        (binary({"inputs": [RAW | {"shape": [1, -4]}]}, VALUES), "expected no negative size"),
        (binary({"inputs": [RAW | {"shape": ["1", 4]}]}, VALUES), "expected a list of sizes as its shape"),
        (binary({"inputs": [RAW | {"data": ROW}]}, VALUES), "has both data and binary_data_size"),
        (binary({"inputs": [RAW | {"parameters": {"binary_data_size": -1}}]}, VALUES), "expected a number of bytes"),
        (
            binary({"inputs": [RAW | {"parameters": {"binary_data_sise": 16}}]}, VALUES),
            "did you mean 'binary_data_size'?",
        ),
        (binary({"inputs": [RAW | {"parameters": {}}]}, VALUES), "expected data, or the parameter binary_data_size"),
        (binary({"inputs": [RAW]}, VALUES, length=10**6), "expected at most the"),
        (binary({"inputs": [RAW]}, VALUES, length="x"), "expected at most the"),
        (binary({"inputs": [RAW]}, VALUES, length=3), "not JSON"),
        ({"content": json.dumps({"inputs": [RAW]})}, "needs the header Inference-Header-Content-Length"),
        (
            binary({"inputs": [RAW], "parameters": {"binary_data_outputs": True}}, VALUES),
            "did you mean 'binary_data_output'?",
        ),
        (binary({"inputs": [RAW], "parameters": {"binary_data_output": 1}}, VALUES), "expected true or false, got 1"),
    ],
)
def test_raw_tensors_that_do_not_fit_say_what_was_expected(client: httpx.Client, sent: Any, text: str) -> None:
    answer = client.post("/v2/models/m/infer", **sent)

    assert (answer.status_code, text in answer.json()["error"]) == (400, True), answer.text


@settings(max_examples=150)
@given(
    size=st.integers(-1, 20) | st.sampled_from(["16", None, 2**70, True]),
    values=st.binary(max_size=24),
    shape=st.lists(st.integers(-1, 5) | st.sampled_from([2**40, "4", None]), max_size=3),
    kind=st.sampled_from(["FP32", "BYTES", "BOOL", "FP16", "BF16", ""]),
    length=st.integers(0, 200).map(str) | st.sampled_from(["", "-1", "9" * 11, "9" * 5000, "1e3", "²"]) | st.none(),
)
def test_no_raw_tensors_are_a_bug_of_the_server(
    client: httpx.Client, size: Any, values: bytes, shape: Any, kind: str, length: Any
) -> None:
    tensor = {"name": "features", "shape": shape, "datatype": kind, "parameters": {"binary_data_size": size}}
    sent = binary({"inputs": [tensor], "parameters": {"binary_data_output": True}}, values, length=length)
    sent["headers"] = {name: value.encode() for name, value in sent["headers"].items()}

    answer = client.post("/v2/models/m/infer", **sent)

    assert answer.status_code < 500, answer.text


def test_what_was_begun_is_answered_while_the_server_drains(tmp_path: Path) -> None:
    with served(tmp_path, labels_topic="m.labels") as parts:
        parts.server.models.draining = True
        url = f"http://127.0.0.1:{parts.server.http_port}"
        codes = {route: httpx.post(url + route, json=body).status_code for route, body in BODIES.items()}
        ready = httpx.get(f"{url}/v1/models/m")

    assert set(codes.values()) == {200}
    assert (ready.status_code, ready.json()["reason"]) == (503, "the server is draining")


REFUSED = [
    ("/v2/models/m/infer", "", 413),
    ("/v2/models/m/infer", "content-type: image/png\r\n", 415),
    ("/v1/models/m/events", "transfer-encoding: chunked\r\n", 413),
    ("/v1/models/m/nowhere", "", 404),
    ("/metrics", "", 405),
]
"""Paths, headers, and the status that they get."""


@pytest.mark.parametrize("asked", ["connection: close\r\n", ""], ids=["to be closed", "to be kept"])
@pytest.mark.parametrize(
    ("path", "more", "code", "version"),
    [(*one, version) for version in ("1.0", "1.1") for one in REFUSED if "chunked" not in one[1] or version == "1.1"],
)
def test_who_sends_everything_first_reads_why_it_is_refused(
    service: RunningServer, path: str, more: str, code: int, version: str, asked: str
) -> None:
    """Closed at once, a connection would be reset under the caller, who would never see the answer."""
    size = 2 * LIMIT
    body, length = b"[" * size, f"content-length: {size}\r\n"
    if "chunked" in more:
        body, length = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body), ""
    head = f"POST {path} HTTP/{version}\r\nhost: 127.0.0.1\r\n{length}{more}{asked}\r\n"
    with socket.create_connection(("127.0.0.1", service.server.http_port), timeout=60) as caller:
        caller.sendall(head.encode() + body)
        assert caller.recv(100).startswith(f"HTTP/1.1 {code} ".encode())


def test_the_rest_of_a_refused_request_is_not_waited_for_without_end(
    service: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LINGER_SECONDS", 0.1)
    head = f"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {2 * LIMIT}\r\nconnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.server.http_port), timeout=60) as caller:
        caller.sendall(head.encode() + b"[")
        answer = b""
        while piece := caller.recv(1 << 16):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'at once"}')
