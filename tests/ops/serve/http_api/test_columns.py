"""Rows of a model with columns by name, on every route: as records come, with missing values and fields elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.serve.serving import RunningServer, Taught, served
from tests.ops.serve.test_malformed import ANYTHING
from thalweg.models.columns.make import make_learner, predictor_maker
from thalweg.models.columns.settings import columns_of
from thalweg.models.contract.learner import LearnerContext
from thalweg.ops.cli.predict import run
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc, thalweg_pb2, thalweg_pb2_grpc
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, column_specs

COLUMNS = columns_of(
    {
        "amount": "numeric",
        "country": {"kind": "categorical", "min_events": 1},
        "sku": {"kind": "hashed", "field": "order.items[0].sku"},
    }
)
CONTEXT = LearnerContext(inputs=column_specs(COLUMNS), columns=COLUMNS, params={"expansion": 0}, seed=0)
FIELDS = FieldMapping(label="is_fraud", id="payment.number", time="", key="", weight="")
FRAUD = {"amount": 900.0, "country": "XX", "order": {"items": [{"sku": "gold"}]}}
USUAL = {"amount": 12.5, "country": "DE", "order": {"items": [{"sku": "tea"}]}}


def payments(count: int, seed: int) -> Batch:
    random = np.random.default_rng(seed)
    codes = random.integers(0, 2, count).astype(np.int32)
    inputs = {
        "amount": np.where(codes, 900.0, 12.5) + random.normal(0, 1, count),
        "country": np.where(codes, b"XX", b"DE").astype(object),
        "sku": np.where(codes, b"gold", b"tea").astype(object),
    }
    return Batch(inputs, ClassLabels(codes, ("ok", "fraud")), np.ones(count), np.arange(count, dtype=float))


def taught(fields: FieldMapping | None) -> Taught:
    return Taught(
        lambda: make_learner("ridge", CONTEXT),
        predictor_maker("ridge", CONTEXT),
        payments,
        Schema(CONTEXT.inputs, columns=COLUMNS, fields=fields),
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("service"), model=taught(None)) as parts:
        yield parts


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """With the parts of an event elsewhere in a record."""
    with served(tmp_path_factory.mktemp("own"), model=taught(FIELDS)) as parts:
        yield parts


def post(service: RunningServer, route: str, body: Any) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{service.server.http_port}/v1/models/m{route}", json=body, timeout=60)


@pytest.mark.parametrize(
    "row",
    [
        FRAUD,
        FRAUD | {"id": 5, "label": None, "note": "ignored"},
        {"amount": "900", "country": "XX", "order": {"items": [{"sku": "gold"}, {}]}},
        {"inputs": {"amount": 900, "country": "XX", "sku": "gold"}, "id": "e-1"},
        {"amount": 900, "country": None},
        {"amount": 900},
    ],
)
def test_a_row_has_its_columns_by_name_and_may_lack_some(service: RunningServer, row: dict[str, Any]) -> None:
    answer = post(service, "/predict", row)

    assert (answer.status_code, answer.json().get("label")) == (200, "fraud"), answer.text
    assert post(service, ":predict", {"instances": [row]}).json()["predictions"][0]["label"] == "fraud"


def test_many_rows_are_answered_in_their_order(service: RunningServer) -> None:
    answers = post(service, "/predict", [FRAUD, USUAL, {"amount": 12.5}]).json()

    assert [row["label"] for row in answers] == ["fraud", "ok", "ok"]
    assert post(service, "/predict", []).json() == []


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"amuont": 900, "country": "XX"}, "the row: no such field 'amuont'; did you mean 'amount'?"),
        ({"inputs": {"amuont": 900}}, "the inputs: no such field 'amuont'; did you mean 'amount'?"),
        ({"price": 900}, "expected at least one column, got 'price'; known: 'amount', 'country', 'order'"),
        ({}, "expected at least one column"),
        ([USUAL, {"amount": "much"}], "row 1: "),
        ([USUAL, {"amount": [1, 2]}], "row 1: "),
        ({"amount": 1, "order": 5}, "field 'order': expected an object, got the number 5"),
        (5, "expected an object, or a list of objects"),
        ([USUAL, [1, 2, 3]], "row 1: expected an object with 'amount', 'country', 'sku', got [1, 2, 3]"),
    ],
)
def test_a_row_that_does_not_fit_says_what_was_expected(service: RunningServer, row: Any, text: str) -> None:
    answer = post(service, "/predict", row)

    assert (answer.status_code, text in answer.json()["error"]) == (400, True), answer.text


def test_a_misspelt_column_is_no_other_field_where_those_are_ignored(own: RunningServer) -> None:
    misspelt = post(own, "/predict", {"amuont": 900.0, "country": "XX"})
    assert (misspelt.status_code, "did you mean 'amount'?" in misspelt.json()["error"]) == (400, True), misspelt.text
    assert post(own, "/predict", {"amount_eur": 3.0, "country": "XX", "note": "none of the columns"}).status_code == 200


@pytest.mark.parametrize(
    ("form", "records", "row", "text"),
    [
        ("own", USUAL | {"is_fruad": True}, 0, "no label at 'is_fraud'"),
        ("own", USUAL | {"IsFraud": True}, 0, "did you mean 'is_fraud'?"),
        ("own", [USUAL, USUAL | {"Is_Fraud": True}], 1, "did you mean 'is_fraud'?"),
        ("usual", USUAL | {"lable": "ok"}, 0, "no label at 'label'"),
        ("usual", USUAL | {"Label": "ok"}, 0, "did you mean 'label'?"),
        ("usual", {"inputs": {"amount": 12.5}, "labels": "ok"}, 0, "did you mean 'label'?"),
        ("own", {"amuont": 12.5, "country": "DE", "is_fraud": True}, 0, "no column at 'amount'"),
        ("own", {"amount": 1.0, "order": {"item": [{"sku": "tea"}]}, "is_fraud": True}, 0, "field is known: 'item'"),
        (
            "usual",
            {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": USUAL | {"lable": "ok"}},
            0,
            "lable",
        ),
    ],
)
def test_events_whose_label_or_column_is_misspelt_are_refused(
    own: RunningServer, service: RunningServer, form: str, records: Any, row: int, text: str
) -> None:
    answer = post(own if form == "own" else service, "/events", records)

    assert answer.status_code == 400, answer.text
    (refused,) = answer.json()["rows"]
    assert (refused["row"], refused["reason"]) == (row, "unknown_input")
    assert text in refused["detail"]


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The same where labels may come later, by id."""
    with served(tmp_path_factory.mktemp("joined"), model=taught(FIELDS), labels_topic="m.labels") as parts:
        yield parts


