"""Files as streams: JSON lines and CSV, whole or damaged."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from thalweg.proto.event import ClassLabels, NumberLabels, Schema, TensorSpec, join
from thalweg.stream.files import CsvMapping, FileError, read_events

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


def test_only_so_many_lines_are_read(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b,label\n" + "1,2,u\n" * 50)

    assert sum(len(part.batch) for part in read_events(path, SCHEMA, limit=7)) == 7


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", r"expected \.jsonl, \.jsonl\.gz, \.csv or \.csv\.gz"),
        ("a.csv", "", "empty file"),
        ("a.csv", "a,b,c,label\n1,2,3,u\n", r"expected 2 columns for shape \[2\], got 3: a, b, c"),
        ("a.csv", "a,label\n1,u\n", "expected 2 columns"),
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
