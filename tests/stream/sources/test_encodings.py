"""Text files in any encoding: read as they are, or refused with line and byte; never a character replaced."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from thalweg.ops.init.sample import file_sample
from thalweg.ops.run.failed import Failed
from thalweg.proto.rows.column import Column
from thalweg.proto.schema import Schema, column_specs
from thalweg.stream.labels.label_records import LabelRecord
from thalweg.stream.sources.encodings import text_encoding
from thalweg.stream.sources.files import CsvMapping, FileError, read_events, read_labels

COLUMNS = {"city": Column(name="city", kind="categorical"), "n": Column(name="n", kind="numeric")}
SCHEMA = Schema(column_specs(COLUMNS), columns=COLUMNS)
CITIES = ["Köln", "Łódź", "東京", "Malmö"] * 2000  # more than one chunk


def csv_text(cities: list[str]) -> str:
    return "city,n,label\n" + "".join(f"{city},{number},a\n" for number, city in enumerate(cities))


def json_text(cities: list[str]) -> str:
    rows = ({"city": city, "n": number, "label": "a"} for number, city in enumerate(cities))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(path: Path, encoding: str) -> list[str]:
    parts = list(read_events(path, SCHEMA, CsvMapping(encoding=encoding)))
    assert [one for part in parts for one in part.rejected] == []
    return [city.decode() for part in parts for city in part.batch.inputs["city"]]


@pytest.mark.parametrize(
    "kind", [("a.csv", csv_text), ("a.jsonl", json_text), ("a.csv.gz", csv_text), ("a.json", json_text)]
)
@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-8-sig", "utf-8"),
        ("utf-16", ""),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", ""),
        ("latin-1", "latin-1"),
        ("cp1252", "CP1252"),
        ("gb18030", "gb18030"),
    ],
)
def test_a_file_in_any_encoding_is_read_as_it_is(
    kind: tuple[str, Callable[[list[str]], str]], written: str, given: str, tmp_path: Path
) -> None:
    (name, text), path = kind, tmp_path / kind[0]
    cities = CITIES if written not in ("latin-1", "cp1252") else ["Köln", "Malmö"] * 4000
    value = text(cities).encode(written)
    path.write_bytes(gzip.compress(value) if name.endswith(".gz") else value)

    assert read(path, given) == cities
    sample = file_sample(path, 10, CsvMapping(encoding=given))
    assert [row["city"] for row in sample.rows] == cities[:10]
    assert sample.names == ["city", "n", "label"]


@pytest.mark.parametrize(
    ("value", "given", "what"),
    [
        (csv_text(CITIES[:2]).encode("utf-16-le"), "", "UTF-16 without a byte order mark. --encoding utf-16-le"),
        (csv_text(CITIES[:2]).encode("utf-16-be"), "", "--encoding utf-16-be"),
        (csv_text(CITIES[:2]).encode("utf-16"), "latin-1", "byte order mark is one of utf-16, got --encoding latin-1"),
        (csv_text(CITIES).encode(), "ascii", "line 2: expected ascii, got byte 0xc3"),
        (csv_text([*["Bonn"] * 9000, "東京"]).encode(), "ascii", "line 9,002: expected ascii, got byte 0xe6"),
        (csv_text(CITIES[:3]).encode("utf-16")[:-1], "", "expected utf-16"),
        ("größe,city,n\n1,a,1\n".encode("latin-1"), "", "the header: expected UTF-8, got byte 0xf6, near 'größe"),
    ],
)
def test_a_file_that_is_not_in_its_encoding_is_refused_with_line_and_byte(
    value: bytes, given: str, what: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(value)

    with pytest.raises(FileError, match=what):
        read(tmp_path / "a.csv", given)
    with pytest.raises(Failed, match=what):
        file_sample(tmp_path / "a.csv", 100_000, CsvMapping(encoding=given))


@pytest.mark.parametrize(("name", "text"), [("a.csv", csv_text), ("a.jsonl", json_text)])
def test_a_line_that_is_not_utf_8_is_set_aside_with_its_byte_and_a_sample_of_such_is_refused(
    name: str, text: Callable[[list[str]], str], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(text(["Bonn", "Köln"]).encode("latin-1"))

    rejected = [one for part in read_events(path, SCHEMA) for one in part.rejected]

    assert [(one.row, one.reason) for one in rejected] == [(3 if name == "a.csv" else 2, "malformed")]
    assert "got byte 0xf6" in rejected[0].detail
    assert "--encoding latin-1" in rejected[0].detail
    with pytest.raises(Failed, match=r"line [23].* got byte 0xf6 .*--encoding latin-1|line [23].*0xf6.*latin-1"):
        file_sample(path, 100)


def test_labels_are_read_in_any_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"id": "1", "label": "Köln"}\n'.encode("cp1252"))

    (lines,) = read_labels(tmp_path / "a.jsonl", SCHEMA, encoding="cp1252")

    assert [LabelRecord(**json.loads(value)) for _, value in lines.records] == [("1", "Köln")]


def test_labels_in_another_encoding_are_told_with_the_option_that_helps(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('null\n{"id": "1", "label": "Köln"}\n'.encode("latin-1"))

    (lines,) = read_labels(tmp_path / "a.jsonl", SCHEMA)

    assert (lines.tombstones, [(one.row, one.reason) for one in lines.rejected]) == (1, [(2, "malformed")])
    assert "got byte 0xf6" in lines.rejected[0].detail
    assert "--encoding latin-1" in lines.rejected[0].detail


def test_unknown_encodings_are_refused_with_what_helps() -> None:
    for name in ("latin1x", "hex", "rot13"):
        with pytest.raises(ValueError, match="expected an encoding such as utf-8"):
            text_encoding(name)


@pytest.mark.parametrize("size", [200_000, 1_000_000])
def test_a_long_text_is_read_and_one_above_the_limit_set_aside_with_why(size: int, tmp_path: Path) -> None:
    columns = {"note": Column(name="note", kind="text")}
    schema = Schema(column_specs(columns), columns=columns)
    (tmp_path / "a.csv").write_text(f"note,label\n{'x' * size},a\n{'y' * (2 << 20)},a\nlast,b\n")

    parts = list(read_events(tmp_path / "a.csv", schema))

    assert [len(note) for part in parts for note in part.batch.inputs["note"]] == [size, 4]
    (rejected,) = [one for part in parts for one in part.rejected]
    assert (rejected.row, "more than 1,048,576 characters; is a quote not closed?" in rejected.detail) == (3, True)
    assert len(file_sample(tmp_path / "a.csv", 10).rows) == 2
