"""One value means one thing, whatever form its record comes in: the tables of docs/events.md, held to by every form.

A further form is one function in `FORMS`: it makes a record with the field `v`, and the field `label` if the case is
one of labels, and decodes it.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from thalweg.ops.notebook.batches import batch_of, inputs_of
from thalweg.ops.notebook.frames import FrameError
from thalweg.proto import thalweg_pb2 as pb
from thalweg.proto.columns import empty_batch
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch
from thalweg.proto.event import ClassLabels, Decoded
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rejected import Refused, Rejected
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, column_specs
from thalweg.stream.labels.label_records import label_of
from thalweg.stream.sources.files import read_events

MISSING = "missing"
Record = dict[str, Any]
Form = Callable[[Schema, Record, Path], list[Decoded]]


def decode(schema: Schema, value: bytes, headers: Headers = ()) -> list[Decoded]:
    return [Decoder(schema).decode(Records(Partition("t", 0), [0], [5.0], [None], [value], [headers]))]


def mapped(schema: Schema) -> Schema:
    return replace(schema, fields=FieldMapping())


def rows(schema: Schema, record: Record, folder: Path) -> list[Decoded]:
    return decode(mapped(schema), json.dumps(record).encode())


def own_form(schema: Schema, record: Record, folder: Path) -> list[Decoded]:
    own = {"inputs": {"v": record.get("v")}} | {name: value for name, value in record.items() if name != "v"}
    return decode(schema, json.dumps(own).encode())


def structured(schema: Schema, record: Record, folder: Path) -> list[Decoded]:
    envelope = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": record}
    said = decode(mapped(schema), json.dumps(envelope).encode())
    assert said[0].rejected or said[0].batch.ids == ["/s#1"]
    return said


def binary(schema: Schema, record: Record, folder: Path) -> list[Decoded]:
    headers = ((b"ce_id", b"1"), (b"ce_source", b"/s"), (b"ce_specversion", b"1.0"))
    return decode(mapped(schema), json.dumps(record).encode(), [(name.decode(), text) for name, text in headers])


def base64_data(schema: Schema, record: Record, folder: Path) -> list[Decoded]:
    data = base64.b64encode(json.dumps(record).encode()).decode()
    envelope = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data_base64": data}
    return decode(mapped(schema), json.dumps(envelope).encode(), [("content-type", b"application/json")])


def protobuf(schema: Schema, record: Record, folder: Path) -> list[Decoded]:
    event = pb.Event(weight=1)
    value, label = record.get("v"), record.get("label")
    if isinstance(label, bool):
        event.label_text = "true" if label else "false"  # it has texts and numbers
    elif isinstance(label, str):
        event.label_text = label
    elif label is not None:
        event.label_number = label
    kinds = {bool: ("BOOL", "bool"), int: ("INT64", "int64"), float: ("FP64", "fp64"), str: ("BYTES", "bytes")}
    if isinstance(value, list) and schema.columns["v"].length:
        tensor = event.inputs.add(name="v", datatype="FP64", shape=[len(value)])
        tensor.contents.fp64_contents.extend([np.nan if one is None else one for one in value])
    elif isinstance(value, list | dict):
        event.inputs.add(name="v", datatype="BYTES").contents.bytes_contents.append(json.dumps(value).encode())
    elif value is not None:
        datatype, field = kinds[type(value)]
        contents = event.inputs.add(name="v", datatype=datatype).contents
        getattr(contents, f"{field}_contents").append(value.encode() if isinstance(value, str) else value)
    return decode(schema, event.SerializeToString(), EVENT_HEADERS)


def event_batch(schema: Schema, record: Record, folder: Path) -> list[Decoded]:
    said = protobuf(schema, record, folder)
    return said if said[0].rejected else decode(schema, to_event_batch(said[0].batch), EVENT_BATCH_HEADERS)


def csv_file(schema: Schema, record: Record, folder: Path) -> list[Decoded]:
    text = io.StringIO()
    fields = [json.dumps(one) if isinstance(one, list | dict) else one for one in record.values()]
    csv.writer(text).writerows([list(record), fields])  # True is True, None is empty
    (folder / "a.csv").write_text(text.getvalue())
    return list(read_events(folder / "a.csv", schema))


def parquet(schema: Schema, record: Record, folder: Path) -> list[Decoded]:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: [value] for name, value in record.items()}), folder / "a.parquet")
    return list(read_events(folder / "a.parquet", schema))


def data_frame(schema: Schema, record: Record, folder: Path) -> list[Decoded]:
    frame = pd.DataFrame({name: pd.Series([value]) for name, value in record.items()})
    try:
        return [Decoded(batch_of(schema, inputs_of(schema, frame), frame.get("label")))]
    except FrameError as error:
        refused = error.__context__
        if not isinstance(refused, Refused):
            raise
        return [Decoded(empty_batch(schema), [Rejected(0, refused.reason, str(refused))])]


FORMS: dict[str, Form] = {
    form.__name__: form
    for form in (rows, own_form, structured, binary, base64_data, protobuf, event_batch, csv_file, parquet, data_frame)
}
CSV = ("csv_file",)


def outcome(parts: list[Decoded], label: bool) -> Any:
    """The value of the only event, or why it has none."""
    for part in parts:
        if part.rejected:
            return f"refused: {part.rejected[0].reason}"
        if len(part.batch):
            return _class_of(part) if label else _plain(part.batch.inputs["v"][0])
    raise AssertionError("neither an event nor a reason")


def _class_of(part: Decoded) -> str:
    assert isinstance(part.batch.labels, ClassLabels)
    code = part.batch.labels.codes[0]
    return MISSING if code < 0 else part.batch.labels.names[code]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode() or MISSING
    if isinstance(value, np.ndarray):
        return [None if np.isnan(one) else one for one in value.tolist()]
    return MISSING if np.isnan(value) else float(value)


COLUMNS = {
    "numeric": Column(name="v", kind="numeric"),
    "boolean": Column(name="v", kind="boolean"),
    "categorical": Column(name="v", kind="categorical"),
    "hashed": Column(name="v", kind="hashed"),
    "text": Column(name="v", kind="text"),
    "datetime": Column(name="v", kind="datetime"),
    "numbers": Column(name="v", kind="list", length=2),
    "texts": Column(name="v", kind="list"),
}
COLUMNS["infinite"] = Column(name="v", kind="numeric", missing_values=("inf",))
COLUMNS |= {
    f"{name} with markers": replace(column, missing_values=("?", "not given", "-999"))
    for name, column in COLUMNS.items()
}
WRONG = "refused: wrong_dtype"
Case = tuple[str, Any, Any, dict[str, Any]]
CASES: list[Case] = [
    # column, value, what becomes of it, and where a form differs because it has no such value
    ("numeric", 12.5, 12.5, {}),
    ("numeric", 3, 3.0, {}),
    *(("numeric", truth, WRONG, {}) for truth in (True, False, "true", "False")),
    ("numbers", [True, False], WRONG, {form: [1.0, 0.0] for form in ("protobuf", "event_batch")}),  # as doubles
    *(
        (kind, float("nan"), MISSING, {"csv_file": of_csv} if of_csv else {})
        for kind, of_csv in (
            *((kind, "") for kind in ("numeric", "boolean", "datetime")),
            *((kind, "nan") for kind in ("categorical", "hashed", "text")),
            ("texts", '["nan"]'),
        )
    ),
    ("numbers", [1.5, float("nan")], [1.5, None], {}),
    ("numeric", float("inf"), "refused: non_finite", {}),
    ("numeric", float("-inf"), "refused: non_finite", {}),
    ("infinite", float("inf"), MISSING, {}),
    ("infinite", float("-inf"), "refused: non_finite", {}),
    ("infinite", "Infinity", MISSING, {}),
    ("infinite", 12.5, 12.5, {}),
    ("numeric", "12.5", 12.5, {}),
    ("numeric", " 3 ", 3.0, {}),
    ("numeric", "nan", MISSING, {}),
    ("numeric", "N/A", MISSING, {}),
    ("numeric", "", MISSING, {}),
    ("numeric", None, MISSING, {}),
    ("numeric", "many", WRONG, {}),
    ("numeric", "1_000", WRONG, {}),
    ("numeric", "inf", "refused: non_finite", {}),
    ("boolean", True, 1.0, {}),
    ("boolean", False, 0.0, {}),
    ("boolean", 1, 1.0, {}),
    ("boolean", "no", 0.0, {}),
    ("boolean", "Yes", 1.0, {}),
    ("boolean", None, MISSING, {}),
    ("boolean", 2, WRONG, {}),
    ("boolean", "maybe", WRONG, {}),
    *((kind, value, name, {}) for kind in ("categorical", "hashed") for value, name in (
        (3, "3"), (3.0, "3"), ("3", "3"), (2.5, "2.5"), (True, "true"), (False, "false"), ("DE", "DE"), ("007", "007"),
        (" DE", " DE"), ("12e4", "12e4"), ("", MISSING), (None, MISSING), ("nan", "nan"),
    )),
    ("categorical", "3.0", "3.0", dict.fromkeys(CSV, "3")),
    ("categorical", "True", "True", dict.fromkeys(CSV, "true")),
    ("categorical", "x" * 1025, "refused: too_large", {}),
    ("hashed", "x" * 1025, "x" * 1025, {}),
    ("text", "two words", "two words", {}),
    ("text", 3.0, "3", dict.fromkeys(CSV, "3.0")),
    ("text", None, MISSING, {}),
    ("datetime", 1_700_000_000, 1.7e9, {}),
    ("datetime", 1_700_000_000_000, 1.7e9, {}),
    ("datetime", -86_400.0, -86_400.0, {}),
    ("datetime", "2023-11-14T22:13:20Z", 1.7e9, {}),
    ("datetime", "2023-11-14 23:13:20+01:00", 1.7e9, {}),
    ("datetime", "2023-11-14 22:13:20", 1.7e9, {}),
    ("datetime", "2023-11-14", 1_699_920_000.0, {}),
    ("datetime", "1700000000", 1.7e9, {}),
    ("datetime", None, MISSING, {}),
    ("datetime", "", MISSING, {}),
    ("datetime", "soon", WRONG, {}),
    ("datetime", 1e25, "refused: invalid_time", {}),
    ("numbers", [1, 2.5], [1.0, 2.5], {}),
    ("numbers", [1.5, None], [1.5, None], {}),
    ("numbers", None, [None, None], {}),
    ("numbers", [1], "refused: wrong_shape", {}),
    ("texts", ["a", "b"], '["a","b"]', {}),
    ("texts", [], "[]", {}),
    ("texts", "a", '["a"]', {}),
    ("texts", None, MISSING, {}),
    *((f"{kind} with markers", value, MISSING, {})
      for kind in ("numeric", "boolean", "categorical", "hashed", "text", "datetime", "texts")
      for value in ("?", " ? ", "not given", "-999", "", None)),
    *((f"{kind} with markers", value, MISSING, {})
      for kind in ("numeric", "boolean", "categorical", "hashed", "text", "datetime") for value in (-999, -999.0)),
    ("numeric with markers", "-999.0", MISSING, {}),
    ("numeric with markers", "n/a", MISSING, {}),
    ("numeric with markers", "??", WRONG, {}),
    ("numeric with markers", -998.5, -998.5, {}),
    ("boolean with markers", "yes", 1.0, {}),
    ("categorical with markers", "Not given", "Not given", {}),
    ("categorical with markers", "?!", "?!", {}),
    ("text with markers", "who? me", "who? me", {}),
    ("datetime with markers", "2023-11-14T22:13:20Z", 1.7e9, {}),
    ("numbers with markers", [1, -999], [1.0, None], {}),
    ("numbers with markers", "?", [None, None], dict.fromkeys(("protobuf", "event_batch"), WRONG)),
    ("texts with markers", ["a", "?", "b"], '["a","b"]', {}),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "case", CASES, ids=[f"{kind}-{str(value)[:20]!r}".replace("\\x00", "") for kind, value, _, _ in CASES]
)
def test_a_value_becomes_the_same_column_value_in_every_form(form: str, case: Case, tmp_path: Path) -> None:
    kind, value, expected, exceptions = case
    columns = {"v": COLUMNS[kind]}
    schema = Schema(column_specs(columns), columns=columns)

    found = outcome(FORMS[form](schema, {"v": value}, tmp_path), label=False)

    assert found == exceptions.get(form, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("label", "expected", "exceptions"),
    [
        (3, "3", {}),
        (3.0, "3", {}),
        ("3", "3", {}),
        (2.5, "2.5", {}),
        (True, "true", {}),
        (False, "false", {}),
        ("up", "up", {}),
        ("007", "007", {}),
        ("true", "true", {}),
        (None, MISSING, {}),
        (float("nan"), MISSING, {}),
        ("", MISSING, {}),
        ("NA", MISSING, {}),
        ("nan", MISSING, {}),
        ("NaN", MISSING, {}),
        ("null", MISSING, {}),
        ("None", MISSING, {}),
        ("<NA>", MISSING, {}),
        ("none", "none", {}),
        ("na", "na", {}),
        ("x" * 1025, "refused: bad_label", {}),
    ],
)
def test_a_value_names_the_same_class_in_every_form(
    form: str, label: Any, expected: str, exceptions: dict[str, str], tmp_path: Path
) -> None:
    columns = {"v": COLUMNS["numeric"]}
    schema = Schema(column_specs(columns), columns=columns)

    found = outcome(FORMS[form](schema, {"v": 1.0, "label": label}, tmp_path), label=True)

    assert found == exceptions.get(form, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("NA", "NA"),
        ("None", MISSING),
        (None, MISSING),
        ("", MISSING),
        (True, "True"),
        (1, "1"),
        (1.0, "1"),
        ("1", "1"),
        ("ok", "ok"),
        ("OK", "refused: bad_label"),
        ("okk", "refused: bad_label"),
        (0, "refused: bad_label"),
    ],
)
def test_where_classes_are_declared_a_label_names_one_of_them_or_none_in_every_form(
    form: str, label: Any, expected: str, tmp_path: Path
) -> None:
    columns = {"v": COLUMNS["numeric"]}
    schema = Schema(column_specs(columns), columns=columns, classes=("NA", "True", "1", "ok"))

    assert outcome(FORMS[form](schema, {"v": 1.0, "label": label}, tmp_path), label=True) == expected


@pytest.mark.parametrize("classes", [(), ("ok", "NA")])
@pytest.mark.parametrize("label", [None, "", "nan", "NA", "okk", "ok"])
@pytest.mark.parametrize("fields", [None, FieldMapping()])
def test_a_late_label_is_held_to_the_same_rule(
    label: Any, classes: tuple[str, ...], fields: FieldMapping | None
) -> None:
    schema = replace(Schema(column_specs({"v": COLUMNS["numeric"]}), classes=classes), fields=fields)
    good = label in (classes or ("ok", "okk"))
    value = json.dumps({"id": "e", "label": label}).encode()

    if good:
        assert label_of(value, schema) == ("e", label)
    else:
        with pytest.raises(Refused) as raised:
            label_of(value, schema)
        assert raised.value.reason == "bad_label"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("label", [None, "", "NA", "nan", "null", "None"])
def test_a_number_that_is_missing_is_no_label_in_every_form(form: str, label: Any, tmp_path: Path) -> None:
    columns = {"v": COLUMNS["numeric"]}
    schema = Schema(column_specs(columns), "number", columns=columns)

    (part,) = [part for part in FORMS[form](schema, {"v": 1.0, "label": label}, tmp_path) if len(part.batch)]

    assert part.rejected == []
    assert part.batch.labels is not None
    assert not part.batch.labels.present.any()
