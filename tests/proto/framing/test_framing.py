"""Records framed for a schema registry: what they hold, by the schema that each was written with."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import struct
import uuid
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from thalweg.proto.decode import Decoder
from thalweg.proto.event import Decoded
from thalweg.proto.framing.avro import AvroReader, SchemaInvalid
from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.proto.records import Partition, Records
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import Schema, TensorSpec

fastavro = pytest.importorskip("fastavro", reason="fastavro is not installed; run: pip install 'thalweg[registry]'")

CLASSES = Schema({"x": TensorSpec("x", "float32", (2,))}, "class")
INNER = {"type": "record", "name": "In", "fields": [{"name": "x", "type": {"type": "array", "items": "double"}}]}
LABELLED = {
    "type": "record",
    "name": "E",
    "fields": [{"name": "inputs", "type": INNER}, {"name": "label", "type": "string"}],
}
BARE = {"type": "record", "name": "E", "fields": [{"name": "inputs", "type": INNER}]}


class Known:
    """Schemas by id; those of `later` only from an offset on."""

    keys = False

    def __init__(self, schemas: dict[int, RegisteredSchema], later: dict[int, int] | None = None) -> None:
        self._schemas, self._later = schemas, later or {}

    def find(self, id: int, partition: Partition, offset: int) -> RegisteredSchema | None:
        return self._schemas.get(id) if offset >= self._later.get(id, 0) else None


def avro(schema: object) -> RegisteredSchema:
    return RegisteredSchema("AVRO", json.dumps(schema))


def written(schema: object, value: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return stream.getvalue()


def framed(id: int, payload: bytes) -> bytes:
    return struct.pack(">BI", 0, id) + payload


def decoded(values: list[bytes], known: Known, schema: Schema = CLASSES) -> Decoded:
    count = len(values)
    run = Records(Partition("t", 0), range(count), [1.7e9] * count, [None] * count, values, [()] * count)
    return Decoder(schema, schemas=known).decode(run)


KNOWN = Known(
    {
        1: avro(LABELLED),
        2: avro(BARE),
        3: RegisteredSchema("JSON", '{"type": "object"}'),
        4: RegisteredSchema("XML", "<schema/>"),
        5: RegisteredSchema("AVRO", '{"type": "nothing"}'),
    }
)


def test_schemas_change_from_record_to_record_and_plain_ones_stand_between() -> None:
    plain = json.dumps({"inputs": {"x": [3, 4]}, "label": "c"}).encode()
    values = [
        framed(1, written(LABELLED, {"inputs": {"x": [1, 2]}, "label": "a"})),
        framed(2, written(BARE, {"inputs": {"x": [2, 3]}})),
        plain,
        framed(3, json.dumps({"inputs": {"x": [4, 5]}, "label": "d"}).encode()),
    ]

    found = decoded(values, KNOWN)

    assert found.rejected == []
    assert found.batch.inputs["x"].tolist() == [[1, 2], [2, 3], [3, 4], [4, 5]]
    labels = found.batch.labels
    assert labels is not None
    assert labels.present.tolist() == [True, False, True, True]  # a schema without a label: events without one


@pytest.mark.parametrize(
    ("value", "reason", "text"),
    [
        (framed(9, b"\x02"), "unknown_schema", "the schema registry has no schema 9"),
        (framed(4, b"\x00"), "unknown_schema", "schema 4 is XML: expected AVRO, JSON or PROTOBUF"),
        (framed(5, b"\x00"), "unknown_schema", "schema 5: no Avro schema"),
        (b"\x00\x00\x00", "malformed", "expected a zero byte and a schema id of 4 bytes, got 3 bytes"),
        (framed(1, b""), "malformed", "schema 1: no Avro record of it"),
        (framed(2, written(BARE, {"inputs": {"x": [2, 3]}}) + b"more"), "malformed", "schema 2: 4 bytes are left"),
        (framed(2, written(BARE, {"inputs": {"x": [2, float("inf")]}})), "non_finite", ""),
        (framed(3, b"[1"), "malformed", ""),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_id_and_holds_no_other_up(value: bytes, reason: str, text: str) -> None:
    good = framed(1, written(LABELLED, {"inputs": {"x": [1, 2]}, "label": "a"}))

    found = decoded([good, value, good], KNOWN)

    assert [(one.row, one.reason) for one in found.rejected] == [(1, reason)]
    assert text in found.rejected[0].detail
    assert len(found.batch) == 2


def test_an_id_that_became_known_is_unknown_only_to_the_records_before() -> None:
    value = framed(1, written(LABELLED, {"inputs": {"x": [1, 2]}, "label": "a"}))

    found = decoded([value, value, value], Known({1: avro(LABELLED)}, later={1: 2}))

    assert [one.row for one in found.rejected] == [0, 1]
    assert len(found.batch) == 1


class KnownWithKeys(Known):
    keys = True


def test_a_framed_key_is_the_bytes_that_it_is_unless_keys_are_read_by_their_schemas() -> None:
    schemas = {
        1: avro("string"),
        2: RegisteredSchema("JSON", "{}"),
        3: avro("long"),
        4: avro(INNER),
    }
    value = json.dumps({"inputs": {"x": [1, 2]}}).encode()
    keys = [
        framed(1, written("string", "é")),
        framed(2, b'"j"'),
        framed(3, written("long", 7)),
        framed(1, written("string", "")),
        b"plain",
        None,
        framed(4, written(INNER, {"x": []})),
        framed(2, b"[1"),
        framed(9, b"x"),
        b"\0\0",
    ]
    count = len(keys)
    run = Records(Partition("t", 0), range(count), [1.7e9] * count, keys, [value] * count, [()] * count)

    raw, read = (Decoder(CLASSES, schemas=known(schemas)).decode(run) for known in (Known, KnownWithKeys))

    assert raw.rejected == []
    assert raw.batch.keys is not None
    assert raw.batch.keys[1] == '\x00\x00\x00\x00\x02"j"'
    assert read.batch.keys == ["é", "j", "7", None, "plain", None]
    assert [(one.row, one.reason) for one in read.rejected] == [
        (6, "bad_key"),
        (7, "bad_key"),
        (8, "unknown_schema"),
        (9, "bad_key"),
    ]
    assert all(one.detail.startswith("key: ") for one in read.rejected)


def test_without_a_registry_a_framed_record_is_malformed_as_ever() -> None:
    value = framed(1, written(LABELLED, {"inputs": {"x": [1, 2]}, "label": "a"}))
    run = Records(Partition("t", 0), [0], [1.7e9], [None], [value], [()])

    assert [one.reason for one in Decoder(CLASSES).decode(run).rejected] == ["malformed"]


@pytest.mark.parametrize(
    ("kind", "value", "json_value"),
    [
        ({"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}, decimal.Decimal("12.50"), 12.5),
        (
            {"type": "long", "logicalType": "timestamp-millis"},
            dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
            "2026-01-02T03:04:05+00:00",
        ),
        (
            {"type": "long", "logicalType": "timestamp-micros"},
            dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
            "2026-01-02T03:04:05.000006+00:00",
        ),
        ({"type": "int", "logicalType": "date"}, dt.date(2026, 1, 2), "2026-01-02"),
        ({"type": "string", "logicalType": "uuid"}, uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        ({"type": "long", "logicalType": "light-years"}, 7, 7),
        ({"type": "string", "logicalType": "iban"}, "DE02", "DE02"),
        (["null", {"type": "double", "logicalType": "light-years"}], 7.5, 7.5),
        ({"type": "array", "items": {"type": "int", "logicalType": "iban"}}, [1], [1]),
        ({"type": "string", "logicalType": "timestamp-millis"}, "of another type", "of another type"),
        ({"type": "bytes", "logicalType": "decimal"}, b"\x05", "\x05"),
        ({"type": "fixed", "size": 12, "name": "D", "logicalType": "duration"}, b"\xff" * 12, "/" * 16),
        ({"type": "int", "logicalType": 7}, 7, 7),
        (
            {"type": "long", "logicalType": "local-timestamp-millis"},
            dt.datetime(2026, 1, 2, 3, 4, 5),
            "2026-01-02T03:04:05+00:00",
        ),
        (["null", "double"], None, None),
        (["null", "double"], float("nan"), None),
        ({"type": "enum", "name": "Colour", "symbols": ["RED"]}, "RED", "RED"),
        ("bytes", b"text", "text"),
        ({"type": "map", "values": "int"}, {"a": 1}, {"a": 1}),
    ],
)
def test_a_value_of_avro_is_the_json_value_that_means_the_same(kind: Any, value: Any, json_value: Any) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "v", "type": kind}]}

    found = AvroReader(json.dumps(schema)).json(written(schema, {"v": value}))

    assert json.loads(found) == {"v": json_value}


def test_a_schema_may_name_others() -> None:
    outer = {"type": "record", "name": "O", "fields": [{"name": "inputs", "type": "In"}]}
    whole = {"type": "record", "name": "O", "fields": [{"name": "inputs", "type": INNER}]}

    found = AvroReader(json.dumps(outer), [json.dumps(INNER)]).json(written(whole, {"inputs": {"x": [1.0]}}))

    assert json.loads(found) == {"inputs": {"x": [1.0]}}


def test_no_bytes_make_the_reader_raise_anything_else() -> None:
    reader = AvroReader(json.dumps(LABELLED))
    good = written(LABELLED, {"inputs": {"x": [1, 2]}, "label": "a"})

    for place in range(len(good)):
        for byte in range(0, 256, 5):
            changed = good[:place] + bytes([byte]) + good[place + 1 :]
            with suppress(Refused):  # the only one that may come
                reader.json(changed)


@pytest.mark.parametrize(
    ("items", "read"),
    [
        ("null", False),
        ({"type": "record", "name": "Empty", "fields": []}, False),
        ({"type": "fixed", "name": "None", "size": 0}, False),
        ({"type": "array", "items": {"type": "map", "values": "null"}}, True),
        (["null"], True),
        ({"type": "record", "name": "One", "fields": [{"name": "b", "type": "boolean"}]}, True),
    ],
)
def test_arrays_of_items_without_bytes_are_not_read_because_a_few_bytes_claim_any_number(
    items: Any, read: bool
) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": items}}]}

    with nullcontext() if read else pytest.raises(SchemaInvalid, match="items that take no bytes"):
        AvroReader(json.dumps(schema))
