"""Files of rows with named columns: CSV, Parquet, Arrow, JSON lines, standard input."""

from __future__ import annotations

import csv as csv_module
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.proto.event import Batch, ClassLabels, join
from thalweg.proto.rejected import Rejected
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.rows.ids import id_number
from thalweg.proto.schema import Schema, TensorSpec, column_specs
from thalweg.stream.sources.files import STANDARD_INPUT, CsvMapping, FileError, read_events
from thalweg.stream.sources.standard_input import readable_twice

COLUMNS = {
    column.name: column
    for column in (
        Column(name="amount", kind="numeric", field="order.total"),
        Column(name="country", kind="categorical"),
        Column(name="at", kind="datetime"),
        Column(name="tags", kind="list"),
    )
}
SCHEMA = Schema(column_specs(COLUMNS), columns=COLUMNS, fields=FieldMapping(label="is_fraud", id="payment"))
ROWS: list[dict[str, Any]] = [
    {"order": {"total": 12.5}, "country": "DE", "at": 1.7e9, "tags": ["a", "b"], "is_fraud": True, "payment": "p-1"},
    {"order": {"total": None}, "country": None, "at": None, "tags": None, "is_fraud": None, "payment": "p-2"},
    {"order": {"total": -1}, "country": "49", "at": 1.7e9, "tags": ["c"], "is_fraud": False, "payment": "p-3"},
]
CSV = (
    "order.total;country;at;tags;is_fraud;payment;note\r\n"
    '12.5;DE;2023-11-14T22:13:20Z;"[""a"",""b""]";True;p-1;x\r\n'
    ";;;;;p-2;\r\n"
    '-1;49.0;1700000000;c;FALSE;p-3;"two\r\nlines"\r\n'
)


def read(path: Path, schema: Schema = SCHEMA, mapping: CsvMapping | None = None, **options: Any) -> Any:
    notices: list[str] = []
    parts = list(read_events(path, schema, mapping, notice=notices.append, **options))
    rejected: list[Rejected] = [one for part in parts for one in part.rejected]
    return SimpleNamespace(batch=join([part.batch for part in parts]), rejected=rejected, notices=notices)


def check(batch: Batch) -> None:
    """That it is the three rows."""
    assert isinstance(batch.labels, ClassLabels)
    names = [*batch.labels.names, None]
    assert [names[code] for code in batch.labels.codes] == ["true", None, "false"]
    assert batch.ids == ["p-1", "p-2", "p-3"]
    np.testing.assert_array_equal(batch.inputs["amount"], [12.5, np.nan, -1])
    np.testing.assert_array_equal(batch.inputs["at"], [1.7e9, np.nan, 1.7e9])
    assert batch.inputs["country"].tolist() == [b"DE", b"", b"49"]
    assert batch.inputs["tags"].tolist() == [b'["a","b"]', b"", b'["c"]']
    assert batch.times.tolist() == [0, 1, 2]


def jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def csv(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + CSV.encode())


def csv_gz(path: Path) -> None:
    path.write_bytes(gzip.compress(CSV.encode()))


def tsv(path: Path) -> None:
    path.write_text(CSV.replace(";", "\t"))


def table() -> Any:
    pa = pytest.importorskip("pyarrow")
    at = pa.array(
        [datetime.fromtimestamp(1.7e9, UTC) if row["at"] else None for row in ROWS], pa.timestamp("ns", "UTC")
    )
    made = pa.Table.from_pylist([{name: value for name, value in row.items() if name != "at"} for row in ROWS])
    return made.append_column("at", at).append_column("note", pa.array(["x", "y", "z"]))


def parquet(path: Path) -> None:
    made = table()
    import pyarrow.parquet as pq

    pq.write_table(made, path)


def arrow_file(path: Path) -> None:
    made = table()
    import pyarrow as pa

    with pa.ipc.new_file(path, made.schema) as writer:
        writer.write_table(made)


