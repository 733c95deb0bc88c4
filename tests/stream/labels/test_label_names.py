"""A late label may have the names of the events' own fields, those of our form, or one of each."""

from __future__ import annotations

import json

import pytest

from thalweg.proto.rejected import Refused
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.labels.label_records import label_of

SCHEMA = Schema(
    {"x": TensorSpec("x", "float32", ())}, "class", fields=FieldMapping(id="payment.number", label="is_fraud")
)


@pytest.mark.parametrize(
    "record",
    [
        {"payment": {"number": "p-1"}, "is_fraud": "yes"},
        {"id": "p-1", "label": "yes"},
        {"id": "p-1", "is_fraud": "yes"},
        {"payment": {"number": "p-1"}, "label": "yes"},
        {"payment": {"number": "p-1"}, "id": "another", "is_fraud": "yes", "label": "no"},  # the events' own come first
    ],
)
def test_id_and_label_are_found_under_either_name(record: object) -> None:
    found = label_of(json.dumps(record).encode(), SCHEMA)

    assert (found.id, found.label) == ("p-1", "yes")


@pytest.mark.parametrize(
    "record", [{"id": "p-1"}, {"label": "yes"}, {"is_fraud": "yes"}, {}, {"fraud": 1, "number": 2}]
)
def test_a_record_without_one_of_them_is_told_what_is_wanted(record: object) -> None:
    with pytest.raises(Refused) as told:
        label_of(json.dumps(record).encode(), SCHEMA)

    assert '{"payment.number": …, "is_fraud": …}' in str(told.value)
