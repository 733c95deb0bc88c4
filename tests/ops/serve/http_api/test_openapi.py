"""The OpenAPI document: schemathesis derives requests from it, and the server answers as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.ops.serve.serving import RunningServer, served
from thalweg.ops.serve.http_api.openapi.document import document_of
from thalweg.ops.serve.http_api.openapi.schemas import event_of, label_record_of, row_of
from thalweg.proto.decode import Decoder
from thalweg.proto.records import Partition, Records
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, TensorSpec, column_specs
from thalweg.stream.labels.label_records import label_of

CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("service"), labels_topic="m.labels") as parts:
        yield parts


def url(service: RunningServer) -> str:
    return f"http://127.0.0.1:{service.server.http_port}"


PATHS = [
    "/healthz",
    "/metrics",
    "/v1/models",
    "/v1/models/m",
    "/v1/models/m/events",
    "/v1/models/m/labels",
    "/v1/models/m/predict",
    "/v1/models/m:predict",
    "/v1/models/empty/predict",
    "/v2/models/m",
    "/v2/models/m/config",
    "/v2/models/m/infer",
    "/v2/models/m/stats",
    "/v2/models/empty/ready",
]


@pytest.mark.parametrize("path", PATHS)
def test_the_server_answers_as_its_document_says(service: RunningServer, path: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url(service)}/openapi.json")
    (operation,) = [one.ok() for one in schema.get_all_operations() if one.ok().path == path]
    statuses = set()

    @settings(max_examples=10)
    @given(case=operation.as_strategy())
    def check(case: schemathesis.Case) -> None:
        response = case.call()
        statuses.add(response.status_code)
        assert response.status_code < 500 or response.status_code in {501, 503, 504}, response.text
        case.validate_response(response, checks=CHECKS)

    check()
    if path.startswith(("/v1/models/m", "/healthz", "/v2/models/m")) and not path.endswith("infer"):
        assert 200 in statuses, f"none of the requests that the document allows is accepted: {statuses}"


def test_every_route_of_the_rest_interface_is_described_and_nothing_else(service: RunningServer) -> None:
    described = set(document_of(service.server.models)["paths"])
    for path in described:
        assert httpx.request("OPTIONS", url(service) + path).status_code == 405, path
    assert set(PATHS) <= described
    assert httpx.get(f"{url(service)}/").json()["links"]["openapi"] == "/openapi.json"


def test_rows_are_described_with_their_columns_by_name_and_kind() -> None:
    columns = {
        one.name: one
        for one in (
            Column(name="amount", kind="numeric"),
            Column(name="country", kind="categorical"),
            Column(name="total", kind="numeric", field="order.total"),
            Column(name="sku", kind="hashed", field="order.items[0].sku"),
            Column(name="spot", kind="list", length=2),
        )
    }
    fields = FieldMapping(label="is_fraud", id="number", time="at", key="", weight="")
    schema = Schema(column_specs(columns), columns=columns, fields=fields)

    row = row_of(schema)

    jsonschema.Draft202012Validator.check_schema(row)
    assert row["properties"].keys() == {"amount", "country", "order", "spot", "number", "at"}
    good = {"amount": None, "country": 7, "order": {"total": 3.5, "items": [{"sku": "a"}]}, "spot": [1, None]}
    jsonschema.validate(good, row)
    for bad in ({"amount": "x"}, {"order": {"total": []}}, {"spot": [1]}, []):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, row)


def from_schema(described: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Bodies that a schema allows, as schemathesis derives them."""
    body = {"required": True, "content": {"application/json": {"schema": described}}}
    call = {"requestBody": body, "responses": {"200": {"description": "Done."}}}
    document = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {"/x": {"post": call}}}
    (operation,) = [one.ok() for one in schemathesis.openapi.from_dict(document).get_all_operations()]
    return operation.as_strategy().map(lambda case: case.body)


MAPPED = {
    "names": FieldMapping(label="is_fraud", id="number", time="", key="", weight=""),
    "paths": FieldMapping(label="order.outcome", id="order.ids[1].number", time="at", key="order.who", weight=""),
    "usual": FieldMapping(),
    "strict": FieldMapping(label="is_fraud", id="number", time="at", key="", weight="", unknown="reject"),
    "ours": None,
}


@pytest.mark.parametrize("classes", [(), ("ok", "fraud", "NA")])
@pytest.mark.parametrize("fields", MAPPED)
@pytest.mark.parametrize("tensors", [False, True])
def test_events_and_labels_are_described_under_the_models_own_names_and_accepted_as_described(
    fields: str, classes: tuple[str, ...], tensors: bool
) -> None:
    columns = {
        "amount": Column(name="amount", kind="numeric"),
        "total": Column(name="total", kind="numeric", field="order.total"),
    }
    schema = Schema(column_specs(columns), columns=columns, fields=MAPPED[fields], classes=classes)
    if tensors:
        schema = Schema({"x": TensorSpec("x", "float64", (2,))}, fields=MAPPED[fields], classes=classes)
    event, label = event_of(schema), label_record_of(schema)
    for described in (event, label):
        jsonschema.Draft202012Validator.check_schema(described)
    assert MAPPED[fields] is None or (MAPPED[fields].label.split(".")[0] in event["properties"])

    @settings(max_examples=25)
    @given(record=from_schema(label))
    def check_label(record: Any) -> None:
        label_of(json.dumps(record).encode(), schema)

    @settings(max_examples=25)
    @given(record=from_schema(event))
    def check_event(record: Any) -> None:
        records = Records(Partition("t", 0), [0], [0.0], [None], [json.dumps(record).encode()], [()])
        (reason,) = [one.reason for one in Decoder(schema).decode(records).rejected] or [""]
        assert reason in ("", "bad_time", "invalid_time", "non_finite")  # a text is described, not what is a time

    check_label()
    check_event()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"id": "1", "label": None}, label)
    if classes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"id": "1", "label": "fruad"}, label)


def test_the_page_shows_every_call_and_loads_nothing(service: RunningServer) -> None:
    page = httpx.get(f"{url(service)}/docs")

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert all(f"<code>{path}</code>" in page.text for path in PATHS)
    assert not re.search(r"<(script|link|img|iframe)|url\(|@import|src=", page.text)
    assert (
        f"curl -s {url(service)}/v1/models/m/predict -d '{{&quot;features&quot;: [0.5, 0.5, 0.5, 0.5]}}'" in page.text
    )


def test_every_operation_tells_the_role_that_the_table_gives_it(tmp_path: Path) -> None:
    with served(tmp_path, labels_topic="m.labels") as parts:
        paths = httpx.get(f"http://127.0.0.1:{parts.server.http_port}/openapi.json").json()["paths"]

    roles = {path: one.get("x-role") for path, operations in paths.items() for one in operations.values()}
    assert (roles["/healthz"], roles["/metrics"]) == (None, "read")
    assert (roles["/v1/models/m/predict"], roles["/v1/models/m:predict"]) == ("predict", "predict")
    assert (roles["/v1/models/m/events"], roles["/v1/models/m/labels"]) == ("learn", "learn")
    for operations in paths.values():
        for one in operations.values():
            assert ("x-role" in one) == ({"401", "403"} <= one["responses"].keys()) == ("security" in one)
