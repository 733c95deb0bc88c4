"""Columns and ids as tensors: protobuf events, and requests."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest

from thalweg.proto import thalweg_pb2 as pb
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch, to_events, to_json
from thalweg.proto.event import Batch, ClassLabels, Decoded
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.ids import id_number
from thalweg.proto.rows.tensors import fitting
from thalweg.proto.schema import Array, Schema, TensorSpec, column_specs
from thalweg.proto.tensors import check_inputs

COLUMNS = {
    column.name: column
    for column in (
        Column(name="amount", kind="numeric"),
        Column(name="ok", kind="boolean"),
        Column(name="at", kind="datetime", unit="ms"),
        Column(name="country", kind="categorical"),
        Column(name="tags", kind="list"),
        Column(name="place", kind="list", length=2),
    )
}
SCHEMA = Schema(column_specs(COLUMNS), columns=COLUMNS)
IDS = Schema({"user": TensorSpec("user", "int64", (), ids=True)}, "number")
USER = "0f8fad5b-d9cb-469f-a165-70867728950e"


def texts(*values: bytes) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


BATCH = Batch(
    {
        "amount": np.array([1.5, np.nan]),
        "ok": np.array([np.nan, 1.0]),
        "at": np.array([1.7e9, np.nan]),
        "country": texts(b"DE", b""),
        "tags": texts(b"", b'["a","2"]'),
        "place": np.array([[1.0, np.nan], [np.nan, np.nan]]),
    },
    ClassLabels(np.array([0, -1], dtype=np.int32), ("a",)),
    np.ones(2),
    np.array([5.0, 6.0]),
    ["e-1", "e-2"],
)


def decode(schema: Schema, values: list[bytes], headers: Headers) -> Decoded:
    n = len(values)
    return Decoder(schema).decode(Records(Partition("t", 0), range(n), [5.0] * n, [None] * n, values, [headers] * n))


@pytest.mark.parametrize("form", ["event", "event_batch", "json"])
def test_missing_values_survive_the_round_trip_of_every_form(form: str) -> None:
    values, headers = {
        "event": (to_events(BATCH), EVENT_HEADERS),
        "event_batch": ([to_event_batch(BATCH)], EVENT_BATCH_HEADERS),
        "json": (to_json(BATCH), ()),
    }[form]
    schema = SCHEMA
    if form == "json":  # a number there is in the column's unit
        columns = COLUMNS | {"at": Column(name="at", kind="datetime")}
        schema = Schema(column_specs(columns), columns=columns)

    decoded = decode(schema, values, headers)

    assert decoded.rejected == []
    assert decoded.batch.ids == BATCH.ids
    for name, column in BATCH.inputs.items():
        np.testing.assert_array_equal(decoded.batch.inputs[name], column)


def test_a_tensor_that_is_missing_has_missing_values_and_other_numbers_are_widened() -> None:
    event = pb.Event(label_text="a")
    event.inputs.add(name="amount", datatype="INT32").contents.int_contents.append(3)
    event.inputs.add(name="ok", datatype="BOOL").contents.bool_contents.append(True)
    event.inputs.add(name="country", datatype="INT64").contents.int64_contents.append(49)
    event.inputs.add(name="place", datatype="FP32", shape=[2]).contents.fp32_contents.extend([1, 2])

    decoded = decode(SCHEMA, [event.SerializeToString(), pb.Event(weight=1).SerializeToString()], EVENT_HEADERS)

    assert decoded.rejected == []
    found = {name: column.tolist() for name, column in decoded.batch.inputs.items()}
    assert str(found) == str(
        {
            "amount": [3.0, np.nan],
            "ok": [1.0, np.nan],
            "at": [np.nan, np.nan],
            "country": [b"49", b""],
            "tags": [b"", b""],
            "place": [[1.0, 2.0], [np.nan, np.nan]],
        }
    )


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        (
            "amount",
            np.array([np.inf]),
            "input 'amount': expected finite numbers, or NaN where one is missing, got infinity",
        ),
        ("amount", texts(b"many"), "column 'amount', numeric: expected a number, got the text 'many'"),
        ("ok", np.array([2.0]), "column 'ok', boolean: expected true or false, got the number 2.0"),
        ("at", np.array([1e30]), "column 'at': expected a time in a plausible unit"),
        ("country", texts(b"\xff"), "column 'country': expected UTF-8"),
        ("country", texts(b"x" * 1025), "column 'country': expected a category of at most 1024 bytes"),
        (
            "place",
            np.array([[1.0, -np.inf]]),
            "input 'place': expected finite numbers, or NaN where one is missing, got infinity",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_its_column_is_refused_by_name(name: str, array: Array, words: str) -> None:
    fit = fitting(SCHEMA)
    assert fit is not None

    with pytest.raises(Refused, match=words):
        fit({name: array}, None)


def test_times_as_tensors_are_seconds_whatever_the_unit_of_the_column() -> None:
    fit = fitting(SCHEMA)
    assert fit is not None

    assert fit({"at": np.array([1.7e9, 1.7e12, np.nan])}, None)["at"].tolist()[:2] == [1.7e9, 1.7e9]


def test_a_schema_without_columns_and_ids_leaves_requests_alone() -> None:
    assert fitting(Schema({"x": TensorSpec("x", "float32", (2,))})) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (42, 42),
        ("42", 42),
        (b"-7", -7),
        (42.0, 42),
        ("9223372036854775807", 2**63 - 1),
        (USER, 3806874813415730003),
    ],
)
def test_the_text_of_an_integer_is_that_integer_and_others_are_hashed_alike_for_ever(value: Any, number: int) -> None:
    assert id_number("user", value) == number


@pytest.mark.parametrize("text", ["042", "+1", "1.0", "-0", " 1", "9223372036854775808", "٣", str(UUID(int=1))])
def test_what_only_looks_like_an_integer_is_a_text(text: str) -> None:
    assert id_number("user", text) >= 2**32


@pytest.mark.parametrize("value", ["", None, True, [1], 1.5, 2**63, b"\xff", "x" * 1025, float("inf"), float("nan")])
def test_what_is_no_id_is_refused(value: Any) -> None:
    with pytest.raises(Refused, match="input 'user'"):
        id_number("user", value)


def test_an_id_is_the_same_in_every_form() -> None:
    typed = pb.Event()
    typed.inputs.add(name="user", datatype="BYTES").contents.bytes_contents.append(USER.encode())
    number = pb.Event()
    number.inputs.add(name="user", datatype="INT64").contents.int64_contents.append(7)
    of_json = decode(
        IDS,
        [b'{"inputs": {"user": "%s"}}' % USER.encode(), b'{"inputs": {"user": "7"}}', b'{"inputs": {"user": 7}}'],
        (),
    )

    of_protobuf = decode(IDS, [typed.SerializeToString(), number.SerializeToString()], EVENT_HEADERS)

    hashed = id_number("user", USER)
    assert of_json.batch.inputs["user"].tolist() == [hashed, 7, 7]
    assert of_protobuf.batch.inputs["user"].tolist() == [hashed, 7]


def test_in_a_request_a_column_may_be_one_column_wide() -> None:
    of_requests, of_events = fitting(SCHEMA, of_requests=True), fitting(SCHEMA)
    assert of_requests is not None
    assert of_events is not None
    wide = {"amount": np.array([[1.5], [2.0]]), "country": texts(b"DE", b"FR").reshape(2, 1)}

    fitted = of_requests(wide, None)

    assert fitted["amount"].tolist() == [1.5, 2.0]
    assert fitted["country"].tolist() == [b"DE", b"FR"]
    assert of_requests({"place": np.array([[1.0, 2.0]])}, None)["place"].tolist() == [[1.0, 2.0]]
    assert of_events(wide, None)["amount"].shape == (2, 1)  # what was no event is none


def test_in_a_request_an_input_that_is_no_column_may_be_one_column_wide_too() -> None:
    schema = Schema({"x": TensorSpec("x", "float32", (2,)), "price": TensorSpec("price", "float64", ())})
    of_requests = fitting(schema, of_requests=True)
    assert of_requests is not None
    assert fitting(schema) is None

    fitted = of_requests({"x": np.zeros((2, 2), np.float32), "price": np.array([[1.5], [2.0]])}, None)

    assert check_inputs(schema.inputs, fitted) == 2
    assert fitted["price"].tolist() == [1.5, 2.0]
    assert of_requests({"price": np.array([[1.0, 2.0]])}, None)["price"].shape == (1, 2)
