"""Bodies as other servers and their clients send them, logged by KServe's or Seldon's logger byte for byte."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.ops.serve.kserve_logger.test_logged_inference import (
    BATCH,
    ID,
    RESPONSE,
    ROW,
    Since,
    binary,
    decoded,
    post,
    structured,
    values,
)
from tests.ops.serve.serving import RunningServer, served

OTHER = [0.0, 1.0, 0.0, 0.0]
MLSERVER = {
    "id": "a1",
    "parameters": {"content_type": "np"},
    "inputs": [
        {
            "name": "predict",
            "shape": [1, 4],
            "datatype": "FP32",
            "parameters": {"content_type": "np"},
            "data": [ROW],
        }
    ],
    "outputs": [{"name": "predict"}],
}
SELDON = {"data": {"names": ["a", "b", "c", "d"], "ndarray": [ROW]}}
SELDON_TYPES = ("io.seldon.serving.inference.request", "io.seldon.serving.inference.response")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("service"), labels_topic="m.labels") as parts:
        yield parts


@pytest.fixture
def service(running: RunningServer) -> Since:
    return Since.now(running)


def triton(rows: list[list[float]], kind: str = "inputs", name: str = "input__0") -> bytes:
    """As tritonclient's HTTP client sends it by default: JSON, then the values."""
    raw = np.array(rows, np.float32).tobytes()
    tensor = {"name": name, "shape": [len(rows), 4], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = {"id": "", kind: [tensor], "parameters": {"binary_data_output": True}}
    return json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode() + raw


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (json.dumps(MLSERVER).encode(), [ROW]),
        (triton([ROW, OTHER]), [ROW, OTHER]),
        (triton([[32.0] * 4], name="größe"), [[32.0] * 4]),
        (gzip.compress(json.dumps({"instances": [ROW]}).encode(), mtime=0), [ROW]),
        (gzip.compress(triton([ROW]), mtime=0), [ROW]),
        (json.dumps({"data": {"ndarray": [ROW, OTHER]}}).encode(), [ROW, OTHER]),
        (json.dumps({"data": {"ndarray": ROW}, "meta": {}}).encode(), [ROW]),
        (json.dumps({"data": {"tensor": {"shape": [2, 4], "values": [*ROW, *OTHER]}}}).encode(), [ROW, OTHER]),
    ],
    ids=["MLServer", "Triton", "Triton, names in UTF-8", "gzip", "gzip, Triton", "Seldon", "one row", "tensor"],
)
@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream"])
def test_what_other_servers_were_asked_is_learned(body: bytes, rows: Any, kind: str, service: Since) -> None:
    ack = post(service, body, {**binary(), "content-type": kind})

    assert ack.status_code == 200, ack.text
    assert decoded(service).inputs["features"].tolist() == rows


@pytest.mark.parametrize("packed", [False, True])
def test_a_broker_delivers_raw_bodies_in_base64(packed: bool, service: Since) -> None:
    body = gzip.compress(triton([ROW])) if packed else triton([ROW])
    event = {**structured(None), "data_base64": base64.b64encode(body).decode()}
    del event["data"]

    ack = post(service, [event], BATCH)

    assert ack.status_code == 200, ack.text
    assert decoded(service).inputs["features"].tolist() == [ROW]


def test_what_other_servers_answered_is_a_label(service: Since) -> None:
    def answer(id: str, body: bytes) -> None:
        ack = post(service, body, binary(RESPONSE, id), "?responses=label")
        assert ack.status_code == 200, ack.text

    names = b"".join(struct.pack("<I", len(name)) + name for name in (b"left", b"right"))
    tensor = {"name": "label", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(names)}}
    answer("t", json.dumps({"outputs": [tensor]}).encode() + names)
    mlserver = {"name": "predict", "shape": [1, 1], "datatype": "INT64", "parameters": {"content_type": "np"}}
    answer("m", json.dumps({"model_name": "iris", "id": "m", "outputs": [{**mlserver, "data": [1]}]}).encode())
    answer("s", json.dumps({"data": {"names": ["class"], "ndarray": ["left"]}, "meta": {}}).encode())
    answer("g", gzip.compress(json.dumps({"predictions": [[0]]}).encode()))

    found = {one["id"]: one["label"] for one in values(service, "m.labels")}
    assert found == {"t/0": "left", "t/1": "right", "m": 1, "s": "left", "g": 0}


