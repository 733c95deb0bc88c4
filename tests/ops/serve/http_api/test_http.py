"""HTTP: health, metrics and the REST twin, against a running server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.ops.serve.serving import FEATURES, NAMES, RunningServer, events, served
from thalweg.ops.serve.http_api.inference_json import _column


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("service")) as parts:
        yield parts


@pytest.fixture
def client(service: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.server.http_port}") as client:
        yield client


def tensor(rows: list[list[Any]], **changes: Any) -> dict[str, Any]:
    flat = [value for row in rows for value in row]
    return {"name": "features", "shape": [len(rows), FEATURES], "datatype": "FP32", "data": flat, **changes}


def test_the_rest_twin_answers_as_grpc_does(client: httpx.Client, service: RunningServer) -> None:
    batch = events(10, seed=5)

    answer = client.post("/v2/models/m/infer", json={"id": "1", "inputs": [tensor(batch.inputs["features"].tolist())]})

    assert answer.status_code == 200
    record = answer.json()
    assert record["outputs"][0]["data"] == [NAMES[code] for code in batch.labels.codes]  # type: ignore[union-attr]
    assert [(o["name"], o["datatype"], o["shape"]) for o in record["outputs"]] == [
        ("label", "BYTES", [10]),
        ("scores", "FP32", [10, 3]),
    ]
    assert record["parameters"]["state_version"] == service.version
    assert record["id"] == "1"


def test_an_answer_waits_for_no_acknowledgement(client: httpx.Client, service: RunningServer) -> None:
    assert client.get("/healthz").status_code == 200  # and the connection is kept

    connections: set[Any] = set(service.server._http._server.server_state.connections)
    sockets = [connection.transport.get_extra_info("socket") for connection in connections]

    assert sockets
    assert all(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in sockets)


def test_values_may_be_nested_as_their_shape_is(client: httpx.Client) -> None:
    rows = [[0.0] * FEATURES] * 2

    answer = client.post("/v2/models/m/infer", json={"inputs": [tensor(rows, data=rows)]})

    assert answer.status_code == 200


def test_an_older_version_and_single_outputs_can_be_asked_for(client: httpx.Client, service: RunningServer) -> None:
    service.learn(50, save=True)
    kept = service.version
    body = {"inputs": [tensor([[0.5] * FEATURES])], "outputs": [{"name": "scores"}]}
    before = client.post("/v2/models/m/infer", json=body).json()
    service.learn(200)

    now = client.post("/v2/models/m/infer", json=body | {"parameters": {"min_state_version": kept + 1}}).json()
    then = client.post("/v2/models/m/infer", json=body | {"parameters": {"as_of_version": kept}}).json()
    by_path = client.post(f"/v2/models/m/versions/{kept}/infer", json=body).json()

    assert [output["name"] for output in before["outputs"]] == ["scores"]
    assert then["outputs"] == by_path["outputs"] == before["outputs"] != now["outputs"]
    assert (then["model_version"], now["model_version"]) == (str(kept), str(kept + 1))


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "list 'inputs'"),
        (b"[" * 100_000, 400, "not JSON"),
        ({"inputs": [{}]}, 400, "expected name, shape, datatype and data"),
        ({"inputs": [tensor([[0] * 4], name="x")]}, 400, "input 'x': no such input"),
        ({"inputs": [tensor([[0] * 4], datatype="INT64")]}, 400, "expected FP32, got INT64"),
        ({"inputs": [tensor([[0] * 4], shape=[2, 4])]}, 400, "expected 8 values"),
        ({"inputs": [tensor([[0] * 4], shape=[-1, -4])]}, 400, "expected no negative size in its shape, got [-1, -4]"),
        (
            b'{"inputs": [{"name": "features", "shape": [1], "datatype": "INT64", "data": [%b]}]}' % (b"7" * 5000),
            400,
            "inputs.0.data.0: expected a number of at most 4,300 digits, got 5,000",
        ),
        ({"inputs": [tensor([["a"] * 4])]}, 400, "input 'features'"),
        (
            b'{"inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [NaN, 0, 0, 0]}]}',
            400,
            "row 0",
        ),
        ({"inputs": [tensor([[0] * 3], shape=[1, 3])]}, 400, "expected"),
        ({"inputs": []}, 400, "missing"),
        ({"inputs": [tensor([[True] * 4])]}, 400, "input 'features': expected numbers"),
        ({"inputs": [tensor([[0] * 4], data=[[0, 0], [0]])]}, 400, "input 'features'"),
        ({"inputs": [tensor([[0] * 4], data=[1e300] * 4)]}, 400, "got 1e+300, which is beyond its range"),
        ({"inputs": [tensor([[0] * 4], data=[10**400] * 4)]}, 400, "which is beyond its range"),
        ({"inputs": [tensor([[0] * 4])] * 2}, 400, "given twice"),
        ({"inputs": [tensor([[0] * 4], name=["features"])]}, 400, "expected a string as its name"),
        ({"inputs": [tensor([[0] * 4])], "outputs": [{"name": "lable"}]}, 400, "output 'lable': no such output"),
        ({"inputs": [tensor([[0] * 4])], "outputs": 5}, 400, "outputs: expected a list"),
        ({"inputs": [tensor([[0] * 4])], "parameters": [1]}, 400, "parameters: expected an object"),
        ({"inputs": [tensor([[0] * 4])], "parameters": {"as_of_version": "x"}}, 400, "expected a whole number"),
        ({"inputs": [tensor([[0] * 4])], "parameters": {"as_of_version": 99}}, 404, "version 99"),
        ({"inputs": [tensor([[0] * 4])], "parameters": {"min_state_version": 10**6}}, 504, "waited for version"),
        ({"inputs": [tensor([[0] * 4])], "parameters": {"event_id": "e"}}, 501, "event_id"),
        (
            {"inputs": [tensor([[0] * 4])], "parameters": {"event_id": "\ud800"}},
            400,
            "parameter 'event_id': expected valid",
        ),
        ({"inputs": [tensor([[0] * 4])], "parameters": {"\udfff": 1}}, 400, "parameters: expected valid UTF-8"),
        (
            {"inputs": [tensor([[0] * 4])], "id": "a\udc00"},
            400,
            "id: expected valid UTF-8, got 'a\\udc00'",
        ),
        ({"inputs": [tensor([[0] * 4], data="\ud800")]}, 400, "inputs.0.data: expected valid UTF-8"),
        ({"inputs": [tensor([[0] * 4], name="\ud800")]}, 400, "inputs.0.name: expected valid UTF-8"),
        (b'{"inputs": [], "id": "\xed\xa0\x80"}', 400, "not JSON"),
    ],
)
def test_a_request_that_does_not_fit_says_what_was_expected(
    client: httpx.Client, body: Any, status: int, text: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    answer = client.post("/v2/models/m/infer", content=content)

    assert answer.status_code == status
    assert text in answer.json()["error"]
    assert "sys." not in answer.json()["error"]


def test_texts_of_two_escapes_and_names_in_paths_that_are_no_utf8_are_answered(client: httpx.Client) -> None:
    body = json.dumps({"id": "\U0001f600", "inputs": [tensor([[0] * 4])]}).encode()
    assert b"\\ud83d\\ude00" in body

    answer = client.post("/v2/models/m/infer", content=body)

    assert (answer.status_code, answer.json()["id"]) == (200, "\U0001f600")
    assert client.post("/v2/models/%ed%a0%80/infer", content=body).status_code == 404
    assert client.get("/api/models/%ed%a0%80").status_code == 404


def test_what_is_not_there_has_an_error_too(client: httpx.Client) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.get("/v2/models/x").json() == {"error": "no model is called 'x'; known: m, empty"}
    assert client.post("/v2/models/empty/infer", json={"inputs": [tensor([[0] * 4])]}).status_code == 503
    assert client.get("/v2/models/m/infer").status_code == 405


def test_a_body_larger_than_the_limit_is_refused(client: httpx.Client) -> None:
    assert client.post("/v2/models/m/infer", content=b" " * (5 << 20)).status_code == 413


def test_health_says_what_is_missing(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert ready.status_code == 503
    told = ready.json()
    assert told.keys() == {"ready", "reasons", "degraded", "components"}
    assert (told["ready"], told["reasons"]) == (False, ["model 'empty': no version is published yet"])
    assert told["degraded"] == told["reasons"]
    assert ("subscriber", "m") in {(one["component"], one["model"]) for one in told["components"]}
    assert all(
        one.keys() == {"component", "model", "state", "reason", "since", "restarts"} for one in told["components"]
    )
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/models/m/ready").status_code == 200
    assert client.get("/v2/models/empty/ready").status_code == 503
    assert client.get("/v2/models/m").json()["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}]
    assert client.get("/v2").json()["name"] == "thalweg"
    assert "/v2/models/m" in client.get("/").json()["links"]["models"]


def test_a_version_describes_itself_and_says_whether_it_is_ready(client: httpx.Client, service: RunningServer) -> None:
    service.learn(20, save=True)
    kept = service.version
    service.learn(20)

    for version in (kept, service.version):
        assert client.get(f"/v2/models/m/versions/{version}").json()["versions"] == [str(version)]
        ready = client.get(f"/v2/models/m/versions/{version}/ready")
        assert (ready.status_code, ready.json()) == (200, {"name": "m", "ready": True})
    for path in ("", "/ready"):
        missing = client.get(f"/v2/models/m/versions/99{path}")
        assert (missing.status_code, "version 99" in missing.json()["error"]) == (404, True)
        assert client.get(f"/v2/models/empty/versions/1{path}").status_code == 503
        assert client.get(f"/v2/models/x/versions/1{path}").status_code == 404


@pytest.mark.parametrize("version", ["latest", "-1", "9" * 5000, "1.0", "٣"])
@pytest.mark.parametrize("path", ["", "/ready", "/infer"])
def test_a_version_in_a_path_that_is_no_number_is_a_bad_request(client: httpx.Client, version: str, path: str) -> None:
    url = f"/v2/models/m/versions/{version}{path}"

    answer = client.post(url, json={"inputs": []}) if path == "/infer" else client.get(url)

    assert answer.status_code == 400
    assert "version: expected the version of a snapshot" in answer.json()["error"]


def test_metrics_tell_of_requests_and_versions_and_parse(client: httpx.Client, service: RunningServer) -> None:
    client.post("/v2/models/m/infer", json={"inputs": [tensor([[0] * 4])]})
    client.post("/v2/models/anything/infer", json={"inputs": [tensor([[0] * 4])]})

    page = client.get("/metrics")

    families = {family.name: family for family in text_string_to_metric_families(page.text)}
    requests = {
        (s.labels["model_name"], s.labels["code"]): s.value
        for s in families["thalweg_inference_requests"].samples
        if s.name.endswith("_total")
    }
    assert requests["m", "OK"] >= 1
    assert requests["unknown", "NOT_FOUND"] >= 1
    assert {name for name, _ in requests} == {"m", "empty", "unknown"} or {n for n, _ in requests} == {"m", "unknown"}
    versions = {s.labels["model_name"]: s.value for s in families["thalweg_state_version"].samples}
    assert versions == {"m": service.version}
    assert families["process_resident_memory_bytes"].samples[0].value > 1e6


def test_after_draining_nobody_is_sent_here(tmp_path: Path) -> None:
    with served(tmp_path) as parts:
        parts.server.models.draining = True
        answer = httpx.get(f"http://127.0.0.1:{parts.server.http_port}/readyz")

    assert (answer.status_code, answer.json()["reasons"]) == (503, ["the server is draining"])


@pytest.mark.parametrize(
    ("dtype", "data", "found"),
    [
        ("int64", [[1, 2], [3, 2**62]], [1, 2, 3, 2**62]),
        ("uint8", [0, 255], [0, 255]),
        ("float32", [1, 2.5], [1.0, 2.5]),
        ("bool", [True, False], [True, False]),
        ("bytes", [["a"], ["süd"]], [b"a", "süd".encode()]),
        ("float64", [], []),
    ],
)
def test_values_of_any_type_come_as_they_are(dtype: str, data: Any, found: list[Any]) -> None:
    assert _column(data, dtype).tolist() == found


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("uint8", [256]),
        ("uint8", [-1]),
        ("int64", [2**63]),
        ("int64", [1.5]),
        ("int32", [True]),
        ("bool", [1]),
        ("float32", ["1"]),
        ("float32", [None]),
        ("bytes", [1]),
        ("bytes", [["a", "b"], ["c"]]),
    ],
)
def test_values_of_another_type_are_no_values(dtype: str, data: Any) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        _column(data, dtype)
