"""Rows as people write them, against a running server: in by name, out with a label."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.serve.serving import FEATURES, NAMES, RunningServer, events, served
from tests.ops.serve.test_malformed import ANYTHING, perhaps
from tests.services.processes import until
from thalweg.memory.exchange.pending import InMemoryPending
from thalweg.ops.serve.models import RequestSinks
from thalweg.proto.thalweg_pb2 import Event
from thalweg.stream.labels.request_buffer import RequestBuffer

ROW = [1.0, 0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("service")) as parts:
        yield parts


@pytest.fixture(scope="module")
def client(service: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.server.http_port}", timeout=60) as client:
        yield client


def test_an_object_is_answered_with_an_object_and_a_list_with_a_list(
    client: httpx.Client, service: RunningServer
) -> None:
    batch = events(10, seed=5)
    rows = [{"features": row} for row in batch.inputs["features"].tolist()]

    one, many = (client.post("/v1/models/m/predict", json=body) for body in (rows[0], rows))

    assert (one.status_code, many.status_code) == (200, 200)
    assert one.json().keys() == {"label", "scores", "version", "staleness_seconds"}
    assert one.json()["version"] == service.version
    assert one.json()["scores"].keys() == set(NAMES)
    assert [row["label"] for row in many.json()] == [NAMES[code] for code in batch.labels.codes]  # type: ignore[union-attr]
    assert many.json()[0]["scores"] == one.json()["scores"]
    assert client.post("/v1/models/m/predict", json=[]).json() == []


def test_rows_are_predicted_as_the_same_tensor_is(client: httpx.Client, service: RunningServer) -> None:
    tensor = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": ROW}

    row = client.post("/v1/models/m/predict", json={"features": ROW}).json()
    outputs = {
        one["name"]: one["data"]
        for one in client.post("/v2/models/m/infer", json={"inputs": [tensor]}).json()["outputs"]
    }

    assert [row["label"]] == outputs["label"]
    assert list(row["scores"]) == list(service.learner.predictor().classes)
    assert list(row["scores"].values()) == outputs["scores"]


@pytest.mark.parametrize(
    "row",
    [
        {"features": ROW},
        {"features": ROW, "id": "e-1", "label": "left", "time": 1.0, "key": "k", "weight": 2},
        {"inputs": {"features": ROW}},
        {"id": "e-1", "time": 1700000000, "inputs": {"features": ROW}, "label": "left", "weight": 1.0},
    ],
)
def test_the_forms_of_an_event_are_forms_of_a_request(client: httpx.Client, row: dict[str, Any]) -> None:
    answer = client.post("/v1/models/m/predict", json=row)

    assert (answer.status_code, answer.json()["label"]) == (200, "left"), answer.text
    assert answer.json().get("id") == row.get("id")


def test_options_stand_in_the_query(client: httpx.Client, service: RunningServer) -> None:
    service.learn(50, save=True)
    kept = service.version
    before = client.post("/v1/models/m/predict", json={"features": ROW}).json()
    service.learn(200)

    then = client.post(f"/v1/models/m/predict?as_of_version={kept}", json={"features": ROW}).json()
    now = client.post(f"/v1/models/m/predict?min_state_version={kept + 1}&outputs=label", json={"features": ROW}).json()

    assert (then["version"], then["scores"]) == (kept, before["scores"])
    assert now["version"] == kept + 1
    assert now.keys() == {"label", "version", "staleness_seconds"}


@pytest.mark.parametrize(
    ("body", "query", "status", "text"),
    [
        (b"{", "", 400, "the request is not JSON"),
        (b"5", "", 400, "expected an object, or a list of objects, got 5"),
        (b"", "", 400, "the request is empty: expected JSON"),
        ([{"features": ROW}, 7], "", 400, "row 1: expected an object with 'features', got 7"),
        ({}, "", 400, "input 'features': missing"),
        ({"fetures": ROW}, "", 400, "the row: no such field 'fetures'; did you mean 'features'?"),
        ({"amount": 1}, "", 400, "the row: no such field 'amount'; known: 'features', 'id'"),
        ({"inputs": {"fetures": ROW}}, "", 400, "the inputs: no such field 'fetures'; did you mean 'features'?"),
        ({"inputs": {"features": ROW}, "lable": 3}, "", 400, "the event: no such field 'lable'; did you mean 'label'?"),
        ({"features": [1, 2]}, "", 400, "input 'features': expected shape (N, 4), got (1, 2)"),
        ([{"features": ROW}, {"features": [1]}], "", 400, "row 1: input 'features': expected a list of shape (4)"),
        ([{"features": ROW}, {}], "", 400, "row 1: expected the inputs of row 0; they differ in 'features'"),
        ({"features": ["a"] * 4}, "", 400, "input 'features': expected numbers"),
        ([{"features": ROW}, {"features": [None] * 4}], "", 400, "row 1: input 'features': expected numbers"),
        (b'[{"features": [0,0,0,0]}, {"features": [0,0,0,NaN]}]', "", 400, "got NaN or infinity in row 1"),
        ({"features": ROW, "id": [1]}, "", 400, "id: expected a string or a whole number, got [1]"),
        ({"features": ROW, "id": "x" * 2000}, "", 400, "at most 1024 bytes"),
        ({"features": ROW}, "?explian=3", 400, "option 'explian': no such option; did you mean 'explain'?"),
        ({"features": ROW}, "?verbose=1", 400, "no such option; known: 'as_of_version'"),
        ({"features": ROW}, "?explain=1&explain=2", 400, "option 'explain': given twice"),
        ({"features": ROW}, "?explain=x", 400, "option 'explain': expected true, false or a whole number, got 'x'"),
        ({"features": ROW}, "?explain", 501, "a ridge does not explain"),
        ({"features": ROW}, "?as_of_version=x", 400, "as_of_version: expected the version of a snapshot, got 'x'"),
        ({"features": ROW}, "?as_of_version=99999", 404, "version 99999"),
        ({"features": ROW}, "?outputs=lable", 400, "output 'lable': no such output"),
        ({"features": ROW}, "?event_id=e", 501, "has no labels_topic"),
        ([{"features": ROW}] * 2, "?min_state_version=1000000", 504, "waited for version"),
    ],
)
def test_a_row_that_does_not_fit_says_which_and_what_was_expected(
    client: httpx.Client, body: Any, query: str, status: int, text: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    answer = client.post(f"/v1/models/m/predict{query}", content=content)

    assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text


def test_a_model_without_a_version_says_why_it_does_not_answer(client: httpx.Client) -> None:
    answer = client.post("/v1/models/empty/predict", json={"features": ROW})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "no version is published yet" in answer.json()["error"]
    assert client.post("/v1/models/x/predict", json={"features": ROW}).status_code == 404
    assert client.get("/v1/models/m/predict").status_code == 405


def test_kserve_v1_answers_instances_with_predictions(client: httpx.Client) -> None:
    named = client.post("/v1/models/m:predict", json={"instances": [{"features": ROW}, {"features": ROW[::-1]}]})
    bare = client.post(
        "/v1/models/m:predict", json={"instances": [ROW, ROW[::-1]], "signature_name": "serving_default"}
    )

    assert (named.status_code, bare.status_code) == (200, 200)
    assert named.json().keys() == {"predictions"}
    first, second = named.json()["predictions"]
    assert (first["label"], first["scores"]) == ("left", bare.json()["predictions"][0]["scores"])
    assert second["scores"] != first["scores"]
    assert client.get("/v1/models").json() == {"models": ["m", "empty"]}
    assert client.get("/v1/models/m").json() == {"name": "m", "ready": True}
    assert client.get("/v1/models/empty").status_code == 503
    assert client.get("/v1/models/x").status_code == 404


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"instance": []}, "the request: no such field 'instance'; did you mean 'instances'?"),
        ({"instances": {}}, "expected an object with a list 'instances'"),
        ([], "expected an object with a list 'instances'"),
        ({"instances": [3]}, "row 0: expected an object with 'features', got 3"),
    ],
)
def test_other_bodies_are_no_instances(client: httpx.Client, body: Any, text: str) -> None:
    answer = client.post("/v1/models/m:predict", json=body)

    assert (answer.status_code, text in answer.json()["error"]) == (400, True), answer.text


ROWS = st.fixed_dictionaries(
    {"features": perhaps(ROW)},
    optional={"id": ANYTHING, "inputs": perhaps({"features": ROW}), "label": ANYTHING, "other": ANYTHING},
)


@settings(max_examples=150)
@given(
    body=ROWS | st.lists(ROWS, max_size=3) | ANYTHING | st.fixed_dictionaries({"instances": st.lists(ROWS | ANYTHING)}),
    route=st.sampled_from(["/predict", ":predict", "/predict?explain=3", "/predict?event_id=%ed%a0%80"]),
)
def test_no_rows_are_a_bug_of_the_server(client: httpx.Client, body: Any, route: str) -> None:
    answer = client.post(f"/v1/models/m{route}", content=json.dumps(body))

    assert answer.status_code < 500 or answer.status_code == 501, answer.text  # a ridge explains nothing
    assert answer.is_success or answer.json()["error"]


@settings(max_examples=50)
@given(body=st.binary(max_size=200), route=st.sampled_from(["/predict", ":predict"]))
def test_no_bytes_as_rows_are_a_bug_of_the_server(client: httpx.Client, body: bytes, route: str) -> None:
    assert client.post(f"/v1/models/m{route}", content=body).status_code == 400


@pytest.fixture
def remembering(tmp_path: Path) -> Iterator[tuple[httpx.Client, InMemoryPending]]:
    """A client of a server whose model waits for labels, and the store where requests wait."""
    pending = InMemoryPending()
    with (
        served(tmp_path, sinks=RequestSinks(RequestBuffer({"m": pending})), labels_topic="m.labels") as parts,
        httpx.Client(base_url=f"http://127.0.0.1:{parts.server.http_port}") as client,
    ):
        yield client, pending


def waiting(pending: InMemoryPending) -> dict[str, Event]:
    """What waits, by id."""
    return {id: Event.FromString(entry.value) for id, (_, entry) in pending._models.get("m", {}).items()}


def test_rows_with_an_id_wait_for_their_labels(remembering: tuple[httpx.Client, InMemoryPending]) -> None:
    client, pending = remembering
    rows = [{"id": "a", "features": ROW}, {"features": ROW}, {"id": 7, "features": ROW[::-1]}]

    answer = client.post("/v1/models/m/predict", json=rows)
    named = client.post("/v1/models/m/predict?event_id=b", json={"features": ROW})

    assert [row.get("id") for row in answer.json()] == ["a", None, "7"]
    assert named.json()["id"] == "b"
    until("three requests to wait", lambda: len(waiting(pending)) == 3)
    found = waiting(pending)
    assert found.keys() == {"a", "7", "b"}
    assert found["a"].served.label == "left"
    assert found["7"].raw_input_contents != found["a"].raw_input_contents


@pytest.mark.parametrize(
    ("body", "query", "text"),
    [
        ([{"id": "a", "features": ROW}] * 2, "", "row 1: id 'a': row 0 has it, too"),
        ({"id": "a", "features": ROW}, "?event_id=b", "expected the id of the only row, 'a', got 'b'"),
        ([{"features": ROW}] * 2, "?event_id=b", "expected inputs of one row, got 2"),
        ([{"id": "a", "features": ROW}, {"id": "b", "features": [None] * 4}], "", "row 1: input 'features'"),
        ([{"id": "a", "features": ROW}, {"id": "b", "features": ROW}], "?outputs=lable", "no such output"),
    ],
)
def test_of_a_refused_request_no_row_waits(
    remembering: tuple[httpx.Client, InMemoryPending], body: Any, query: str, text: str
) -> None:
    client, pending = remembering

    answer = client.post(f"/v1/models/m/predict{query}", json=body)

    assert (answer.status_code, text in answer.json()["error"]) == (400, True), answer.text
    client.post("/v1/models/m/predict", json={"id": "last", "features": ROW})
    until("the next request to wait", lambda: "last" in waiting(pending))
    assert waiting(pending).keys() == {"last"}