def test_seldons_request_and_its_response_have_the_id_of_the_request(service: Since) -> None:
    request, response = (binary(kind, id, requestid="r-7") for kind, id in zip(SELDON_TYPES, ("e-1", "e-2")))
    body = json.dumps({"data": {"ndarray": [ROW]}}).encode()

    asked = post(service, body, request, "?responses=label")
    answered = post(service, json.dumps({"data": {"ndarray": ["left"]}}).encode(), response, "?responses=label")
    batch = [
        {**structured({"data": {"ndarray": [row]}}, SELDON_TYPES[0], id), "requestid": requestid}
        for row, id, requestid in ((ROW, "e-3", "r-8"), (OTHER, "e-4", ""))
    ]
    delivered = post(service, batch, BATCH)

    assert (asked.json()["id"], answered.json()["id"]) == ("r-7", "r-7")
    assert [one["id"] for one in delivered.json()] == ["r-8", "e-4"]
    assert post(service, body, response).json() == {"id": "r-7", "ignored": "response"}


def test_the_id_in_the_body_names_a_request_where_the_address_says_so(service: Since) -> None:
    both = "?ids=body&responses=label"
    answer = {"id": "a1", "outputs": [{"name": "predict", "shape": [1], "datatype": "INT64", "data": [1]}]}

    asked = post(service, MLSERVER, binary(), both)
    answered = post(service, answer, binary(RESPONSE), both)

    assert (asked.json()["id"], answered.json()["id"]) == ("a1", "a1")
    assert [one["id"] for one in post(service, [structured({**MLSERVER, "id": "a2"})], BATCH, both).json()] == ["a2"]
    assert post(service, MLSERVER, binary(id="e-9")).json()["id"] == "e-9"
    refused = post(service, {"instances": [ROW]}, binary(), both)
    assert (refused.status_code, "expected an id in the body" in refused.json()["error"]) == (400, True)
    unknown = post(service, MLSERVER, binary(), "?ids=header")
    assert "option 'ids': expected event or body, got 'header'" in unknown.json()["error"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (triton([ROW])[:-4], "expected 16 bytes after the JSON, got 12"),
        (triton([ROW]) + b"more", "expected 16 bytes after the JSON, got 20"),
        (gzip.compress(b'{"instances": []}', mtime=0)[:-9], "the body is not gzip, which it begins as"),
        (json.dumps(SELDON).encode(), "the row: no such field 'a'"),
        (json.dumps({"data": {"names": ["a"], "ndarray": [ROW]}}).encode(), "expected a value for each of 1 names"),
        (json.dumps({"data": {"table": 1}}).encode(), "data: expected ndarray, or tensor with shape and values"),
        (
            json.dumps({"data": {"tensor": {"values": ROW}}}).encode(),
            "data: expected ndarray, or tensor with shape and values",
        ),
        (json.dumps({"instances": [{"data": "aGVsbG8="}]}).encode(), "no such field 'data'"),
        (json.dumps({"instances": [{"b64": "aGVsbG8="}]}).encode(), "no such field 'b64'"),
        (b"\x80\x81 nothing of this", "it is not JSON"),
    ],
)
def test_what_cannot_be_read_says_what_was_expected(body: bytes, told: str, service: Since) -> None:
    refused = post(service, body, {**binary(), "content-type": "application/octet-stream"})

    assert refused.status_code == 400, refused.text
    assert told in refused.json()["error"]
    assert f"request '{ID}': " in refused.json()["error"]
    assert service.nothing_new()


def test_what_expands_without_end_is_refused(service: Since) -> None:
    bomb = gzip.compress(b" " * (17 << 20))

    refused = post(service, bomb, binary())

    assert (refused.status_code, "expands to more than" in refused.text) == (413, True)
    assert service.nothing_new()