@pytest.mark.parametrize("payment", [{}, {"payment": {"number": "p-1"}}])
def test_a_misspelt_label_is_refused_where_labels_may_come_later_too(
    joined: RunningServer, payment: dict[str, Any]
) -> None:
    wrong = post(joined, "/events", [USUAL | payment, USUAL | payment | {"is_frauds": False}])
    by_id = USUAL | {"payment": {"number": "p-2"}}
    later = post(joined, "/events", [by_id | {"target": 1}, by_id | {"isfraud": None}, by_id | {"isfraud": ["tag"]}])
    label = post(joined, "/labels", {"payment": {"number": "p-2"}, "is_frauds": False})

    assert wrong.status_code == 400, wrong.text
    (refused,) = wrong.json()["rows"]
    assert (refused["row"], refused["reason"]) == (1, "unknown_input")
    assert "did you mean 'is_fraud'?" in refused["detail"]
    assert later.status_code == 200, later.text
    assert label.status_code == 400, label.text


@pytest.mark.parametrize(
    ("records", "labelled"),
    [
        ([USUAL | {"is_fraud": True, "amuont": 1, "isfraud": 3}, USUAL], [True, False]),
        ([USUAL | {"target": True}], [False]),
        ([USUAL | {"is_fraud": None, "isfraud": 3}], [False]),
        ([USUAL | {"is_fraud": False}], [True]),
    ],
)
def test_events_without_a_label_are_told_as_such(
    own: RunningServer, records: list[dict[str, Any]], labelled: list[bool]
) -> None:
    answer = post(own, "/events", records)

    assert answer.status_code == 200, answer.text
    assert [ack.get("labelled", True) for ack in answer.json()] == labelled


def test_the_parts_of_a_record_may_stand_elsewhere(own: RunningServer) -> None:
    record = FRAUD | {"is_fraud": True, "payment": {"number": "p-7"}, "amuont": 3, "id": {"not": "ours"}}

    answer = post(own, "/predict", [record, USUAL])
    appended = post(own, "/events", record)
    refused = post(own, "/events", [USUAL, FRAUD | {"payment": {"number": [1]}}])

    assert [row["label"] for row in answer.json()] == ["fraud", "ok"]
    assert answer.json()[0]["id"] == "p-7"
    assert (appended.status_code, appended.json()["id"]) == (200, "p-7")
    assert (refused.status_code, [row["row"] for row in refused.json()["rows"]]) == (400, [1])


