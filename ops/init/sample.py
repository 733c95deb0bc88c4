"""A sample of a file or a topic: flat rows, their values by path."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from thalweg.ops.run.failed import Failed
from thalweg.proto.columns import of_untyped
from thalweg.proto.framing.framing import MAGIC, Unframing, schema_id
from thalweg.proto.json_text import BYTE_ORDER_MARK, json_of
from thalweg.proto.records import Records
from thalweg.proto.rejected import Refused
from thalweg.stream.log.log import Log
from thalweg.stream.registry.schemas import KnownSchemas

_DELIMITERS = ",;\t|"
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".gz", ".parquet", ".arrow", ".feather")
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
    """Records that are no JSON objects."""


def file_sample(path: Path, most: int) -> Sample:
    """The first rows of a `.csv` or `.jsonl` file, each also with `.gz`.

    Raises:
        Failed: It is of another kind, cannot be read, or has no rows.
    """
    suffixes = [one.lower() for one in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if packed else suffixes)[-1:]
    if kind not in ([".csv"], [".tsv"], [".jsonl"], [".ndjson"], [".json"]):
        got = "".join(suffixes) or "no suffix"
        raise Failed(f"{path}: expected a .csv, .tsv or .jsonl file, each also with .gz, to look at, got {got}")
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            lines = (line.removeprefix(BYTE_ORDER_MARK) for line in file)
            sample = _csv(lines, most) if kind in ([".csv"], [".tsv"]) else json_sample(lines, most)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise Failed(f"{path}: cannot be read: {error}") from error
    if not sample.rows:
        raise Failed(f"{path}: expected rows, got none ({sample.unusable:,} lines are no JSON objects)")
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
        found = f"{sample.unusable:,} records that are none" if sample.unusable else "no records"
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
    own = bool(found) and all(isinstance(row.get("inputs"), dict) for row in found)
    if own:
        found = [{**row["inputs"], **{name: row.get(name) for name in _ATTRIBUTES if name in row}} for row in found]
    rows = [dict(_flat(row)) for row in found]
    return Sample(rows, _names(rows), own_form=own, unusable=unusable)


_ATTRIBUTES = ("label", "id", "time", "key", "weight")


def _flat(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Values by path; a list stays a value."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _csv(lines: Iterable[bytes], most: int) -> Sample:
    texts = (line.decode("utf-8", "replace") for line in lines)
    head = next(texts, "")
    delimiter = max(_DELIMITERS, key=head.count)
    names = next(csv.reader([head], delimiter=delimiter), [])
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Failed(f"column {twice!r} appears twice in the header")
    rows = [
        {name: of_untyped(text) for name, text in zip(names, fields)}
        for fields in islice(csv.reader(texts, delimiter=delimiter), most)
        if len(fields) == len(names)
    ]
    return Sample(rows, names, delimiter)


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def shown(value: Any) -> str:
    """A value as an example in a comment, at most 40 characters, on one line."""
    return json.dumps(value, ensure_ascii=False)[:40]
