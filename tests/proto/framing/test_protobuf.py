"""Protobuf records framed for a schema registry: what each field means in JSON, and what cannot be read."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from tests.proto.framing.protobuf_schemas import framed_message, message, protobuf
from tests.proto.framing.test_framing import Known, decoded, framed
from thalweg.proto import thalweg_pb2
from thalweg.proto.encode import to_event_batch, to_events
from thalweg.proto.event import ClassLabels
from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.proto.framing.protobuf import ProtobufReader
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, column_specs
from thalweg.stream.registry.protoc import compiled

VALUES = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/wrappers.proto";
import "confluent/type/decimal.proto";
enum Colour { option allow_alias = true; UNKNOWN = 0; RED = 1; ROUGE = 1; }
message Values {
  double number = 1;
  optional double maybe = 2;
  int64 whole = 3;
  uint64 large = 4;
  bool truth = 5;
  string text = 6;
  bytes raw = 7;
  Colour colour = 8;
  optional Colour maybe_colour = 9;
  Inner inner = 10;
  repeated int32 many = 11;
  repeated Inner inners = 12;
  map<string, int64> by_name = 13;
  map<bool, Inner> by_truth = 14;
  google.protobuf.Timestamp moment = 15;
  google.protobuf.Duration span = 16;
  google.protobuf.Struct free = 17;
  google.protobuf.Int64Value wrapped = 18;
  confluent.type.Decimal price = 19;
  oneof one { string left = 20; int32 right = 21; }
  message Inner { int32 n = 1; Inner within = 2; }
}
message Other { string label = 1; }
"""
OLD = """
syntax = "proto2";
message Old { required string name = 1; optional int32 count = 2 [default = 7]; optional int32 bare = 3; }
"""
EVENT = """
syntax = "proto3";
message E { Inputs inputs = 1; optional string label = 2; message Inputs { repeated float x = 1; } }
"""


def read(values: dict[str, Any]) -> Any:
    schema = protobuf(VALUES)
    payload = b"\0" + message(schema, "shop.Values", values)
    return json.loads(ProtobufReader(schema.compiled).json(payload))


@pytest.mark.parametrize(
    ("field", "value", "json_value"),
    [
        ("number", 2.5, 2.5),
        ("number", "NaN", None),
        ("number", "Infinity", float("inf")),  # 1e999, which is refused as too large
        ("maybe", 0.0, 0.0),
        ("whole", str(2**62 + 1), 2**62 + 1),
        ("large", str(2**64 - 1), 2**64 - 1),
        ("truth", True, True),
        ("text", "é", "é"),
        ("raw", "dGV4dA==", "text"),
        ("raw", "/w==", "/w=="),
        ("colour", "ROUGE", "RED"),
        ("colour", 9, 9),
        ("inner", {}, {"n": 0, "within": None}),
        ("inner", {"within": {"n": 5}}, {"n": 0, "within": {"n": 5, "within": None}}),
        ("many", [3, 0], [3, 0]),
        ("inners", [{"n": 1}], [{"n": 1, "within": None}]),
        ("byName", {"a": 1}, {"a": 1}),
        ("byTruth", {"true": {"n": 1}}, {"true": {"n": 1, "within": None}}),
        ("moment", "2026-01-02T03:04:05.000006Z", "2026-01-02T03:04:05.000006+00:00"),
        ("moment", "1950-01-02T03:04:05Z", "1950-01-02T03:04:05+00:00"),
        ("span", "1.500s", 1.5),
        ("free", {"a": [1, None, {"b": "c"}]}, {"a": [1, None, {"b": "c"}]}),
        ("wrapped", "0", 0),
        ("price", {"value": "BOI=", "precision": 4, "scale": 2}, 12.5),
        ("price", {"value": "/w==", "scale": 0}, -1),
        ("left", "", ""),
        ("right", 0, 0),
    ],
)
def test_a_value_of_protobuf_is_the_json_value_that_means_the_same(field: str, value: Any, json_value: Any) -> None:
    name = {"byName": "by_name", "byTruth": "by_truth"}.get(field, field)

    assert read({field: value})[name] == json_value


def test_what_is_absent_is_null_where_the_schema_can_tell_and_else_zero() -> None:
    empty = read({})

    zeros = {"number": 0, "whole": 0, "large": 0, "truth": False, "text": "", "raw": "", "colour": "UNKNOWN"}
    nothing = {"many": [], "inners": [], "by_name": {}, "by_truth": {}}
    assert {name: empty.pop(name) for name in {**zeros, **nothing}} == {**zeros, **nothing}
    assert set(empty.values()) == {None}


