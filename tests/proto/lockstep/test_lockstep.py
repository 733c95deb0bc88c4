"""Records that are read together: each gives what it gives alone, and bytes that are none are left to be read alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proto.framing.protobuf_schemas import framed_message, message, protobuf
from tests.proto.framing.test_framing import Known, avro, decoded, framed, written
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_HEADERS, to_events
from thalweg.proto.event import Batch, ClassLabels, Decoded
from thalweg.proto.framing.avro import AvroReader
from thalweg.proto.framing.protobuf import ProtobufReader
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.rows.table import Names, Payloads
from thalweg.proto.schema import Schema, column_specs

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
AVRO = {
    "type": "record",
    "name": "R",
    "fields": [
        {"name": "text", "type": "string"},
        {"name": "number", "type": ["null", "double"]},
        {"name": "small", "type": ["float", "null"]},
        {"name": "whole", "type": ["null", "long"]},
        {"name": "int", "type": "int"},
        {"name": "truth", "type": ["null", "boolean"]},
        {"name": "nothing", "type": "null"},
        {"name": "raw", "type": "bytes"},
        {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}},
        {"name": "code", "type": {"type": "fixed", "name": "Code", "size": 3}},
        {"name": "moment", "type": ["null", MILLIS]},
        {"name": "micros", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {
            "name": "inner",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "Inner",
                    "fields": [{"name": "n", "type": ["null", "int"]}, {"name": "colour", "type": "Colour"}],
                },
            ],
        },
    ],
}
PROTOBUF = """
syntax = "proto3";
import "google/protobuf/timestamp.proto";
enum Colour { RED = 0; BLUE = 1; }
message R {
  string text = 1;
  optional double number = 2;
  float small = 3;
  optional int64 whole = 4;
  int32 int = 5;
  bool truth = 6;
  sint64 signed = 7;
  bytes raw = 8;
  Colour colour = 9;
  optional fixed32 code = 10;
  google.protobuf.Timestamp moment = 11;
  optional Inner inner = 12;
  sfixed64 long = 17;
  optional uint64 large = 300;
  repeated int32 unwanted = 301;
  map<string, int32> unwanted_too = 302;
  message Inner { optional uint32 n = 1; Colour colour = 2; }
}
"""
_DOUBLES = st.floats(allow_infinity=False)
_TEXTS = st.text(max_size=5)
_COLOURS = st.sampled_from(["RED", "BLUE"])
AVRO_ROWS = st.fixed_dictionaries(
    {
        "text": _TEXTS,
        "number": st.none() | _DOUBLES,
        "small": st.none() | st.floats(width=32, allow_infinity=False),
        "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
        "int": st.integers(-(2**31), 2**31 - 1),
        "truth": st.none() | st.booleans(),
        "nothing": st.none(),
        "raw": _TEXTS.map(str.encode),
        "colour": _COLOURS,
        "code": st.sampled_from([b"abc", b"\x00 z"]),
        "moment": st.none() | st.integers(-(10**12), 9 * 10**12),
        "micros": st.integers(-(10**15), 2**53),
        "inner": st.none() | st.fixed_dictionaries({"n": st.none() | st.integers(-9, 300), "colour": _COLOURS}),
    }
)
PROTOBUF_ROWS = st.fixed_dictionaries(
    {},
    optional={
        "text": _TEXTS,
        "number": st.floats(allow_infinity=False, allow_nan=False),
        "small": st.floats(width=32, allow_infinity=False, allow_nan=False),
        "whole": st.integers(-(2**63), 2**63 - 1),
        "int": st.integers(-(2**31), 2**31 - 1),
        "truth": st.booleans(),
        "signed": st.integers(-(2**63), 2**63 - 1),
        "colour": _COLOURS | st.sampled_from([7, -1]),
        "code": st.integers(0, 2**32 - 1),
        "moment": st.datetimes().map(lambda one: one.replace(year=max(1900, min(2200, one.year))).isoformat() + "Z"),
        "inner": st.fixed_dictionaries({}, optional={"n": st.integers(0, 2**32 - 1), "colour": _COLOURS}),
        "long": st.integers(-(2**63), 2**63 - 1),
        "large": st.integers(0, 2**64 - 1),
        "unwanted": st.lists(st.integers(-5, 500), max_size=3),
        "unwantedToo": st.dictionaries(_TEXTS, st.integers(0, 9), max_size=2),
    },
)
LEAVES: dict[str, frozenset[Names]] = {
    "AVRO": frozenset(
        {*((one["name"],) for one in AVRO["fields"] if one["name"] != "inner"), ("inner", "n"), ("inner", "colour")}  # type: ignore[index]
    ),
    "PROTOBUF": frozenset(
        {
            ("inner", "n"),
            ("inner", "colour"),
            *((name,) for name in ("text", "number", "small", "whole", "int", "truth", "signed")),
            *((name,) for name in ("raw", "colour", "code", "moment", "long", "large")),
        }
    ),
}


def at(record: Any, names: Names) -> Any:
    for name in names:
        record = None if record is None else record[name]
    return record


def same(reader: Payloads, form: str, payloads: list[bytes]) -> bool:
    """Whether they can be read together; then each value is what it is alone."""
    found = reader.columns(payloads, LEAVES[form])
    if found is None:
        return False
    alone = [json.loads(reader.json(payload)) for payload in payloads]
    for names in LEAVES[form]:
        assert list(found[names]) == [at(one, names) for one in alone], names
    return True


@settings(max_examples=40)
@given(rows=st.lists(AVRO_ROWS, min_size=1, max_size=6))
def test_avro_records_give_together_what_each_gives_alone(rows: list[dict[str, Any]]) -> None:
    reader = AvroReader(json.dumps(AVRO))

    assert same(reader, "AVRO", [written(AVRO, row) for row in rows])


@settings(max_examples=40)
@given(rows=st.lists(PROTOBUF_ROWS, min_size=1, max_size=6))
def test_protobuf_records_give_together_what_each_gives_alone(rows: list[dict[str, Any]]) -> None:
    schema = protobuf(PROTOBUF)
    reader = ProtobufReader(schema.compiled)

    assert same(reader, "PROTOBUF", [b"\0" + message(schema, "R", row) for row in rows])


AVRO_ROW: dict[str, Any] = {
    "text": "é",
    "number": 1.5,
    "small": None,
    "whole": 300,
    "int": -5,
    "truth": True,
    "nothing": None,
    "raw": b"raw",
    "colour": "BLUE",
    "code": b"abc",
    "moment": 1_700_000_000_000,
    "micros": 5,
    "inner": {"n": 4, "colour": "RED"},
}
PROTOBUF_ROW = {
    "text": "é",
    "number": 1.5,
    "whole": -1,
    "moment": "2026-01-02T03:04:05Z",
    "inner": {"n": 4},
    "large": 9,
}


@pytest.mark.parametrize("form", ["AVRO", "PROTOBUF"])
def test_changed_bytes_are_read_as_alone_or_left_to_be(form: str) -> None:
    if form == "AVRO":
        reader: Payloads = AvroReader(json.dumps(AVRO))
        good = written(AVRO, AVRO_ROW)
    else:
        schema = protobuf(PROTOBUF)
        reader, good = ProtobufReader(schema.compiled), b"\0" + message(schema, "R", PROTOBUF_ROW)
    together = 0
    for place in range(len(good)):
        for byte in (0, 1, 2, 9, 17, 100, 127, 128, 200, 255):
            changed = good[:place] + bytes([byte]) + good[place + 1 :]
            try:
                together += same(reader, form, [good, changed])
            except Refused as error:
                pytest.fail(f"{changed!r} is read together, and alone is {error}")
        assert form == "PROTOBUF" or not same(reader, form, [good, good[:place]])
    assert together > 50


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("AVRO", {("inner",)}),
        ("AVRO", {("text", "more")}),
        ("PROTOBUF", {("inner",)}),
        ("PROTOBUF", {("moment", "seconds")}),
        ("PROTOBUF", {("unwanted",)}),
    ],
)
def test_what_is_no_single_value_is_read_alone(form: str, wanted: set[Names]) -> None:
    if form == "AVRO":
        reader: Payloads = AvroReader(json.dumps(AVRO))
        payload = written(AVRO, AVRO_ROW)
    else:
        schema = protobuf(PROTOBUF)
        reader, payload = ProtobufReader(schema.compiled), b"\0" + message(schema, "R", PROTOBUF_ROW)

    assert reader.columns([payload], frozenset(wanted)) is None
    assert reader.columns([payload], frozenset({("nowhere",)})) == {}


COLUMNS = {
    one.name: one
    for one in (
        Column(name="number", kind="numeric"),
        Column(name="whole", kind="numeric"),
        Column(name="text", kind="categorical"),
        Column(name="truth", kind="boolean"),
        Column(name="moment", kind="datetime"),
        Column(name="n", kind="numeric", field="inner.n"),
    )
}


def equal(one: Batch, other: Batch) -> bool:
    inputs = all(
        np.array_equal(one.inputs[name], column, **({} if column.dtype == object else {"equal_nan": True}))
        for name, column in other.inputs.items()
    )
    times = np.array_equal(one.times, other.times) and np.array_equal(one.weights, other.weights)
    return inputs and times and (one.ids, one.keys) == (other.ids, other.keys) and labels(one) == labels(other)


def labels(batch: Batch) -> list[str | None]:
    assert isinstance(batch.labels, ClassLabels)
    return [None if code < 0 else batch.labels.names[code] for code in batch.labels.codes]


def each_alone(values: list[bytes], decoder: Decoder, headers: Headers = ()) -> list[Decoded]:
    return [decoder.decode(run_of([value], headers)) for value in values]


def run_of(values: list[bytes], headers: Headers = ()) -> Records:
    count = len(values)
    return Records(Partition("t", 0), range(count), [1.7e9] * count, [None] * count, values, [headers] * count)


@pytest.mark.parametrize("form", ["AVRO", "PROTOBUF"])
@pytest.mark.parametrize("mapped", [True, False])
def test_rows_of_a_binary_form_are_those_of_json(form: str, mapped: bool) -> None:
    """Also with one among them that is invalid, and one whose label and columns are missing."""
    fields = FieldMapping(label="colour", id="int", time="micros" if form == "AVRO" else "moment") if mapped else None
    schema = Schema(column_specs(COLUMNS), "class", columns=COLUMNS, fields=fields)
    if form == "AVRO":
        reader: Payloads = AvroReader(json.dumps(AVRO))
        rows: list[Mapping[str, Any]] = [AVRO_ROW, {**AVRO_ROW, "int": 7, "number": None, "truth": None, "inner": None}]
        payloads = [written(AVRO, {**row, "micros": 1_700_000_000_000_000}) for row in rows]
        known = Known({1: avro(AVRO)})
        values = [framed(1, payload) for payload in payloads]
    else:
        compiled = protobuf(PROTOBUF)
        reader = ProtobufReader(compiled.compiled)
        rows = [{**PROTOBUF_ROW, "int": 1}, {"int": 7, "text": "only"}]
        payloads = [b"\0" + message(compiled, "R", dict(row)) for row in rows]
        known = Known({1: compiled})
        values = [framed_message(1, payload[1:]) for payload in payloads]
    texts = [reader.json(payload) for payload in payloads]

    plain = decoded(texts * 9, known, schema)
    together = decoded(values * 9, known, schema)
    with_bad = decoded([*values, framed(1, b"\x00\xff"), *values], known, schema)

    assert plain.rejected == together.rejected == []
    assert equal(together.batch, plain.batch)
    assert [one.row for one in with_bad.rejected] == [2]
    assert equal(with_bad.batch, decoded([*texts, *texts], known, schema).batch)


def events(count: int, schema: Schema) -> Batch:
    rng = np.random.default_rng(3)
    texts = np.empty(count, dtype=object)
    texts[:] = [b"" if n % 5 == 0 else f"é{n % 3}".encode() for n in range(count)]
    inputs: dict[str, Any] = {
        name: texts if column.dtype == "bytes" else rng.integers(0, 2, count).astype(np.float64)
        for name, column in schema.columns.items()
    }
    inputs["number"][1] = np.nan
    codes = np.array([n % 3 - 1 for n in range(count)], dtype=np.int32)
    ids = [None if n % 4 == 0 else f"id-{n}" for n in range(count)]
    keys = [None if n % 3 == 0 else "k" for n in range(count)]
    return Batch(inputs, ClassLabels(codes, ("a", "b")), np.ones(count), np.arange(count) + 1.6e9, ids, keys)


def test_events_with_columns_give_together_what_each_gives_alone() -> None:
    schema = Schema(column_specs(COLUMNS), "class", columns=COLUMNS)
    decoder, given_events = Decoder(schema), events(40, schema)
    values = to_events(given_events)

    found = decoder.decode(run_of(values, EVENT_HEADERS))

    assert found.rejected == []
    assert equal(found.batch, given_events)
    for row, one in enumerate(each_alone(values, decoder, EVENT_HEADERS)):
        alone, together = one.batch, found.batch.take(np.array([row]))
        assert all(
            np.array_equal(alone.inputs[n], c, **({} if c.dtype == object else {"equal_nan": True}))
            for n, c in together.inputs.items()
        )
        assert labels(alone) == labels(together)
        assert alone.times.tolist() == together.times.tolist()


def test_changed_bytes_of_an_event_give_the_same_in_company() -> None:
    schema = Schema(column_specs(COLUMNS), "class", columns=COLUMNS)
    decoder = Decoder(schema, max_future_seconds=1e9)
    one, other = to_events(events(7, schema).take(np.array([1, 2])))

    for place in range(0, len(one), 5):
        for byte in (0, 1, 90, 128, 255):
            changed = one[:place] + bytes([byte]) + one[place + 1 :]
            (alone,) = each_alone([changed], decoder, EVENT_HEADERS)
            found = decoder.decode(run_of([other, changed, other], EVENT_HEADERS))
            assert [(one.reason, one.detail) for one in found.rejected] == [
                (one.reason, one.detail) for one in alone.rejected
            ]
            if not alone.rejected:
                company = found.batch.take(np.array([1]))
                assert labels(company) == labels(alone.batch)
                assert company.times.tolist() == alone.batch.times.tolist()
                assert [None if company.ids is None else company.ids[0]] == [
                    None if alone.batch.ids is None else alone.batch.ids[0]
                ]
                for name, column in alone.batch.inputs.items():
                    given_column = company.inputs[name]
                    assert given_column.tolist() == column.tolist() or np.isnan(column.astype(np.float64)).all()
