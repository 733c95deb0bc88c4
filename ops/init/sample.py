"""A sample of a file or a topic: flat rows, their values by path."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from thalweg.ops.init.envelopes import unwrapped
from thalweg.ops.init.header import header_doubt
from thalweg.ops.run.failed import Failed
from thalweg.proto.bounds.counted import counted
from thalweg.proto.columns import of_untyped
from thalweg.proto.framing.framing import MAGIC, Unframing, schema_id
from thalweg.proto.json_text import json_of
from thalweg.proto.records import Records
from thalweg.proto.rejected import Refused
from thalweg.stream.log.log import Log
from thalweg.stream.registry.schemas import KnownSchemas
from thalweg.stream.sources.arrow_files import ARROW_KINDS, arrow_rows
from thalweg.stream.sources.csv_reading import Header, check_utf8, csv_rows, told_delimiter
from thalweg.stream.sources.encodings import utf8_fault
from thalweg.stream.sources.files import (
    JSON_KINDS,
    CsvMapping,
    FileError,
    file_kind,
    text_lines,
)
from thalweg.stream.sources.json_files import json_lines
from thalweg.stream.sources.packed import ENDINGS
from thalweg.stream.sources.sequence_files import holds_sequences, types_of_sequences

_DELIMITERS = ",;\t|"
_USUAL = CsvMapping()
_ROWS_OF = dict.fromkeys(JSON_KINDS, "JSON objects") | {"csv": "rows of CSV", "tsv": "rows of CSV"}
_ROWS_OF |= dict.fromkeys(ARROW_KINDS, "rows")
SUFFIXES = (*(f".{kind}" for kind in (*JSON_KINDS, "csv", "tsv", *ARROW_KINDS)), *ENDINGS)
"""Of files; other names may be topics."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of a stream."""

    rows: list[dict[str, Any]]
    """Values by path, such as `order.total`; texts, numbers, booleans, lists or None."""
    names: list[str]
    """All paths, in order of appearance."""
    delimiter: str = ","
    """Of a CSV file."""
    own_form: bool = False
    """The records are events of our own form; paths are within `inputs`, besides `label`, `id`, `time`, `key`."""
    unusable: int = 0
    """Records that are no JSON objects, or no rows."""
    types: int = 0
    """Of event sequences, one a line, so many types of events; 0: the lines are none."""
    envelope: str = ""
    """What is around the rows in their records, for a comment; empty: nothing."""
    changes: bool = False
    """The rows are changes of rows, of which one id comes several times."""
    header_doubt: str = ""
    """Why the header may be none, to be told aloud; empty: it is one."""


def file_sample(path: Path, most: int, mapping: CsvMapping = _USUAL, shown: str = "") -> Sample:
    """The first rows of a file, of any kind that `replay` reads.

    Args:
        path: The file.
        most: Rows at most.
        mapping: Its delimiter and its encoding; without a delimiter the most likely one.
        shown: Its name in messages, if it has another.

    Raises:
        Failed: It is of another kind, cannot be read, or has no rows.
    """
    named = Path(shown) if shown else path
    try:
        kind = file_kind(path, *JSON_KINDS, "csv", "tsv", *ARROW_KINDS)
        if kind in ARROW_KINDS:
            names, rows = arrow_rows(path, kind, most)
            flat = [dict(_flat(dict(zip(names, row)))) for row in rows]
            sample = Sample(flat, _names(flat))
        else:
            with text_lines(path, mapping.encoding) as lines:
                given = mapping.delimiter or ("\t" if kind == "tsv" else "")
                sample = (
                    _json_sample(_checked(named, json_lines(named, lines)), most)
                    if kind in JSON_KINDS
                    else _csv(named, lines, most, given)
                )
    except FileError as error:
        raise Failed(str(error).replace(str(path), str(named))) from error
    if not sample.rows:
        unusable = counted(sample.unusable, "line is", "lines are")
        raise Failed(f"{named}: expected rows, got none ({unusable} no {_ROWS_OF[kind]})")
    return sample


