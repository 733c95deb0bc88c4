"""Events and labels over REST: appended as they came, all of a request or none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.serve.serving import RunningServer, served
from tests.ops.serve.test_malformed import ANYTHING, perhaps
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.stream.log.in_memory import InMemoryLog

ROW = [1.0, 0.0, 0.0, 0.0]
EVENT = {"inputs": {"features": ROW}, "label": "left"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("service"), labels_topic="m.labels") as parts:
        yield parts


@pytest.fixture
def client(service: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.server.http_port}", timeout=60) as client:
        yield client


def appended(service: RunningServer, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values of a topic."""
    (records,) = service.log.reader([topic], {}).poll(0, 100_000) or [None]
    return [] if records is None else list(zip(records.keys, records.values))


def test_an_event_is_appended_byte_for_byte_and_acknowledged_with_its_place(
    client: httpx.Client, service: RunningServer
) -> None:
    place = len(appended(service, "m.events"))
    one = b'{"inputs": {"features" : [1e0, 0, 0, 0.0]}, "label":"left", "id": 17, "key": "k", "other": "s\\u00fcd"}'
    two = b'{"label": "left",  "inputs":{"features":[0,0,1,0]}}'

    single = client.post("/v1/models/m/events", content=b"\n " + one + b"\n")
    many = client.post("/v1/models/m/events", content=b"[ " + one + b" ,\n" + two + b"]")

    assert (single.status_code, single.json()) == (
        200,
        {"topic": "m.events", "partition": 0, "offset": place, "id": "17"},
    )
    assert [ack["offset"] for ack in many.json()] == [place + 1, place + 2]
    assert appended(service, "m.events")[place:] == [(b"k", one), (b"k", one), (None, two)]
    assert client.post("/v1/models/m/events", json=[]).json() == []


def test_events_whose_labels_may_come_later_are_told_and_not_refused(client: httpx.Client) -> None:
    given = client.post("/v1/models/m/events", json={"inputs": {"features": ROW}, "id": "late", "labels": {"app": "x"}})

    assert (given.status_code, given.json()["labelled"]) == (200, False)


def test_without_an_id_no_label_can_come_later_and_a_misspelt_one_is_refused(client: httpx.Client) -> None:
    refused = client.post("/v1/models/m/events", json={"inputs": {"features": ROW}, "labl": "left"})
    taken = client.post("/v1/models/m/events", json={"inputs": {"features": ROW}, "other": "left"})

    assert (refused.status_code, "'labl'" in refused.json()["error"]) == (400, True), refused.text
    assert (taken.status_code, taken.json()["labelled"]) == (200, False)


def test_labels_are_appended_under_their_ids(client: httpx.Client, service: RunningServer) -> None:
    single = client.post("/v1/models/m/labels", content=b'{"id": "e-1", "label": "left"}')
    many = client.post("/v1/models/m/labels", content=b'[{"id": 2, "label": true},{"id":"e-3","label":"left"}]')

    assert (single.status_code, many.status_code) == (200, 200)
    assert single.json() == {"topic": "m.labels", "partition": 0, "offset": 0, "id": "e-1"}
    assert [ack["id"] for ack in many.json()] == ["2", "e-3"]
    assert appended(service, "m.labels")[1:] == [
        (b"2", b'{"id": 2, "label": true}'),
        (b"e-3", b'{"id":"e-3","label":"left"}'),
    ]


def cloud_event(number: int, data: Any) -> dict[str, Any]:
    attributes = {"specversion": "1.0", "source": "/test", "id": str(number), "type": "made"}
    return {**attributes, "datacontenttype": "application/json", "data": data}


