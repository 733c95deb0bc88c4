"""NaN and infinities in JSON, which it has not: what strict parsers make of them, and what is left alone."""

from __future__ import annotations

import json
import math

import pytest

from thalweg.proto.bounds.json_numbers import strict_json
from thalweg.proto.decode import Decoder
from thalweg.proto.event import ClassLabels, Decoded
from thalweg.proto.records import Partition, Records
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, TensorSpec, column_specs
from thalweg.stream.labels.label_records import label_of

COLUMNS = {"kg": Column(name="kg", kind="numeric"), "note": Column(name="note", kind="hashed")}


def decoded(schema: Schema, *values: str) -> Decoded:
    texts = [value.encode() for value in values]
    count = len(texts)
    return Decoder(schema).decode(
        Records(Partition("t", 0), range(count), [5.0] * count, [None] * count, texts, [()] * count)
    )


@pytest.mark.parametrize(
    ("text", "strict"),
    [
        ('{"a": NaN, "b": [NaN, -Infinity]}', '{"a": null, "b": [null, -1e999]}'),
        ('{"NaN": "Infinity", "b": "a \\" NaN", "c": "\\\\"}', '{"NaN": "Infinity", "b": "a \\" NaN", "c": "\\\\"}'),
        ('{"a": "x\\\\", "b": NaN}', '{"a": "x\\\\", "b": null}'),
    ],
)
def test_numbers_outside_of_texts_are_replaced_and_nothing_else(text: str, strict: str) -> None:
    assert strict_json(text.encode()).decode() == strict


def test_a_field_that_nobody_asked_for_may_hold_what_json_has_not() -> None:
    schema = Schema(column_specs(COLUMNS), columns=COLUMNS, fields=FieldMapping())

    found = decoded(
        schema,
        *(json.dumps({"kg": number, "note": "NaN", "other": number}) for number in (1.5, math.nan)),
        json.dumps({"kg": 2.0, "note": "a", "other": math.inf}),
    )

    assert found.rejected == []
    assert found.batch.inputs["kg"].tolist() == pytest.approx([1.5, math.nan, 2.0], nan_ok=True)
    assert found.batch.inputs["note"].tolist() == [b"NaN", b"NaN", b"a"]


def test_a_tensor_takes_no_nan_and_its_label_may_be_one() -> None:
    schema = Schema({"x": TensorSpec("x", "float32", (2,))})

    found = decoded(schema, '{"inputs": {"x": [1, 2]}, "label": NaN}', '{"inputs": {"x": [1, NaN]}, "label": "a"}')

    assert len(found.batch) == 1
    assert isinstance(found.batch.labels, ClassLabels)
    assert found.batch.labels.codes.tolist() == [-1]
    assert [(one.row, one.reason) for one in found.rejected] == [(1, "non_finite")]
    assert "NaN" in found.rejected[0].detail


@pytest.mark.parametrize("fields", [None, FieldMapping()])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_late_label_may_stand_beside_one(fields: FieldMapping | None, number: str) -> None:
    schema = Schema(column_specs(COLUMNS), columns=COLUMNS, fields=fields)

    assert label_of(f'{{"id": "e", "label": "a", "score": {number}}}'.encode(), schema) == ("e", "a")


def test_an_infinity_is_refused_by_the_name_of_its_column() -> None:
    schema = Schema(column_specs(COLUMNS), columns=COLUMNS, fields=FieldMapping())

    (one,) = decoded(schema, '{"kg": -Infinity}').rejected

    assert one.reason == "non_finite"
    assert "'kg'" in one.detail