def test_a_declared_default_is_the_value_of_an_absent_field() -> None:
    schema = protobuf(OLD)

    found = json.loads(ProtobufReader(schema.compiled).json(b"\0" + message(schema, "Old", {"name": "a"})))

    assert found == {"name": "a", "count": 7, "bare": None}


def test_schemas_change_from_record_to_record_and_import_others() -> None:
    inner = 'syntax = "proto3"; package in; message Inputs { repeated float x = 1; }'
    outer = (
        'syntax = "proto3"; import "in.proto"; message F { string more = 3; in.Inputs inputs = 1; int64 label = 2; }'
    )
    old, new = protobuf(EVENT), protobuf(outer, **{"in": inner})
    known = Known({1: old, 2: new})

    values = [
        framed_message(1, message(old, "E", {"inputs": {"x": [1, 2]}, "label": "7"})),
        framed_message(1, message(old, "E", {"inputs": {"x": [2, 3]}})),
        framed_message(2, message(new, "F", {"inputs": {"x": [3, 4]}, "label": "7", "more": "unknown to the model"})),
        framed_message(1, message(new, "F", {"inputs": {"x": [4, 5]}, "more": "unknown to the schema"})),
    ]
    found = decoded(values, known)

    assert [str(one) for one in found.rejected] == []
    assert found.batch.inputs["x"].tolist() == [[1, 2], [2, 3], [3, 4], [4, 5]]
    labels = found.batch.labels
    assert isinstance(labels, ClassLabels)
    assert labels.names == ("7",)
    assert labels.codes.tolist() == [0, -1, 0, -1]


def test_the_indexes_before_a_message_say_which_of_the_schema_it_is() -> None:
    """Maps, which the compiler makes messages of, are not counted: they are none in the text."""
    schema = protobuf(VALUES)
    reader = ProtobufReader(schema.compiled)
    other, inner = message(schema, "shop.Other", {"label": "b"}), message(schema, "shop.Values.Inner", {"n": 3})

    assert json.loads(reader.json(b"\x02\x02" + other)) == {"label": "b"}
    assert json.loads(reader.json(b"\x04\x00\x00" + inner)) == {"n": 3, "within": None}
    assert json.loads(reader.json(b"\x02\x00")) == json.loads(reader.json(b"\x00"))


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "expected the indexes of a message"),
        (b"\x80", "expected the indexes of a message"),
        (b"\x80\x80\x80\x80\x80\x01", "expected the indexes of a message"),
        (b"\x01", "expected 1 to 32 message indexes, got -1"),
        (b"\xd0\x0f", "expected 1 to 32 message indexes, got 1000"),
        (b"\x02\x01", "expected a message index of at least 0, got -1"),
        (b"\x02\x0a", "the schema has no message of the indexes 5"),
        (b"\x04\x02\x00", "the schema has no message of the indexes 1, 0"),
        (b"\x00\xff", "no shop.Values"),
        (b"\x00\x7a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "shop.Values"),
    ],
)
def test_what_is_no_record_of_its_schema_is_refused(payload: bytes, text: str) -> None:
    found = decoded([framed(1, payload)], Known({1: protobuf(VALUES)}))

    (refused,) = found.rejected
    assert refused.reason == "malformed"
    assert refused.detail.startswith("schema 1: ")
    assert text in refused.detail


def test_a_moment_beyond_every_calendar_is_an_invalid_time() -> None:
    beyond = b"\x00\x7a\x0a\x08" + b"\xff" * 8 + b"\x7f"

    (refused,) = decoded([framed(1, beyond)], Known({1: protobuf(VALUES)})).rejected

    assert (refused.reason, "expected the years 1 to 9999" in refused.detail) == ("invalid_time", True)


def test_a_few_bytes_cannot_claim_any_number_of_fields() -> None:
    fields = " ".join(f"string f{n} = {n + 1};" for n in range(1000))
    schema = protobuf(f'syntax = "proto3"; message M {{ repeated I many = 1; }} message I {{ {fields} }}')

    with pytest.raises(Refused, match="at most 1000000 fields"):
        ProtobufReader(schema.compiled).json(b"\0" + b"\x0a\x00" * 1001)