def test_a_tensor_may_lack_columns_too_and_nan_is_a_missing_value_but_infinity_is_not(service: RunningServer) -> None:
    def infer(value: float) -> pb.ModelInferResponse:
        request = pb.ModelInferRequest(model_name="m")
        tensor = request.inputs.add(name="amount", datatype="FP64", shape=[1])
        tensor.contents.fp64_contents.append(value)
        return stub.ModelInfer(request, timeout=60)

    with grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}") as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert infer(900.0).outputs[0].contents.bytes_contents[0] == b"fraud"
        assert infer(float("nan")).outputs[0].contents.bytes_contents[0] in (b"ok", b"fraud")
        with pytest.raises(grpc.RpcError) as caught:
            infer(float("inf"))
        rows = thalweg_pb2_grpc.LearningServiceStub(channel).Predict(
            thalweg_pb2.PredictRequest(model="m", rows=b'[{"amount": 900}]', options={"outputs": "label"}), timeout=60
        )

    assert "'amount'" in caught.value.details()
    assert b'"label":"fraud"' in rows.rows
    assert b"scores" not in rows.rows


def test_rows_over_grpc_are_bounded_and_their_mistakes_are_the_callers(service: RunningServer) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}") as channel:
        stub = thalweg_pb2_grpc.LearningServiceStub(channel)
        for model, rows, code in (
            ("m", b"{", "INVALID_ARGUMENT"),
            ("m", b"[" * 1000, "INVALID_ARGUMENT"),
            ("m", b" " * (1 << 20) + b"{}", "RESOURCE_EXHAUSTED"),
            ("x", b"{}", "NOT_FOUND"),
            ("empty", b'{"amount": 1}', "UNAVAILABLE"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(thalweg_pb2.PredictRequest(model=model, rows=rows), timeout=60)
            assert caught.value.code().name == code, rows[:9]


ROWS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("amount", "country", "order", "id", "inputs", "time", "label", "is_fraud"), ANYTHING)
)


@settings(max_examples=100)
@given(body=ROWS | st.lists(ROWS, max_size=3), route=st.sampled_from(["/predict", "/events"]), mapped=st.booleans())
def test_no_values_of_columns_are_a_bug_of_the_server(
    service: RunningServer, own: RunningServer, body: Any, route: str, mapped: bool
) -> None:
    port = (own if mapped else service).server.http_port
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/models/m{route}", content=json.dumps(body), timeout=60)

    assert answer.status_code < 500, answer.text


def test_with_unknown_fields_refused_a_row_may_have_no_others(tmp_path: Any) -> None:
    strict = taught(replace(FIELDS, unknown="reject"))
    with served(tmp_path, model=strict) as parts:
        good, bad = post(parts, "/predict", FRAUD), post(parts, "/predict", FRAUD | {"note": "x"})

    assert (good.status_code, bad.status_code, "note" in bad.json()["error"]) == (200, 400, True)


def test_an_explanation_speaks_of_columns_by_name_on_every_wire(service: RunningServer) -> None:
    tensors = {"amount": [900.0], "country": ["XX"], "sku": ["gold"]}
    inference = [
        {"name": name, "shape": [1], "datatype": "FP64" if name == "amount" else "BYTES", "data": values}
        for name, values in tensors.items()
    ]
    asked = {"model": "m", "rows": json.dumps(FRAUD).encode(), "options": {"explain": "2"}}
    request = pb.ModelInferRequest(model_name="m", parameters={"explain": pb.InferParameter(int64_param=2)})
    amount, country, sku = (request.inputs.add(name=name, shape=[1]) for name in tensors)
    amount.datatype, country.datatype, sku.datatype = "FP64", "BYTES", "BYTES"
    amount.contents.fp64_contents.append(900.0)
    country.contents.bytes_contents.append(b"XX")
    sku.contents.bytes_contents.append(b"gold")
    url = f"http://127.0.0.1:{service.server.http_port}/v2/models/m/infer"

    with grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}") as channel:
        over_rows = thalweg_pb2_grpc.LearningServiceStub(channel).Predict(thalweg_pb2.PredictRequest(**asked))
        over_grpc = inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    over_http = httpx.post(url, json={"inputs": inference, "parameters": {"explain": 2}}, timeout=60).json()
    rows = post(service, "/predict?explain=2", FRAUD).json()["explanation"]

    assert {entry["column"] for entry in rows[:2]} <= COLUMNS.keys()
    assert [entry["column"] for entry in rows[2:]] == ["(other columns)", "(constant)"]
    assert [entry["label"] for entry in rows] == ["fraud"] * 4
    assert json.loads(over_rows.rows)["explanation"] == rows
    assert json.loads(over_grpc.parameters["explanation"].string_param) == [rows]
    assert json.loads(json.dumps(over_http["parameters"]["explanation"])) in ([rows], json.dumps([rows]))


@pytest.mark.parametrize("port", ["grpc_port", "http_port"])
def test_predict_explains_on_request(service: RunningServer, port: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"127.0.0.1:{getattr(service.server, port)}", "m", json.dumps(FRAUD), explain=2)

    printed = capsys.readouterr().out
    answer, _ = json.JSONDecoder().raw_decode(printed, printed.index("{"))  # beside log lines
    explained = answer["explanation"]
    assert len(explained) == 2 + 2
    assert {entry["column"] for entry in explained[:2]} <= COLUMNS.keys()
