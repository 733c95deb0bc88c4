"""Files as pandas and others write them: one JSON value, archives of one file, comments, other suffixes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from thalweg.ops.init.sample import file_sample
from thalweg.proto.event import ClassLabels
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, column_specs
from thalweg.stream.sources.csv_reading import FileError
from thalweg.stream.sources.files import read_events
from thalweg.stream.sources.json_files import json_lines

COLUMNS = {"x": Column(name="x", kind="numeric")}
SCHEMA = Schema(column_specs(COLUMNS), columns=COLUMNS, fields=FieldMapping())
FRAME = pd.DataFrame({"x": [1.5, 2.5, 3.5], "label": ["a", "b", "é"]})


def read(path: Path) -> tuple[list[float], list[str]]:
    """What the file holds, read as `init` and as `replay` reads it."""
    rows = file_sample(path, 100).rows
    (found,) = read_events(path, SCHEMA)
    assert isinstance(found.batch.labels, ClassLabels)
    labels = [found.batch.labels.names[code] for code in found.batch.labels.codes]
    assert [row["label"] for row in rows] == labels
    assert found.rejected == []
    return found.batch.inputs["x"].tolist(), labels


@pytest.mark.parametrize("orient", ["records", "index", "columns", "split", "table"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_frame_is_read_as_pandas_writes_it(orient: str, indent: int | None, tmp_path: Path) -> None:
    FRAME.to_json(tmp_path / "f.json", orient=orient, indent=indent)

    assert read(tmp_path / "f.json") == (FRAME["x"].tolist(), FRAME["label"].tolist())


@pytest.mark.parametrize("name", ["data", "rows"])
def test_the_rows_of_an_answer_stand_in_its_object(name: str, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(json.dumps({"page": 1, name: FRAME.to_dict("records")}, indent=1))

    assert read(tmp_path / "f.json")[0] == FRAME["x"].tolist()


def test_a_list_with_nan_as_python_writes_it(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text('[{"x": NaN, "label": "a"},\n {"x": 2.5, "label": "b"}]')

    found = [len(part.batch) for part in read_events(tmp_path / "f.json", SCHEMA)]

    assert found == [2]


@pytest.mark.parametrize(
    "text",
    [
        '{"x": 1, "label": "a", "items": [{"a": 1}, {"a": 2}]}',
        '{\n "x": 1,\n "label": "a"\n}',
        '{"x": 1, "label": "a"}\n\n',
        '{"specversion": "1.0", "data": [{"x": 1}, {"x": 2}]}',
        '{"a": {"x": 1}, "b": {"x": 2}}',
        '{"key": "a", "t": [1, 2], "k": [0, 1]}',
    ],
)
def test_one_record_is_one_record(text: str) -> None:
    (line,) = [
        line for line in json_lines(Path("f.json"), iter(text.encode().splitlines(keepends=True))) if line.strip()
    ]

    assert json.loads(line) == json.loads(text)


def test_lines_are_not_read_before_they_are_asked_for() -> None:
    def lines() -> Iterator[bytes]:
        yield b'{"x": 1}\n'
        yield b'{"x": 2}\n'
        raise AssertionError("read too far")

    assert next(json_lines(Path("f.jsonl"), lines())) == b'{"x": 1}\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[{"x": 1}, {"x": 2}', "got a list that is no JSON"),
        (json.dumps({"x": [1, 2], "label": ["a", "b"]}), "orient='records', lines=True"),
        ("[" * 90 + '{"x": 1}' + "]" * 90, "nested at most 64 deep"),
    ],
)
def test_what_is_no_table_is_told(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(text)

    with pytest.raises(FileError, match=told):
        list(read_events(tmp_path / "f.json", SCHEMA))


@pytest.mark.parametrize("name", ["f.csv.zip", "f.zip"])
def test_an_archive_of_one_file_is_that_file(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/f.csv", FRAME.to_csv(index=False))
        archive.writestr("__MACOSX/f.csv", "x")

    assert read(tmp_path / name)[0] == FRAME["x"].tolist()


@pytest.mark.parametrize(
    ("names", "told"),
    [(("a.csv", "b.csv"), "one file, got 2: a.csv, b.csv; unpack"), (("[Content_Types].xml",), "Excel")],
)
def test_other_archives_are_told(names: tuple[str, ...], told: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "f.csv.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "x,label\n1,a\n")

    with pytest.raises(FileError, match=told):
        list(read_events(tmp_path / "f.csv.zip", SCHEMA))


@pytest.mark.parametrize("name", ["f.txt", "f.data", "noname"])
@pytest.mark.parametrize("text", [FRAME.to_csv(index=False), FRAME.to_json(orient="records", lines=True)])
def test_a_text_of_another_name_is_what_its_first_line_says(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)

    assert read(tmp_path / name)[0] == FRAME["x"].tolist()


@pytest.mark.parametrize("head", ["# exported\n#\n# by, me\n", ""])
def test_comments_before_the_header_are_skipped_and_lines_counted(head: str, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(head + "x,label\n1,a\nmany,b\n")

    (found,) = read_events(tmp_path / "f.csv", SCHEMA)

    assert [one.row for one in found.rejected] == [3 + head.count("\n")]


def test_a_header_may_begin_with_the_sign_of_comments(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("# made today\n#n,x,label\n1,2.5,a\n")

    assert file_sample(tmp_path / "f.csv", 9).names == ["#n", "x", "label"]


def test_lines_of_which_the_second_is_garbage_are_not_read_whole() -> None:
    def lines() -> Iterator[bytes]:
        yield b'{"x": 1}\n'
        yield b"garbage\n"
        raise AssertionError("a third line was asked for")

    found = json_lines(Path("f.jsonl"), lines())

    assert [next(found), next(found)] == [b'{"x": 1}\n', b"garbage\n"]