STRUCTURED = {"content-type": "application/cloudevents+json; charset=utf-8"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
BINARY = {"ce-specversion": "1.0", "ce-source": "/te%20st", "ce-id": "7", "ce-type": "made"}


def test_a_batch_of_cloud_events_becomes_one_record_in_structured_mode_for_each(
    client: httpx.Client, service: RunningServer
) -> None:
    place = len(appended(service, "m.events"))
    events = [cloud_event(1, EVENT), cloud_event(2, EVENT)]

    batch = client.post("/v1/models/m/events", json=events, headers=BATCH)
    one = client.post("/v1/models/m/events", json=events[0], headers=STRUCTURED)

    assert [ack["id"] for ack in batch.json()] == ["/test#1", "/test#2"]
    assert one.json()["id"] == "/test#1"
    (records,) = service.log.reader(["m.events"], {}).poll(0, 100_000)
    assert [json.loads(value or b"") for value in records.values[place:]] == [*events, events[0]]
    assert {tuple(found) for found in records.headers[place:]} == {(("content-type", b"application/cloudevents+json"),)}
    assert client.post("/v1/models/m/events", json=[], headers=BATCH).json() == []


def test_a_cloud_event_in_binary_mode_keeps_its_attributes(client: httpx.Client, service: RunningServer) -> None:
    place = len(appended(service, "m.events"))

    ack = client.post("/v1/models/m/events", json=EVENT, headers=BINARY).json()

    assert ack["id"] == "/te st#7"
    (records,) = service.log.reader(["m.events"], {}).poll(0, 100_000)
    assert json.loads(records.values[place] or b"") == EVENT
    headers = dict(records.headers[place])
    assert (headers["ce_source"], headers["ce_type"], headers["content-type"]) == (
        b"/te st",
        b"made",
        b"application/json",
    )


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        (cloud_event(1, EVENT), BATCH, 400, "expected a list of CloudEvents, got an object"),
        ([cloud_event(1, EVENT)], STRUCTURED, 400, "application/cloudevents-batch+json is the type of lists"),
        ([EVENT], BINARY, 400, "expected one event, got a list"),
        ([cloud_event(1, EVENT), EVENT], BATCH, 400, "row 1: CloudEvent: "),
        (EVENT, {**BINARY, "ce-source": ""}, 400, "header 'ce_source' is missing or empty"),
        (EVENT, {"content-type": "application/cloudevents-batch+protobuf"}, 415, "expected application/json"),
    ],
)
def test_what_is_not_what_its_mode_has_is_refused_and_nothing_appended(
    client: httpx.Client, service: RunningServer, body: Any, headers: dict[str, str], status: int, text: str
) -> None:
    place = len(appended(service, "m.events"))

    refused = client.post("/v1/models/m/events", json=body, headers=headers)

    assert (refused.status_code, len(appended(service, "m.events"))) == (status, place)
    assert text in refused.text


def test_labels_may_be_the_data_of_cloud_events(client: httpx.Client) -> None:
    labels = [cloud_event(n, {"id": f"e-{n}", "label": "left"}) for n in (1, 2)]

    answer = client.post("/v1/models/m/labels", json=labels, headers=BATCH)

    assert [ack["id"] for ack in answer.json()] == ["e-1", "e-2"]


BAD = {"inputs": {"features": [1, 2]}}


@pytest.mark.parametrize(
    ("route", "body", "status", "rows", "text"),
    [
        ("events", [EVENT, BAD, EVENT, BAD], 400, [(1, "wrong_shape"), (3, "wrong_shape")], "row 1: "),
        ("events", BAD, 400, [(0, "wrong_shape")], "nothing was appended"),
        ("events", [EVENT | {"label": {"a": 1}}], 400, [(0, "bad_label")], "row 0: label"),
        ("events", [EVENT | {"time": 1e300}], 400, [(0, "invalid_time")], "row 0: "),
        ("events", [EVENT, 5], 400, None, "row 1: expected an object, got 5"),
        ("events", "x", 400, None, "expected an object, or a list of objects"),
        ("events", b"[1", 400, None, "not JSON"),
        ("events", b'[{"inputs": {"features": [NaN, 0, 0, 0]}}]', 400, None, ""),
        ("events", [EVENT] * 10_001, 413, None, "at most 10000 records, got 10001"),
        ("events?idd=3", EVENT, 400, None, "option 'idd': no such option"),
        ("labels", [{"id": "a", "label": "x"}, {"id": "", "label": "x"}], 400, [(1, "bad_label")], "row 1: "),
        ("labels", {"id": "a"}, 400, [(0, "malformed")], "nothing was appended"),
    ],
)
def test_if_one_record_is_refused_none_is_appended_and_the_answer_says_which(
    client: httpx.Client, service: RunningServer, route: str, body: Any, status: int, rows: Any, text: str
) -> None:
    before = [appended(service, "m.events"), appended(service, "m.labels")]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    answer = client.post(f"/v1/models/m/{route}", content=content)

    assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text
    found = answer.json().get("rows")
    assert rows is None or [(one["row"], one["reason"]) for one in found] == rows
    assert [appended(service, "m.events"), appended(service, "m.labels")] == before


