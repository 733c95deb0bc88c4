"""Files as spreadsheets, browsers and other systems leave them."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.sources.files import FileError, read_events

SCHEMA = Schema({"x": TensorSpec("x", "float64", (2,))}, "class")
CSV = "a,b,label\n" + "".join(f"{row},{row / 2},{'ok' if row % 2 else 'bad'}\n" for row in range(50))
EXCEL = "sep=;\r\n" + CSV.replace(",", ";").replace("\n", "\r\n")


def rows(path: Path) -> list[list[float]]:
    parts = list(read_events(path, SCHEMA))
    assert not [one for part in parts for one in part.rejected]
    return [row for part in parts for row in part.batch.inputs["x"].tolist()]


@pytest.fixture
def expected(tmp_path: Path) -> list[list[float]]:
    (tmp_path / "plain.csv").write_text(CSV)
    found = rows(tmp_path / "plain.csv")
    assert len(found) == 50
    return found


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, bytes])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.bz2", "a.CSV.XZ"])
def test_a_file_is_unpacked_as_its_bytes_say_whatever_it_is_called(
    tmp_path: Path, expected: list[list[float]], pack: Callable[[bytes], bytes], name: str
) -> None:
    (tmp_path / name).write_bytes(pack(CSV.encode()))

    assert rows(tmp_path / name) == expected


@pytest.mark.parametrize("text", [EXCEL, f'"sep=;"{EXCEL[5:]}', EXCEL.replace("sep", "SEP")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_first_line_may_tell_the_delimiter_as_excel_reads_it(
    tmp_path: Path, expected: list[list[float]], text: str, encoding: str
) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))

    assert rows(tmp_path / "a.csv") == expected


def test_lines_are_counted_with_the_one_that_tells_the_delimiter(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sep=;\na;b;label\n1;2;ok\n1;ok\n")

    (part,) = read_events(tmp_path / "a.csv", SCHEMA)

    assert [one.row for one in part.rejected] == [4]


@pytest.mark.parametrize("last", ["\r", ""])
def test_lines_may_end_in_a_carriage_return_alone(tmp_path: Path, expected: list[list[float]], last: str) -> None:
    (tmp_path / "a.csv").write_bytes((CSV.strip().replace("\n", "\r") + last).encode())

    assert rows(tmp_path / "a.csv") == expected


def test_a_column_may_be_called_like_a_separator(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sep=x,b,label\n1,2,ok\n")

    assert rows(tmp_path / "a.csv") == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("begin", "told"),
    [
        (b"PK\x03\x04\x14\x00", "a ZIP archive, as a workbook of Excel is one: .* save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an old workbook of Excel"),
        (b"PAR1\x15\x04", "a Parquet file: give it a name that ends in .parquet"),
        (b"\x28\xb5\x2f\xfd\x04", "compressed by zstd"),
        (b"<!DOCTYPE HTML>\n<html>", "a web page: was the download refused"),
        (b"SQLite format 3\x00", "a SQLite database"),
    ],
)
def test_what_is_no_text_is_told_by_its_kind(tmp_path: Path, begin: bytes, told: str) -> None:
    (tmp_path / "a.csv").write_bytes(begin + bytes(range(256)))

    with pytest.raises(FileError, match=f"a.csv: expected text, got {told}"):
        rows(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["PAR1", "par1", "PK", "arrow1", "%PDF"])
def test_a_header_that_begins_like_another_kind_of_file_is_a_header(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text(f"{name},b,label\n1,2,ok\n")

    assert rows(tmp_path / "a.csv") == [[1.0, 2.0]]
