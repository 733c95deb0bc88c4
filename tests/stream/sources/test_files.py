"""Files as streams: JSON lines and CSV, whole or damaged."""

from __future__ import annotations

import gzip
import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from thalweg.proto.event import ClassLabels, NumberLabels, join
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.sources.files import CsvMapping, FileError, read_events

SCHEMA = Schema({"x": TensorSpec("x", "float32", (2,))})
NUMBERS = Schema(SCHEMA.inputs, "number", 1)


def csv_file(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_a_csv_file_gives_its_rows_in_order(tmp_path: Path, name: str, chunk: int) -> None:
    path = csv_file(tmp_path, "t,a,b,label\n0,1,2,up\n1,3,4.5,down\n2,5,6,\n", name)

    batch = join([part.batch for part in read_events(path, SCHEMA, chunk=chunk)])

    np.testing.assert_array_equal(batch.inputs["x"], np.array([[1, 2], [3, 4.5], [5, 6]], np.float32))
    assert isinstance(batch.labels, ClassLabels)
    assert [batch.labels.names[c] if c >= 0 else None for c in batch.labels.codes] == ["up", "down", None]
    assert batch.times.tolist() == [0, 1, 2]


def test_columns_can_be_mapped(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "when,b,who,y,a,w\n1970-01-01T00:00:07Z,2,u1,0.5,1,3\n")
    mapping = CsvMapping(label="y", time="when", key="who", id="who", weight="w", inputs={"x": ["a", "b"]})

    batch = next(read_events(path, NUMBERS, mapping)).batch

    assert batch.inputs["x"].tolist() == [[1, 2]]
    assert (batch.times[0], batch.keys, batch.ids, batch.weights[0]) == (7, ["u1"], ["u1"], 3)
    assert isinstance(batch.labels, NumberLabels)
    assert batch.labels.values.tolist() == [[0.5]]


def test_bad_lines_are_reported_with_their_number_and_the_rest_is_read(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b,label\n1,2,u\nx,2,u\n1,2\n1,nan,u\n3,4,d\n")

    parts = list(read_events(path, SCHEMA))

    assert [(r.row, r.reason) for part in parts for r in part.rejected] == [
        (3, "wrong_dtype"),
        (4, "wrong_shape"),
        (5, "non_finite"),
    ]
    assert join([part.batch for part in parts]).inputs["x"].tolist() == [[1, 2], [3, 4]]


def test_a_jsonl_file_gives_its_events_and_reports_bad_lines(tmp_path: Path) -> None:
    lines = [{"inputs": {"x": [i, 0]}, "label": i, "time": 10 + i} for i in range(3)]
    text = "\n".join([json.dumps(lines[0]), "{bad", "", json.dumps(lines[1]), json.dumps(lines[2])])
    path = csv_file(tmp_path, text, "a.jsonl.gz")

    parts = list(read_events(path, SCHEMA, chunk=2))

    batch = join([part.batch for part in parts if len(part.batch)])
    assert batch.inputs["x"][:, 0].tolist() == [0, 1, 2]
    assert batch.times.tolist() == [10, 11, 12]
    assert [(r.row, r.reason) for part in parts for r in part.rejected] == [(2, "malformed")]


INTEGERS = Schema({"x": TensorSpec("x", "int8", (2,))})
TRUTHS = Schema({"x": TensorSpec("x", "bool", (2,))})
STRINGS = Schema({"x": TensorSpec("x", "bytes", (2,))})


def test_integers_lose_nothing_and_what_is_none_or_too_large_is_refused(tmp_path: Path) -> None:
    wide = Schema({"x": TensorSpec("x", "int64", (2,))})
    exact = csv_file(tmp_path, "a,b,label\n9007199254740993,2.0,u\n")
    odd = csv_file(tmp_path, "a,b,label\n1,2.5,u\n300,1,u\nnan,1,u\n-128,127,v\n", "b.csv")

    assert next(read_events(exact, wide)).batch.inputs["x"].tolist() == [[9007199254740993, 2]]
    decoded = next(read_events(odd, INTEGERS))
    assert decoded.batch.inputs["x"].tolist() == [[-128, 127]]
    assert [(r.row, r.reason) for r in decoded.rejected] == [(line, "wrong_dtype") for line in (2, 3, 4)]


def test_truth_values_and_strings_are_inputs_too(tmp_path: Path) -> None:
    truths = csv_file(tmp_path, "a,b,label\ntrue,0,u\n1,False,v\nyes,0,u\n")
    strings = csv_file(tmp_path, 'a,b,label\nü,"b,c",u\n', "b.csv")

    decoded = next(read_events(truths, TRUTHS))

    assert decoded.batch.inputs["x"].tolist() == [[True, False], [True, False]]
    assert [(r.row, r.reason) for r in decoded.rejected] == [(4, "wrong_dtype")]
    assert next(read_events(strings, STRINGS)).batch.inputs["x"].tolist() == [["ü".encode(), b"b,c"]]


@pytest.mark.parametrize(
    ("content", "lines", "rejected"),
    [
        (b"a,b,label\n1,2,u\n\n3,4,v\n", 2, []),
        (b"\xef\xbb\xbfa,b,label\r\n1,2,u\r\n", 1, []),
        (b"a,b,label\n1,2,\xff\n3,4,v\n", 1, [(2, "malformed")]),
        (b"a,b,label\n1," + b"9" * 200_000 + b",u\n3,4,v\n", 1, [(2, "non_finite")]),
        (b"a,b,label\n1,2,u\r9,9,u\n3,4,v\n", 1, [(2, "malformed")]),
        (b'a,b,label\n1,2,u\n3,4,"v\n5,6,w\n', 1, [(3, "malformed")]),
        (b'a,b,label\n1,2,"u\nv"\nx,4,w\n5,6,w\n', 2, [(4, "wrong_dtype")]),
    ],
    ids=["blank", "mark", "encoding", "long", "return", "open quote", "two lines"],
)
def test_what_is_no_row_is_reported_where_it_begins_and_the_rest_is_read(
    tmp_path: Path, content: bytes, lines: int, rejected: list[tuple[int, str]]
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)

    parts = list(read_events(path, SCHEMA))

    assert sum(len(part.batch) for part in parts) == lines
    assert [(r.row, r.reason) for part in parts for r in part.rejected] == rejected


def test_an_empty_field_is_an_absent_one(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b,who,when,w,label\n1,2,,,,\n3,4,,,,\n")
    mapping = CsvMapping(id="who", time="when", weight="w")

    batch = next(read_events(path, SCHEMA, mapping)).batch

    assert (batch.ids, batch.times.tolist(), batch.weights.tolist()) == (None, [0, 1], [1, 1])


def test_the_clock_is_asked_once_a_chunk_whatever_is_bad_in_it(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b,label\n1,2,u\nx,2,u\n3,4,u\n5,6,u\n")
    ticks = count(100)

    parts = list(read_events(path, SCHEMA, chunk=3, clock=lambda: float(next(ticks))))

    assert [part.batch.times.tolist() for part in parts] == [[100, 100], [101]]


def test_a_json_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"inputs": {"x": [1, 2]}}\n')

    assert len(next(read_events(path, SCHEMA)).batch) == 1


def test_only_so_many_lines_are_read(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b,label\n" + "1,2,u\n" * 50)

    assert sum(len(part.batch) for part in read_events(path, SCHEMA, limit=7)) == 7


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.xls",
            "",
            r"expected \.jsonl, .* \.csv, .* or \.arrows \(those of text also with .*\.xz or \.zip\), got \.xls",
        ),
        ("a.csv", "", "empty file"),
        ("a.csv", "a,b,c,label\n1,2,3,u\n", r"expected 2 columns for shape \[2\], got 3: a, b, c"),
        (
            "a.csv",
            "a,b,class\n1,2,u\n",
            "got 3: a, b, class; name the label's column with --label NAME, skip .* --ignore",
        ),
        ("a.csv", "a,label\n1,u\n", "expected 2 columns"),
        ("a.csv", "a,a,label\n1,2,u\n", "column 'a' appears twice"),
        ("a.csv", 'a,"b,label\n1,2,u\n', "expected a header line, got lines 1 to 2 are no CSV"),
    ],
)
def test_a_file_that_is_no_stream_of_this_model_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = csv_file(tmp_path, text, name)

    with pytest.raises(FileError, match=message):
        list(read_events(path, SCHEMA))


def test_a_missing_file_column_and_the_rest_of_a_torn_gzip_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        list(read_events(tmp_path / "none.csv", SCHEMA))
    path = csv_file(tmp_path, "a,b\n1,2\n")
    with pytest.raises(FileError, match="no column 'when' for the time; there are: a, b"):
        list(read_events(path, SCHEMA, CsvMapping(time="when")))
    text = "a,b,label\n" + "".join(f"{i},{i * 7},u\n" for i in range(5000))
    torn = tmp_path / "torn.csv.gz"
    torn.write_bytes(gzip.compress(text.encode())[:-200])
    with pytest.raises(FileError, match=r"torn\.csv\.gz: the compressed data is damaged or ends early"):
        list(read_events(torn, SCHEMA))


@pytest.mark.parametrize(
    ("name", "features", "rows"),
    [
        ("electricity", 8, 45312),
        ("noaa_weather", 8, 18159),
        ("insects_gradual", 33, 24150),
        ("spoken_digits_recurring", 26, 8800),
    ],
)
def test_the_real_streams_are_read_whole(shared: Path, name: str, features: int, rows: int) -> None:
    schema = Schema({"x": TensorSpec("x", "float32", (features,))})

    parts = list(read_events(shared / "data" / "streams" / f"{name}.csv.gz", schema))

    assert sum(len(part.batch) for part in parts) == rows
    assert not any(part.rejected for part in parts)