def topic_sample(log: Log, topic: str, most: int, seconds: float = 5.0, schemas: KnownSchemas | None = None) -> Sample:
    """The first records of a topic that are JSON objects, or records framed for a schema registry.

    Args:
        log: The log that holds it.
        topic: Its name.
        most: Records at most.
        seconds: How long to wait for records.
        schemas: Of framed records.

    Raises:
        Failed: It has no records that are JSON objects.
        LogError: The log cannot be read, or the schema registry cannot be asked.
    """
    values: list[bytes] = []
    with closing(log.reader([topic], {})) as reader:
        while len(values) < most and (blocks := reader.poll(seconds)):
            values += [value for block in blocks for value in _unframed(block, schemas) if value]
        problem = reader.problem()
    if schemas is None and (ids := {id for value in values[:most] if (id := schema_id(value)) is not None}):
        shown = ", ".join(map(str, sorted(ids)[:5]))
        raise Failed(f"topic {topic!r}: its records are framed for a schema registry (schema {shown}): --registry URL")
    if not values and problem is not None:
        raise Failed(f"topic {topic!r}: {problem.reason}")
    sample = json_sample(values, most)
    if not sample.rows:
        unusable = counted(sample.unusable, "record that is none", "records that are none")
        found = unusable if sample.unusable else "no records"
        raise Failed(f"topic {topic!r}: expected records that are JSON objects, got {found}")
    return sample


def _unframed(records: Records, schemas: KnownSchemas | None) -> Iterator[bytes | None]:
    """The values without the frames of a schema registry; one that cannot be read stays as it is."""
    if schemas is None:
        yield from records.values
        return
    schemas.prepare(records)
    unframing = Unframing(schemas)
    for offset, value in zip(records.offsets, records.values):
        try:
            framed = value is not None and value[:1] == bytes([MAGIC])
            yield unframing.open(value, records.partition, offset)[1] if framed and value else value
        except Refused:
            yield value


def _json_sample(lines: Iterator[bytes], most: int) -> Sample:
    """The rows of a file: JSON objects, or event sequences."""
    first = next(lines, b"")
    lines = chain([first] if first else [], lines)
    if not holds_sequences(first):
        return json_sample(lines, most)
    count, types = types_of_sequences(islice(lines, most))
    return Sample([{}] * count, [], types=len(types))


def json_sample(values: Iterable[bytes], most: int) -> Sample:
    """The rows of JSON objects."""
    found: list[Mapping[str, Any]] = []
    unusable = 0
    for value in islice((value for value in values if value.strip()), most):
        try:
            row = json_of(value)
        except ValueError:
            row = None
        if isinstance(row, dict):
            found.append(row)
        else:
            unusable += 1
    inner = unwrapped(found)
    found = list(inner.rows)
    own = bool(found) and all(isinstance(row.get("inputs"), dict) for row in found)
    if own:
        found = [{**row["inputs"], **{name: row.get(name) for name in _ATTRIBUTES if name in row}} for row in found]
    rows = [dict(_flat(row)) for row in found]
    return Sample(rows, _names(rows), own_form=own, unusable=unusable, envelope=inner.told, changes=inner.changes)


_ATTRIBUTES = ("label", "id", "time", "key", "weight")


def _flat(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Values by path; a list stays a value."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _checked(path: Path, lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines, 1):
        if fault := utf8_fault(line):
            raise FileError(f"{path}, line {number}: {fault}")
        yield line


def _csv(path: Path, lines: Iterator[bytes], most: int, delimiter: str) -> Sample:
    told, before, lines = told_delimiter(lines)
    first = next(lines, b"")
    head = first.decode("utf-8", "replace")
    delimiter = delimiter or told or max(_DELIMITERS, key=head.count)
    rows = csv_rows(chain([first] if first else [], lines), delimiter, before)
    header = Header.read(path, rows, delimiter)
    found, unusable, fault = [], 0, ""
    for row in islice(rows, most):
        try:
            header.check(row)
            check_utf8(row.texts, f"line {row.line}")
        except Refused as error:
            if error.reason == "malformed" and not row.refused:  # rows of other lengths, and quoting, may be rare
                raise FileError(f"{path}: {error}") from error
            unusable, fault = unusable + 1, fault or f"line {row.line}: {error}"
            continue
        found.append({name: of_untyped(text) for name, text in zip(header.names, row.texts)})
    if fault and not found:
        raise FileError(f"{path}: expected rows, got none; {fault}")
    return Sample(
        found, list(header.names), delimiter, unusable=unusable, header_doubt=header_doubt(header.names, found)
    )


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def shown(value: Any) -> str:
    """A value as an example in a comment, at most 40 characters, on one line."""
    return json.dumps(value, ensure_ascii=False, default=str)[:40]