def test_no_bytes_make_the_reader_raise_anything_else() -> None:
    schema = protobuf(VALUES)
    reader = ProtobufReader(schema.compiled)
    values = {"moment": "2026-01-02T03:04:05Z", "free": {"a": [1, "b"]}, "price": {"value": "BOI="}, "many": [1, 2]}
    good = b"\0" + message(schema, "shop.Values", values)

    for place in range(len(good)):
        for byte in range(0, 256, 3):
            with suppress(Refused):  # the only one that may come
                reader.json(good[:place] + bytes([byte]) + good[place + 1 :])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('syntax = "proto3"; message M { string x = 1; string x = 2; }', 'line 1:53: "x" is already defined'),
        ('syntax = "proto3"; import "nowhere.proto"; message M {}', "nowhere.proto: File not found"),
        ("message" + "{" * 100_000, "line 1:8: Expected message name"),
    ],
)
def test_a_schema_that_does_not_compile_is_kept_with_its_fault(text: str, fault: str) -> None:
    schema = compiled(RegisteredSchema("PROTOBUF", text))

    assert fault in schema.fault
    (refused,) = decoded([framed(1, b"\0")], Known({1: schema})).rejected
    assert refused.reason == "unknown_schema"
    assert refused.detail == f"schema 1: {schema.fault}"


@pytest.mark.parametrize("name", ["/etc/x.proto", "../x.proto", "a\nb.proto", "", "x" * 501, "y" * 250])
def test_an_import_that_leads_elsewhere_is_a_fault_and_no_file(name: str) -> None:
    schema = compiled(RegisteredSchema("PROTOBUF", 'syntax = "proto3";', ("text",), (name,)))

    assert "is no path of an import" in schema.fault


def test_an_import_beneath_another_is_a_fault() -> None:
    schema = compiled(RegisteredSchema("PROTOBUF", 'syntax = "proto3";', ("", ""), ("a", "a/b")))

    assert "the import 'a/b' is beneath another one" in schema.fault


def test_our_own_messages_framed_are_read_as_without_a_frame() -> None:
    plain = [b'{"id": "a", "inputs": {"x": [1, 2]}, "label": "c"}', b'{"inputs": {"x": [3, 4]}}']
    batch = decoded(plain, Known({})).batch
    file = thalweg_pb2.DESCRIPTOR
    from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

    files = [FileDescriptorProto.FromString(one.serialized_pb) for one in (*file.dependencies, file)]
    ours = RegisteredSchema("PROTOBUF", "", compiled=FileDescriptorSet(file=files).SerializeToString())
    names = list(file.message_types_by_name)
    whole = [framed_message(1, to_event_batch(batch), (names.index("EventBatch"),))]
    single = [framed_message(1, one, (names.index("Event"),)) for one in to_events(batch)]

    for values in (whole, single):
        found = decoded(values, Known({1: ours}))
        assert found.rejected == []
        assert found.batch.ids == ["a", None]
        assert found.batch.inputs["x"].tolist() == [[1, 2], [3, 4]]


def test_columns_and_fields_are_found_in_a_message_by_their_paths() -> None:
    columns = {
        one.name: one
        for one in (
            Column(name="n", kind="numeric", field="inner.n"),
            Column(name="colour", kind="categorical"),
            Column(name="maybe", kind="numeric"),
            Column(name="moment", kind="datetime"),
        )
    }
    schema = Schema(column_specs(columns), "class", columns=columns, fields=FieldMapping(label="one_label", id="text"))
    text = VALUES.replace("double number = 1;", "optional bool one_label = 1;")
    form = protobuf(text)
    values = {"inner": {"n": 3}, "colour": "RED", "text": "i-1", "oneLabel": False, "moment": "1970-01-01T00:00:10Z"}

    found = decoded([framed_message(1, message(form, "shop.Values", values))], Known({1: form}), schema)

    assert found.rejected == []
    assert found.batch.ids == ["i-1"]
    assert found.batch.inputs["n"].tolist() == [3.0]
    assert found.batch.inputs["colour"].tolist() == [b"RED"]
    assert found.batch.inputs["moment"].tolist() == [10.0]
    assert str(found.batch.inputs["maybe"].tolist()) == "[nan]"
    assert isinstance(found.batch.labels, ClassLabels)
    assert found.batch.labels.names == ("false",)
