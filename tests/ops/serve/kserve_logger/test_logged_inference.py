"""A model learns from what KServe's request logger posts about a model served elsewhere.

The events are as `pkg/logger/worker.go` of KServe sends them: binary mode, the attributes in headers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.serve.http_api.test_columns import FIELDS, taught
from tests.ops.serve.serving import NAMES, SPECS, RunningServer, served
from tests.ops.serve.test_malformed import ANYTHING, perhaps
from tests.stream.labels.test_joining import Counted
from thalweg.memory.exchange.pending import InMemoryPending, Limits
from thalweg.proto.decode import Decoder
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.records import Partition, Records
from thalweg.proto.schema import Schema
from thalweg.stream.labels.joining import Joiner, JoinSettings
from thalweg.stream.log.dead_letters import DeadLetters

ROW = [1.0, 0.0, 0.0, 0.5]
ID = "0e7c3a52-8f7b-4d0c-9a3e-6f6d0a6c1b11"
V1 = {"instances": [ROW]}
V2 = {"inputs": [{"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": [*ROW, 0, 1, 0, 0]}]}
ANSWER = {"predictions": ["left"]}
REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"


def binary(kind: str = REQUEST, id: str = ID, **attributes: str) -> dict[str, str]:
    """The headers of one event."""
    return {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-type": kind,
        "ce-id": id,
        "ce-source": "http://localhost:9081/",
        "ce-time": "2026-08-21T14:26:03.123456789Z",
        "ce-recordedtime": "2026-08-21T14:26:03.2Z",
        "ce-inferenceservicename": "sklearn-iris",
        "ce-namespace": "default",
        "ce-component": "predictor",
        "ce-endpoint": "",
        "ce-metadata": '{"X-Request-Id":["r-1"]}',
        **{f"ce-{name}": value for name, value in attributes.items()},
    }


def structured(data: Any, kind: str = REQUEST, id: str = ID) -> dict[str, Any]:
    """The same as a broker may deliver it."""
    extensions = {"inferenceservicename": "sklearn-iris", "namespace": "default", "component": "predictor"}
    attributes = {"specversion": "1.0", "type": kind, "id": id, "source": "http://localhost:9081/"}
    return {**attributes, **extensions, "time": "2026-08-21T14:26:03Z", "data": data}


STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}


@dataclass(frozen=True)
class Since:
    """A server, and what its topics hold since a test began."""

    running: RunningServer
    starts: Mapping[str, int]

    @classmethod
    def now(cls, running: RunningServer) -> Since:
        return cls(running, {topic: len(records_of(running, topic)) for topic in ("m.events", "m.labels", "m.joined")})

    def records(self, topic: str) -> Records:
        return records_of(self.running, topic)[self.starts[topic] :]

    def nothing_new(self) -> bool:
        return not any(len(self.records(topic)) for topic in self.starts)


def records_of(running: RunningServer, topic: str) -> Records:
    (records,) = running.log.reader([topic], {}).poll(0, 100_000) or [
        Records(Partition(topic, 0), (), (), (), (), ()),
    ]
    return records


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("service"), labels_topic="m.labels") as parts:
        yield parts


@pytest.fixture
def service(running: RunningServer) -> Since:
    return Since.now(running)


def post(service: Since, body: Any, headers: Mapping[str, str], query: str = "") -> httpx.Response:
    url = f"http://127.0.0.1:{service.running.server.http_port}/v1/models/m/events{query}"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(url, content=content, headers=dict(headers), timeout=60)


def decoded(service: Since, topic: str = "m.events", schema: Schema | None = None) -> Batch:
    """What a learner makes of a topic."""
    found = Decoder(schema or Schema(SPECS)).decode(service.records(topic))
    assert found.rejected == []
    return found.batch


def values(service: Since, topic: str) -> list[Any]:
    return [json.loads(value or b"null") for value in service.records(topic).values]


def test_a_request_of_one_row_is_an_event_with_its_id_and_time_that_awaits_its_label(service: Since) -> None:
    ack = post(service, V1, binary())

    assert (ack.status_code, ack.json()) == (
        200,
        {"topic": "m.events", "partition": 0, "offset": service.starts["m.events"], "id": ID, "labelled": False},
    )
    batch = decoded(service)
    assert batch.inputs["features"].tolist() == [ROW]
    assert (batch.ids, batch.times.tolist()) == ([ID], [pytest.approx(1787322363.123456)])
    assert batch.labels is None or not batch.labels.present.any()


@pytest.mark.parametrize(
    "instances",
    [
        [ROW, [0, 1, 0, 0]],
        [{"features": ROW}, {"features": [0, 1, 0, 0]}],
        [{"inputs": {"features": ROW}}, [0, 1, 0, 0]],
    ],
    ids=["bare values", "by name", "events"],
)
def test_each_row_of_a_request_is_an_event_whatever_form_its_instances_have(
    service: Since, instances: list[Any]
) -> None:
    acks = post(service, {"instances": instances, "signature_name": "serving_default"}, binary()).json()

    assert [ack["id"] for ack in acks] == [f"{ID}/0", f"{ID}/1"]
    assert decoded(service).inputs["features"].tolist() == [ROW, [0, 1, 0, 0]]


def test_tensors_of_the_second_protocol_are_rows_under_whatever_name_the_other_server_takes(
    service: Since,
) -> None:
    acks = post(service, {"id": "a", "parameters": {"content_type": "np"}, **V2}, binary()).json()

    assert [ack["id"] for ack in acks] == [f"{ID}/0", f"{ID}/1"]
    assert decoded(service).inputs["features"].tolist() == [ROW, [0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (structured(V1), STRUCTURED),
        ([structured(V1)], BATCH),
        (structured(V1), {"content-type": "application/json"}),
        ([structured(V1)], {"content-type": "application/json"}),
        ({**structured(None), "data_base64": "eyJpbnN0YW5jZXMiOltbMS4wLDAuMCwwLjAsMC41XV19"}, STRUCTURED),
    ],
    ids=["structured", "batch", "structured as JSON", "batch as JSON", "base64"],
)
def test_every_mode_of_delivery_gives_the_same_event(service: Since, body: Any, headers: dict[str, str]) -> None:
    if isinstance(body, dict) and body.get("data") is None:
        del body["data"]

    answer = post(service, body, headers)

    assert answer.status_code == 200, answer.text
    batch = decoded(service)
    assert (batch.ids, batch.inputs["features"].tolist()) == ([ID], [ROW])


def test_responses_are_taken_and_change_nothing(service: Since) -> None:
    alone = post(service, ANSWER, binary(RESPONSE))
    both = post(service, [structured(ANSWER, RESPONSE), structured(V1)], BATCH)

    assert (alone.status_code, alone.json()) == (200, {"id": ID, "ignored": "response"})
    assert [ack.get("ignored") for ack in both.json()] == [None, "response"]
    assert len(decoded(service)) == 1
    assert values(service, "m.labels") == []


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        ({"predictions": ["left", "right"]}, ["left", "right"]),
        (
            {"predictions": [{"label": "left", "confidence": 0.5}, {"label": "right", "confidence": 1}]},
            ["left", "right"],
        ),
        ({"predictions": [[1], [2]]}, [1, 2]),
        ({"outputs": [{"name": "x", "shape": [2, 1], "datatype": "INT64", "data": [1, 2]}]}, [1, 2]),
        (
            {
                "model_name": "iris",
                "outputs": [
                    {"name": "predict_proba", "shape": [2, 2], "datatype": "FP64", "data": [1, 0, 0, 1]},
                    {"name": "predict", "shape": [2], "datatype": "BYTES", "data": ["left", "right"]},
                ],
            },
            ["left", "right"],
        ),
    ],
)
def test_responses_are_the_labels_of_their_requests_where_the_address_says_so(
    service: Since, answer: Any, labels: list[Any]
) -> None:
    id = f"{ID}-{len(str(answer))}"  # of no other request
    told = post(service, answer, binary(RESPONSE, id), "?responses=label")  # before its request: the order is free

    assert told.status_code == 200, told.text
    assert [ack["id"] for ack in told.json()] == [f"{id}/0", f"{id}/1"]
    assert [one["label"] for one in values(service, "m.labels")] == labels
    assert [ack["id"] for ack in post(service, V2, binary(id=id), "?responses=label").json()] == [f"{id}/0", f"{id}/1"]


@pytest.mark.parametrize(("rows", "answers"), [(1, 3), (3, 1), (2, 0)])
@pytest.mark.parametrize("together", [True, False])
def test_a_response_with_another_number_of_answers_than_its_request_has_rows_is_refused(
    service: Since, rows: int, answers: int, together: bool
) -> None:
    id = f"{rows}-{answers}-{together}"
    request, response = {"instances": [ROW] * rows}, {"predictions": ["left"] * answers}

    if together:
        both = [structured(request, id=id), structured(response, RESPONSE, id)]
        told = post(service, both, BATCH, "?responses=label")
    else:
        assert post(service, request, binary(id=id), "?responses=label").status_code == 200
        told = post(service, response, binary(RESPONSE, id), "?responses=label")

    assert told.status_code == 400
    assert f"an answer for each of {rows} row" in told.text
    assert f"got {answers}" in told.text
    assert values(service, "m.labels") == []


def test_labels_meet_logged_requests_by_id_whatever_comes_first_or_twice(tmp_path: Path) -> None:
    with served(tmp_path, labels_topic="m.labels") as parts:
        service, url = Since.now(parts), f"http://127.0.0.1:{parts.server.http_port}/v1/models/m/labels"
        httpx.post(url, json={"id": "a", "label": "right"}, timeout=60)
        for id in ("a", "b", "b"):
            post(service, V1, binary(id=id))
        post(service, V2, binary(id="c"))
        post(service, ANSWER, binary(RESPONSE, "a"))
        httpx.post(url, json=[{"id": id, "label": "left"} for id in ("b", "b", "c/1")], timeout=60)
    told = Counted()
    joiner = Joiner(
        JoinSettings(model="m", topic="m.events", labels_topic="m.labels", joined_topic="m.joined"),
        parts.log,
        InMemoryPending(Limits()),
        Schema(SPECS),
        tmp_path / "place.json",
        DeadLetters(parts.log, "m.labels", "m"),
        told,
    )

    joiner.run(until_end=True)

    batch = decoded(service, "m.joined")
    assert isinstance(batch.labels, ClassLabels)
    joined = {id: batch.labels.names[code] for id, code in zip(batch.ids or (), batch.labels.codes)}
    assert joined == {"a": "right", "b": "left", "c/1": "left"}
    assert (len(batch), told.duplicated, told.reasons) == (3, 1, {})


@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        ({"features": ROW}, binary(), f"request '{ID}': expected {{\"instances\": [...]}} (version 1), or"),
        ({"inputs": {"features": ROW}}, binary(), "got an object with 'inputs'"),
        ({"instances": [[1, 2]]}, binary(), f"request '{ID}': Expected `array` of length >= 4"),
        ({"instances": [ROW, {"feature": ROW}]}, binary(), "row 1: the row: no such field 'feature'; did you mean"),
        ({"instances": [ROW, "abc"]}, binary(), "row 1: "),
        ({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1]}]}, binary(), "expected 3 values"),
        ({"inputs": [{"name": "x", "shape": [], "datatype": "FP32", "data": [1]}]}, binary(), "expected a shape [rows"),
        (V1, binary(time="yesterday"), "time: expected Unix seconds or RFC 3339"),
        (V1, binary(time="2126-01-01T00:00:00Z"), "time: expected at most"),
        (V1, binary(id=""), "header 'ce_id' is missing or empty"),
        (V1, binary(id="i" * 1200), "id: expected at most 1024 bytes"),
        ({"instances": [ROW] * 10_001}, binary(), "expected at most 10000 rows, got 10001"),
        (b"", binary(), "the request is empty"),
        ([structured(V1), {"inputs": {"features": ROW}}], BATCH, f"row 1: expected a CloudEvent of type {REQUEST}"),
        ([structured(V1, id="a"), structured({"instances": 3}, id="b")], BATCH, "request 'b': expected"),
    ],
)
def test_what_cannot_be_an_event_is_refused_with_what_was_expected_and_nothing_is_appended(
    service: Since, body: Any, headers: dict[str, str], text: str
) -> None:
    refused = post(service, body, headers)

    assert refused.status_code == (413 if "10001" in text else 400)
    assert text in refused.json()["error"]
    assert service.nothing_new()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"predictions": [[0.1, 0.9]]}, "label"),
        ({"predictions": [{"a": 1, "b": 2}]}, "row 0: expected one output, or one named 'label'"),
        ({"predictions": [None]}, "row 0: expected a class or a number, got null"),
        ({"instances": [1]}, 'expected {"predictions": [...]} (version 1), or'),
    ],
)
def test_responses_that_hold_no_label_are_refused_where_they_are_to_be_learned(
    service: Since, answer: Any, text: str
) -> None:
    refused = post(service, answer, binary(RESPONSE), "?responses=label")

    assert (refused.status_code, text in refused.json()["error"]) == (400, True), refused.text
    assert service.nothing_new()


TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": perhaps("x"),
        "shape": st.lists(st.integers(-1, 5) | st.just(1 << 40), max_size=3) | ANYTHING,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES", "BOOL", "FP16", "X"]) | ANYTHING,
        "data": st.lists(ANYTHING, max_size=5) | perhaps([1.0, 2.0, 3.0, 4.0]),
        "parameters": perhaps({"content_type": "np"}),
    },
)
NAMED = st.fixed_dictionaries({"features": perhaps(ROW), "id": ANYTHING})
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "instances": st.lists(
            perhaps(ROW) | st.fixed_dictionaries({"features": perhaps(ROW), "id": ANYTHING}), max_size=3
        )
        | ANYTHING,
        "inputs": st.lists(TENSOR, max_size=3) | ANYTHING,
        "predictions": st.lists(ANYTHING, max_size=3) | ANYTHING,
        "outputs": st.lists(TENSOR, max_size=3) | ANYTHING,
    },
)


@settings(max_examples=150)
@given(
    body=BODIES | ANYTHING,
    response=st.booleans(),
    mode=st.sampled_from(["binary", "structured", "batch"]),
    query=st.sampled_from(["", "?responses=label"]),
)
def test_no_logged_event_is_a_bug_of_the_server(
    running: RunningServer, body: Any, response: bool, mode: str, query: str
) -> None:
    kind = RESPONSE if response else REQUEST
    if mode == "binary":
        answer = post(Since.now(running), body, binary(kind), query)
    else:
        event = structured(body, kind)
        headers = STRUCTURED if mode == "structured" else BATCH
        answer = post(Since.now(running), event if mode == "structured" else [event, event], headers, query)

    assert answer.status_code < 500, answer.text
    assert answer.is_success or answer.json()["error"]


def test_the_option_has_two_values_and_needs_a_labels_topic(service: Since, tmp_path: Path) -> None:
    assert "expected ignore or label, got 'learn'" in post(service, V1, binary(), "?responses=learn").json()["error"]
    assert "did you mean 'responses'" in post(service, V1, binary(), "?response=label").json()["error"]
    with served(tmp_path) as other:
        without = Since.now(other)
        assert post(without, V1, binary(), "?responses=label").status_code == 409
        assert post(without, V1, binary()).json()["labelled"] is False


def test_cloud_events_of_other_types_are_records_as_ever(service: Since) -> None:
    event = {"inputs": {"features": ROW}, "label": NAMES[0]}

    ack = post(service, event, binary("org.example.made"))

    assert ack.json()["id"] == f"http://localhost:9081/#{ID}"
    assert decoded(service).labels is not None


def test_rows_of_columns_keep_the_key_and_the_id_that_their_model_finds_in_them(tmp_path: Path) -> None:
    row = {"amount": 12.5, "country": "DE", "payment": {"number": "p-9"}}
    tensors = [
        {"name": "amount", "shape": [2, 1], "datatype": "FP64", "data": [12.5, 900]},
        {"name": "country", "shape": [2], "datatype": "BYTES", "data": ["DE", "XX"]},
    ]
    model = taught(FIELDS)
    with served(tmp_path, model=model, labels_topic="m.labels") as running:
        parts = Since.now(running)
        own = post(parts, {"instances": [row, {"amount": 1}]}, binary())
        by_column = post(parts, {"inputs": tensors}, binary(id="t"))
        distilled = post(parts, {"instances": [row]}, binary(id="d"), "?responses=label")
        label = post(parts, {"predictions": ["ok"]}, binary(RESPONSE, "d"), "?responses=label")
        misspelt = post(parts, {"instances": [{"amuont": 1}]}, binary())
        bare = post(parts, {"instances": [[1, 2, 3]]}, binary())
        batch = decoded(parts, schema=model.schema)
        labels = values(parts, "m.labels")

    assert [ack["id"] for ack in own.json()] == ["p-9", f"{ID}/1"]
    assert [ack["id"] for ack in by_column.json()] == ["t/0", "t/1"]
    assert distilled.json()["id"] == label.json()["id"] == "d"
    assert "did you mean" in misspelt.json()["error"]
    assert "expected an object with 'amount'" in bare.json()["error"]
    assert np.nan_to_num(batch.inputs["amount"]).tolist() == [12.5, 1, 12.5, 900, 12.5]
    assert batch.inputs["country"].tolist() == [b"DE", b"", b"DE", b"XX", b"DE"]
    assert labels == [{"payment.number": "d", "is_fraud": "ok"}]