def arrow_stream(path: Path) -> None:
    made = table()
    import pyarrow as pa

    with pa.ipc.new_stream(path, made.schema) as writer:
        writer.write_table(made)


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.jsonl", jsonl),
        ("rows.CSV", csv),
        ("rows.csv.GZ", csv_gz),
        ("rows.tsv", tsv),
        ("rows.parquet", parquet),
        ("rows.Arrow", arrow_file),
        ("rows.arrows", arrow_stream),
    ],
)
def test_every_kind_of_file_gives_the_same_rows(
    tmp_path: Path, name: str, write: Callable[[Path], None], chunk: int
) -> None:
    path = tmp_path / name
    write(path)

    found = read(path, mapping=CsvMapping(delimiter=";") if "csv" in name.lower() else None, chunk=chunk)

    assert found.rejected == []
    check(found.batch)
    assert found.notices == ([] if name.endswith(".jsonl") else ["columns not used: note"])


@pytest.mark.parametrize(("write", "suffix"), [(jsonl, ".jsonl"), (csv, ".csv")])
def test_standard_input_is_json_lines_or_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], suffix: str
) -> None:
    write(tmp_path / "rows")
    content = (tmp_path / "rows").read_bytes()
    mapping = CsvMapping(delimiter=";")

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    once = read(STANDARD_INPUT, mapping=mapping)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with readable_twice(STANDARD_INPUT) as path:
        twice = [read(path, mapping=mapping) for _ in range(2)]

    assert path.suffix == suffix
    assert not path.exists()
    for found in (once, *twice):
        assert found.rejected == []
        check(found.batch)


def test_what_the_command_line_names_comes_before_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("order.total,country,at,tags,other,who\n1,DE,,,x,7\n")

    found = read(path, mapping=CsvMapping(label="other", id="who"))

    assert (found.batch.ids, found.batch.labels.names) == (["7"], ("x",))


HEAD = "order.total,country,at,tags,is_fraud,payment"


