"""JSON records of the user's own making."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.proto.decode import Decoder
from thalweg.proto.event import Batch, ClassLabels, Decoded, NumberLabels
from thalweg.proto.records import Partition, Records
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, TensorSpec, column_specs

COLUMNS = {
    column.name: column
    for column in (
        Column(name="amount", kind="numeric", field="order.total"),
        Column(name="sku", kind="categorical", field="items[0].sku"),
        Column(name="ok", kind="boolean"),
        Column(name="created", kind="datetime"),
        Column(name="tags", kind="list"),
        Column(name="place", kind="list", length=2),
        Column(name="agent", kind="hashed"),
    )
}
FIELDS = FieldMapping(label="is_fraud", id="payment.id", time="created", key="customer")
MAPPED = Schema(column_specs(COLUMNS), columns=COLUMNS, fields=FIELDS)
UNMAPPED = Schema(column_specs(COLUMNS), columns=COLUMNS)
ROW: dict[str, Any] = {
    "order": {"total": 12.5, "currency": "EUR"},
    "items": [{"sku": 3}, {"sku": "b"}],
    "ok": "yes",
    "created": 1_700_000_000_000,
    "tags": ["new", 2],
    "place": [52.5, None],
    "agent": "curl",
    "is_fraud": True,
    "payment": {"id": 7},
    "customer": "c-1",
    "nobody": {"asks": [[[1]]]},
}


def decode(schema: Schema, rows: list[Any]) -> Decoded:
    values = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    n = len(values)
    return Decoder(schema).decode(Records(Partition("t", 0), range(n), [5.0] * n, [None] * n, values, [()] * n))


def only(schema: Schema, row: Any) -> Batch:
    decoded = decode(schema, [row])
    assert decoded.rejected == []
    return decoded.batch


def why(schema: Schema, row: Any) -> tuple[str, str]:
    decoded = decode(schema, [row])
    assert len(decoded.batch) == 0
    (rejected,) = decoded.rejected
    return rejected.reason, rejected.detail


def test_parts_and_columns_are_found_at_their_paths() -> None:
    batch = only(MAPPED, ROW)

    assert isinstance(batch.labels, ClassLabels)
    assert (batch.labels.names, batch.ids, batch.keys) == (("true",), ["7"], ["c-1"])
    assert batch.times.tolist() == [1.7e9]
    assert {name: column.tolist() for name, column in batch.inputs.items() if name != "place"} == {
        "amount": [12.5],
        "sku": [b"3"],
        "ok": [1.0],
        "created": [1.7e9],
        "tags": [b'["new","2"]'],
        "agent": [b"curl"],
    }
    np.testing.assert_array_equal(batch.inputs["place"], [[52.5, np.nan]])


def test_a_name_that_holds_the_whole_path_is_found_first() -> None:
    row = {"order.total": 1, "order": {"total": 2}, "payment.id": "literal", "payment": {"id": "nested"}}

    batch = decode(MAPPED, [row, {"order": {"total": 2}, "payment": {"id": "nested"}}]).batch

    assert batch.inputs["amount"].tolist() == [1, 2]
    assert batch.ids == ["literal", "nested"]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"order": None, "items": None, "ok": None, "tags": None, "place": None, "agent": None, "created": None},
        {"order": {}, "items": [], "ok": "", "tags": "", "place": "", "agent": "", "created": ""},
        {"order": {"total": ""}, "items": [None]},
        {"order": {"total": "NaN"}, "items": [{}], "ok": "n/a"},
    ],
)
def test_what_is_missing_is_missing_and_no_error(row: dict[str, Any]) -> None:
    batch = only(MAPPED, row)

    assert all(np.isnan(batch.inputs[name]).all() for name in ("amount", "ok", "created", "place"))
    assert all(batch.inputs[name].tolist() == [b""] for name in ("sku", "tags", "agent"))
    assert (batch.times.tolist(), batch.ids, batch.keys) == ([5.0], None, None)


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (
            {"order": {"total": "twelve"}},
            "wrong_dtype",
            "column 'amount', numeric: expected a number, got the text 'twelve'",
        ),
        ({"order": {"total": [1, 2]}}, "wrong_dtype", "column 'amount', numeric: expected a number, got a list"),
        ({"order": {"total": "1e999"}}, "non_finite", "column 'amount', numeric: expected a finite number"),
        ({"order": {"total": "-inf"}}, "non_finite", "column 'amount', numeric: expected a finite number"),
        ({"order": {"total": 10**400}}, "non_finite", "column 'amount', numeric: expected a finite number"),
        ({"order": {"total": "1_000"}}, "wrong_dtype", "expected a number"),
        ({"order": 3}, "wrong_dtype", "field 'order': expected an object, got the number 3"),
        ({"items": {"sku": 1}}, "wrong_dtype", "field 'items': expected a list, got an object"),
        ({"items": [{"sku": {"a": 1}}]}, "wrong_dtype", "column 'sku', categorical: expected a text"),
        ({"items": [{"sku": "x" * 1025}]}, "too_large", "column 'sku': expected a category of at most 1024 bytes"),
        ({"agent": "x" * ((1 << 20) + 1)}, "too_large", "column 'agent': expected a text of at most 1048576 bytes"),
        ({"ok": 2}, "wrong_dtype", "column 'ok', boolean: expected true or false, got the number 2"),
        ({"created": "soon"}, "wrong_dtype", "column 'created', datetime: expected a number or a time in RFC 3339"),
        ({"tags": {"a": 1}}, "wrong_dtype", "column 'tags', list: expected a list of texts, got an object"),
        ({"tags": [["a"]]}, "wrong_dtype", "column 'tags', list"),
        ({"place": [1]}, "wrong_shape", "column 'place': expected a list of 2 numbers, got 1"),
        ({"place": [1, "x"]}, "wrong_dtype", "column 'place', list: expected a number, got the text 'x'"),
        ({"place": [1, "inf"]}, "non_finite", "column 'place', list: expected finite numbers, got the text 'inf'"),
        ({"is_fraud": [1]}, "bad_label", "label"),
        ({"payment": {"id": []}}, "bad_id", "id: expected a text or a number, got a list"),
        ({"customer": {}}, "bad_key", "key: expected a text or a number, got an object"),
        ({"weight": "heavy"}, "bad_weight", "weight: expected a finite number of at least 0, got the text 'heavy'"),
        ({"weight": -1}, "bad_weight", "weight"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], reason: str, words: str) -> None:
    found, detail = why(MAPPED, ROW | change)

    assert found == reason
    assert words in detail


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"[1]", "malformed"),
        (b'"text"', "malformed"),
        (b"{", "malformed"),
        (b'{"order": {"total": Infinity}}', "non_finite"),
        (b'{"order": {"total": 1e999}, "ok": NaN}', "non_finite"),
        (b'{"amount": NaN', "malformed"),
        (b'{"nobody": ' + b"[" * 65 + b"]" * 65 + b"}", "malformed"),
        (b'{"agent": "\\ud800"}', "malformed"),
        (b'{"agent": "\xff"}', "malformed"),
    ],
)
def test_what_is_no_json_object_is_refused(text: bytes, reason: str) -> None:
    assert why(MAPPED, text)[0] == reason


def test_a_byte_order_mark_says_nothing() -> None:
    assert only(MAPPED, b"\xef\xbb\xbf" + json.dumps(ROW).encode()).ids == ["7"]


def test_unknown_fields_are_refused_by_name_on_request() -> None:
    strict = Schema(
        column_specs(COLUMNS), columns=COLUMNS, fields=FieldMapping(label="is_fraud", id="payment.id", unknown="reject")
    )
    known = {"order": {"total": 1}, "is_fraud": 1, "payment": {"id": 1}}

    assert len(only(strict, known)) == 1
    assert "'nobody'" in why(strict, known | {"nobody": 1})[1]
    assert "'order.currency'" in why(strict, known | {"order": {"total": 1, "currency": "EUR"}})[1]
    assert why(strict, known | {"nobody": 1})[0] == "unknown_input"


def test_without_a_mapping_columns_stand_in_inputs_by_name_or_beside_our_fields() -> None:
    own = {"id": 1, "label": "a", "inputs": {"amount": 2, "ok": False, "sku": None}}
    row = {"id": 2, "label": "b", "order": {"total": 3}, "ok": True}

    decoded = decode(UNMAPPED, [own, row, own])

    assert decoded.rejected == []
    assert decoded.batch.ids == ["1", "2", "1"]
    assert decoded.batch.inputs["amount"].tolist() == [2, 3, 2]
    assert decode(UNMAPPED, [row, row]).batch.inputs["ok"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": "a"}, "missing_input"),
        ({"inputs": None}, "missing_input"),
        ({"inputs": [1]}, "wrong_dtype"),
        ({"inputs": {"amont": 1}}, "unknown_input"),
    ],
)
def test_without_a_mapping_a_record_without_columns_is_refused(row: dict[str, Any], reason: str) -> None:
    assert why(UNMAPPED, row)[0] == reason


def test_a_column_with_the_name_of_a_part_is_that_part_only_where_it_is_said() -> None:
    columns = {"weight": Column(name="weight", kind="numeric")}

    usual = only(Schema(column_specs(columns), columns=columns), {"weight": 70.5})
    said = only(Schema(column_specs(columns), columns=columns, fields=FieldMapping()), {"weight": 70.5})

    assert (usual.inputs["weight"].tolist(), usual.weights.tolist()) == ([70.5], [1.0])
    assert (said.inputs["weight"].tolist(), said.weights.tolist()) == ([70.5], [70.5])


def test_inputs_that_are_no_columns_stand_under_their_name() -> None:
    schema = Schema({"x": TensorSpec("x", "float32", (2,))}, fields=FieldMapping(label="y"))

    batch = only(schema, {"x": [1, 2.5], "y": 3})

    assert batch.inputs["x"].dtype == np.float32
    assert batch.inputs["x"].tolist() == [[1, 2.5]]
    assert why(schema, {"y": 3}) == ("missing_input", "input 'x': missing")
    assert why(schema, {"x": [1], "y": 3})[0] == "wrong_shape"
    assert why(schema, {"x": [1, "a"], "y": 3})[0] == "wrong_dtype"
    assert why(schema, {"x": [1, 1e39], "y": 3})[0] == "non_finite"


@pytest.mark.parametrize(
    ("unit", "given", "seconds"),
    [
        ("auto", 1.7e9, 1.7e9),
        ("auto", 1_700_000_000_000_000, 1.7e9),
        ("auto", -86_400, -86_400),
        ("ms", -86_400_000, -86_400),
        ("ns", 1_700_000_000_000_000_000, 1.7e9),
        ("s", "1700000000", 1.7e9),
        ("rfc3339", "2023-11-14T22:13:20Z", 1.7e9),
        ("auto", "2023-11-14 22:13:20", 1.7e9),
        ("auto", "1969-12-31", -86_400),
    ],
)
def test_a_datetime_column_takes_numbers_by_unit_and_texts_also_before_1970(
    unit: Any, given: Any, seconds: float
) -> None:
    columns = {"at": Column(name="at", kind="datetime", unit=unit)}

    batch = only(Schema(column_specs(columns), columns=columns), {"at": given})

    assert batch.inputs["at"].tolist() == [seconds]


@pytest.mark.parametrize(
    ("unit", "given", "words"),
    [
        (
            "s",
            1_700_000_000_000,
            "expected s from 0 (1970), got 1700000000000, in the year 55841; as ms it is in 2024: is the unit 'ms'?",
        ),
        ("ms", 1_700_000_000, "as s it is in 2024"),
        ("us", 1_700_000_000_000, "as ms it is in 2024"),
        ("s", 1e30, "expected s from 0 (1970)"),
        ("ms", -1, "expected ms from 0 (1970)"),
        ("rfc3339", 1_700_000_000, "expected RFC 3339"),
        ("auto", True, "expected a number or RFC 3339, got True"),
    ],
)
def test_an_implausible_time_is_refused_with_the_unit_that_it_suggests(unit: Any, given: Any, words: str) -> None:
    schema = Schema(column_specs(COLUMNS), columns=COLUMNS, fields=FieldMapping(time="at", time_unit=unit))

    assert words in why(schema, {"at": given})[1]


@pytest.mark.parametrize(
    ("label", "number"), [(True, 1.0), (False, 0.0), ("0.5", 0.5), (3, 3.0), ([1], 1.0), (None, np.nan), ("", np.nan)]
)
@pytest.mark.parametrize("fields", [None, FieldMapping()])
def test_a_label_that_is_a_number_may_be_a_truth_value_or_a_text(
    label: Any, number: float, fields: FieldMapping | None
) -> None:
    schema = Schema(column_specs(COLUMNS), "number", columns=COLUMNS, fields=fields)

    labels = only(schema, {"ok": True, "label": label}).labels

    assert isinstance(labels, NumberLabels)
    np.testing.assert_array_equal(labels.values, [[number]])


@pytest.mark.parametrize("label", ["many", [1, 2], {"a": 1}, ["x"], "inf", 10**400])
def test_a_label_that_is_no_number_is_refused(label: Any) -> None:
    schema = Schema(column_specs(COLUMNS), "number", columns=COLUMNS, fields=FieldMapping())

    assert why(schema, {"ok": True, "label": label})[0] == "bad_label"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["12.5", "nan", "yes", "2024-01-01", "[1,2]", "[", "-inf", "1e999"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["total", "sku", "id", "x"]), inner),
    max_leaves=6,
)
NAMES = ["order", "order.total", "items", "ok", "created", "tags", "place", "agent", "is_fraud", "payment", "customer"]


@given(rows=st.lists(st.dictionaries(st.sampled_from([*NAMES, "weight", "inputs", "label"]), JSON), max_size=6))
@pytest.mark.parametrize("schema", [MAPPED, UNMAPPED], ids=["mapped", "unmapped"])
def test_any_json_gives_a_value_or_a_reason_the_same_alone_and_together(schema: Schema, rows: list[Any]) -> None:
    together = decode(schema, rows)
    alone = [decode(schema, [row]) for row in rows]

    assert [one.reason for one in together.rejected] == [one.reason for part in alone for one in part.rejected]
    kept = [part.batch for part in alone if len(part.batch)]
    assert len(together.batch) == len(kept)
    for row, one in enumerate(kept):
        for name, column in one.inputs.items():
            np.testing.assert_array_equal(together.batch.inputs[name][row], column[0])
        assert together.batch.times[row] == one.times[0]
        assert (together.batch.ids or [None] * 9)[row] == (one.ids or [None])[0]


@pytest.mark.parametrize("place", [0, 20, 39])
def test_a_row_that_is_too_deep_is_refused_wherever_it_stands_among_many(place: int) -> None:
    lists = [b'{"ok": true, "unasked": %b}' % (b"[" * depth + b"]" * depth) for depth in (62, 63, 64)]
    rows: list[Any] = [lists[0]] * 40
    rows[place] = lists[2]

    decoded = decode(MAPPED, [*rows, lists[1], b'{"ok": true, "text": "' + b"[" * 90 + b'"}'])

    assert [(one.row, one.reason) for one in decoded.rejected] == [(place, "malformed")]
    assert len(decoded.batch) == 41