def test_what_cannot_be_there_is_not_found(client: httpx.Client, tmp_path: Path) -> None:
    with served(tmp_path) as parts:
        none = httpx.post(
            f"http://127.0.0.1:{parts.server.http_port}/v1/models/m/labels", json={"id": "a", "label": "b"}
        )
    assert (none.status_code, "has no labels_topic" in none.json()["error"]) == (409, True)
    assert client.post("/v1/models/x/events", json=EVENT).status_code == 404
    assert client.post("/v1/models/x/labels", json=EVENT).status_code == 404
    assert client.get("/v1/models/m/events").status_code == 405


def test_a_record_that_the_log_cannot_take_is_refused_before_any_is_appended(tmp_path: Path) -> None:
    small = InMemoryLog(max_record_bytes=200)
    with (
        served(tmp_path, log=small) as parts,
        httpx.Client(base_url=f"http://127.0.0.1:{parts.server.http_port}") as client,
    ):
        large = EVENT | {"note": "x" * 300}

        answer = client.post("/v1/models/m/events", json=[EVENT, large])

        assert answer.status_code == 400
        assert [(row["row"], row["reason"]) for row in answer.json()["rows"]] == [(1, "too_large")]
        assert small.bounds("m.events") == {}


@pytest.mark.parametrize("route", ["events", "labels"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"authorization": "Bearer wrong"}, 401), ({"authorization": "Bearer a-token-of-some-length"}, 200)],
)
def test_with_tokens_only_who_has_one_appends(tmp_path: Path, route: str, headers: dict[str, str], status: int) -> None:
    (tmp_path / "tokens").write_text("a-token-of-some-length\n")
    body = EVENT | {"id": "e"}
    with served(tmp_path / "s", labels_topic="m.labels", tokens=Tokens(tmp_path / "tokens")) as parts:
        url = f"http://127.0.0.1:{parts.server.http_port}/v1/models/m"
        answer = httpx.post(f"{url}/{route}", json=body, headers=headers)
        free = httpx.post(f"{url}/predict", json={"features": ROW})
        found = appended(parts, f"m.{route}")

    assert (answer.status_code, len(found)) == (status, int(status == 200))
    assert status == 200 or answer.headers["www-authenticate"] == "Bearer"
    assert free.status_code == 200


def test_without_tokens_no_page_of_a_browser_appends(client: httpx.Client, service: RunningServer) -> None:
    before = appended(service, "m.events")

    answer = client.post("/v1/models/m/events", json=EVENT, headers={"origin": "http://elsewhere.example"})

    assert (answer.status_code, "token_file" in answer.json()["error"]) == (403, True)
    assert appended(service, "m.events") == before


RECORDS = st.fixed_dictionaries(
    {"inputs": perhaps({"features": ROW})},
    optional=dict.fromkeys(("id", "label", "time", "key", "weight"), ANYTHING),
)


@settings(max_examples=100)
@given(body=RECORDS | st.lists(RECORDS, max_size=3) | ANYTHING, route=st.sampled_from(["events", "labels"]))
def test_no_records_are_a_bug_of_the_server(service: RunningServer, body: Any, route: str) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.server.http_port}", timeout=60) as client:
        answer = client.post(
            f"/v1/models/m/{route}",
            content=gzip.compress(json.dumps(body).encode()),
            headers={"content-encoding": "gzip"},
        )

    assert answer.status_code < 500, answer.text
    assert answer.is_success or answer.json()["error"]