@pytest.mark.parametrize(
    ("head", "mapping", "message"),
    [
        (
            HEAD.replace("total", "totl"),
            {},
            "no column 'order.total' for column 'amount' of the model; did you mean 'o",
        ),
        (HEAD.replace("is_", ""), {}, "no column 'is_fraud' for the label; did you mean 'fraud'"),
        (HEAD.removesuffix(",payment"), {}, "no column 'payment' for the id"),
        (HEAD, {"ignore": ["contry"]}, "no column 'contry' to ignore; did you mean 'country'"),
        (HEAD, {"ignore": ["at"]}, "column 'at' is to be ignored, and needed for column 'at'"),
        (HEAD, {"label": "fraud"}, "no column 'fraud' for the label; did you mean 'is_fraud'"),
        (HEAD.replace("tags", "country"), {}, "column 'country' appears twice"),
        (HEAD.replace(",", ";"), {}, "the header is one column, .*; is the delimiter ';'"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_the_nearest(
    tmp_path: Path, head: str, mapping: dict[str, Any], message: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(head + "\n")

    with pytest.raises(FileError, match=message):
        read(path, mapping=CsvMapping(**mapping))


def test_a_row_that_does_not_fit_is_named_by_line_and_column_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"order.total,country,at,tags,is_fraud,payment\n"
        b"twelve,DE,,,yes,1\n"
        b"12,DE,,,yes,2\n"
        b"12,DE,,\n"
        b"12,\xff,,,yes,3\n"
        b"inf,DE,,,yes,4\n"
        b"12,12e4,,,yes,007\n"
    )

    found = read(path)

    assert [(one.row, one.reason) for one in found.rejected] == [
        (2, "wrong_dtype"),
        (4, "wrong_shape"),
        (5, "malformed"),
        (6, "non_finite"),
    ]
    assert "column 'amount', numeric: expected a number, got the text 'twelve'" in found.rejected[0].detail
    assert found.batch.ids == ["2", "007"]
    assert found.batch.inputs["country"].tolist() == [b"DE", b"12e4"]


def test_columns_left_out_by_default_are_said_and_a_mistyped_one_to_ignore_is_refused(tmp_path: Path) -> None:
    schema = Schema({"x": TensorSpec("x", "float32", (2,))})
    path = tmp_path / "a.csv"
    path.write_text("t,a,b,label\n0,1,2,up\n")

    assert read(path, schema).notices == [
        "columns not used by default: t; to use them, say what to --ignore instead, or ''"
    ]
    assert read(path, schema, CsvMapping(ignore=["t"])).notices == []
    with pytest.raises(FileError, match="no column 'tt' to ignore; did you mean 't'"):
        read(path, schema, CsvMapping(ignore=["tt"]))


def test_a_field_mapping_without_columns_names_the_parts_of_a_csv_file(tmp_path: Path) -> None:
    schema = Schema(
        {"x": TensorSpec("x", "float32", (2,))}, fields=FieldMapping(label="y", time="made", time_unit="ms")
    )
    path = tmp_path / "a.csv"
    path.write_text("made,a,b,y\n1700000000000,1,2,up\n")

    batch = read(path, schema).batch

    assert batch.inputs["x"].tolist() == [[1, 2]]
    assert (batch.times.tolist(), batch.labels.names) == ([1.7e9], ("up",))


def test_parquet_has_the_input_of_a_model_without_columns_as_one_column_or_as_many(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    schema = Schema({"x": TensorSpec("x", "float32", (2,))})
    pq.write_table(pa.table({"x": [[1.0, 2.0]], "label": ["up"]}), tmp_path / "one.parquet")
    pq.write_table(pa.table({"a": [1.0], "b": [2.0], "label": ["up"]}), tmp_path / "many.parquet")

    for name in ("one", "many"):
        batch = read(tmp_path / f"{name}.parquet", schema).batch
        assert batch.inputs["x"].tolist() == [[1, 2]]
        assert batch.labels.names == ("up",)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.arrows"])
def test_a_damaged_file_of_arrow_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(b"nothing of the kind")

    with pytest.raises(FileError, match=name):
        read(tmp_path / name)


def test_a_column_that_no_row_has_is_said_once_all_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"country": "DE", "order": {}}\n{"country": null, "at": 5}\n')

    assert read(path, chunk=1).notices == [
        "column 'amount' has no value in any row; it is looked for as 'order.total'",
        "column 'tags' has no value in any row; it is looked for as 'tags'",
    ]


@pytest.mark.parametrize(("name", "write"), [("a.csv", csv), ("a.parquet", parquet)])
def test_columns_that_the_model_does_not_know_are_refused_on_request_unless_they_are_ignored(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    strict = replace(SCHEMA, fields=FieldMapping(label="is_fraud", id="payment", unknown="reject"))

    with pytest.raises(FileError, match='columns that the model does not know, with unknown = "reject": note'):
        read(tmp_path / name, strict, CsvMapping(delimiter=";"))
    check(read(tmp_path / name, strict, CsvMapping(delimiter=";", ignore=["note"])).batch)


def test_ids_in_a_csv_file_may_be_texts(tmp_path: Path) -> None:
    schema = Schema({name: TensorSpec(name, "int64", (), ids=True) for name in ("user", "item")}, "number")
    path = tmp_path / "a.csv"
    path.write_text("user,item,label\nalice,7,1\n7,7.0,0\n12e4,-3,true\n")

    found = read(path, schema, CsvMapping(inputs={"user": ["user"], "item": ["item"]}))

    assert found.rejected == []
    assert found.batch.inputs["user"].tolist() == [id_number("u", "alice"), 7, id_number("u", "12e4")]
    assert found.batch.inputs["item"].tolist() == [7, 7, -3]
    assert found.batch.labels.values.tolist() == [[1], [0], [1]]


CELLS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=6) | st.sampled_from(
    [
        "",
        "nan",
        "inf",
        "1e999",
        "-1e999",
        "12.5",
        "true",
        "[1,2]",
        '["a"]',
        "[",
        "[[1]]",
        "2024-01-01",
        "1e30",
        "9" * 5000,
    ]
)


@settings(max_examples=40)
@given(rows=st.lists(st.lists(CELLS, min_size=6, max_size=6), min_size=1, max_size=5))
def test_any_text_in_any_field_gives_a_value_or_a_reason_the_same_alone_and_together(
    rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def found(some: list[list[str]]) -> tuple[list[str], list[str]]:
        path = tmp_path_factory.mktemp("any") / "a.csv"
        text = io.StringIO()
        csv_module.writer(text).writerows([HEAD.split(","), *some])
        path.write_text(text.getvalue(), newline="")
        got = read(path)
        batch = got.batch
        values = [str([column[row] for column in batch.inputs.values()]) for row in range(len(batch))]
        return values, [one.reason for one in got.rejected]

    alone = [found([row]) for row in rows]

    assert found(rows) == ([one for part in alone for one in part[0]], [one for part in alone for one in part[1]])
