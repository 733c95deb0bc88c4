"""Files as streams: JSON lines, CSV, Parquet and Arrow IPC, in chunks, each decoded like a run of records.

An invalid line is reported with its number, and reading continues; a file that ends in the middle of its
compressed data is an error, because the missing part is unknown.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from thalweg.proto.decode import Decoder
from thalweg.proto.event import Decoded
from thalweg.proto.records import Partition, Records
from thalweg.proto.rejected import Refused, Rejected, is_tombstone
from thalweg.proto.schema import Schema
from thalweg.stream.labels.label_records import label_of
from thalweg.stream.sources.arrow_files import ARROW_KINDS, arrow_events
from thalweg.stream.sources.csv_events import csv_events
from thalweg.stream.sources.csv_reading import FileError, unreadable
from thalweg.stream.sources.encodings import utf8_fault, utf8_lines
from thalweg.stream.sources.json_files import json_lines
from thalweg.stream.sources.mapping import CsvMapping
from thalweg.stream.sources.packed import DAMAGED, ENDINGS, opened
from thalweg.stream.sources.presence import noting_absent
from thalweg.stream.sources.sequence_files import holds_sequences, sequence_events

JSON_KINDS = ("jsonl", "ndjson", "json")
"""Suffixes of files of JSON lines."""
_OF_TEXTS = ("txt", "text", "data", "dat", "log")
"""Suffixes that do not say what a text holds."""
STANDARD_INPUT = Path("-")
"""Stands for standard input."""

__all__ = ["STANDARD_INPUT", "CsvMapping", "FileError", "LabelLines", "read_events", "read_labels"]


def read_events(
    path: Path,
    schema: Schema,
    mapping: CsvMapping | None = None,
    *,
    limit: int | None = None,
    chunk: int = 1000,
    clock: Callable[[], float] | None = None,
    max_record_bytes: int = 64 << 20,
    max_future_seconds: float | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Iterator[Decoded]:
    """The events of a file in order, in chunks of at most `chunk`; for event sequences see `sequence_files`.

    `Rejected.row` is the line number in the file, from 1.

    Args:
        path: `.jsonl` (`.ndjson`, `.json`), `.csv`, `.tsv`, each also with `.gz`, `.bz2` or `.xz`; `.parquet`,
            `.arrow`, `.feather`, `.arrows`; in any case. `-`: standard input, JSON lines or CSV.
        schema: The schema of events.
        mapping: The role of each column; the time unit of sequences.
        limit: Most lines of events.
        chunk: Lines decoded at once.
        clock: The time, in Unix seconds, of events that have none of their own, asked once a chunk. None: row i
            happened at second i, so that what is read does not depend on when.
        max_record_bytes: Larger lines of events are set aside unread, as records of a log are.
        max_future_seconds: Events dated further ahead of the clock are set aside. None, or without a clock: no bound,
            because a file does not say when it was written.
        notice: Told what is not used of the file.

    Raises:
        FileError: There is no such file, it has another format, or its compressed data ends early.
    """
    mapping = mapping or CsvMapping()
    schema = mapping.over(schema)
    if clock is None:
        max_future_seconds = None
    parts = _parts(path, schema, mapping, limit, chunk, clock, max_record_bytes, max_future_seconds, notice)
    yield from noting_absent(parts, schema, notice) if schema.columns else parts


def _parts(
    path: Path,
    schema: Schema,
    mapping: CsvMapping,
    limit: int | None,
    chunk: int,
    clock: Callable[[], float] | None,
    max_record_bytes: int,
    max_future_seconds: float | None,
    notice: Callable[[str], None],
) -> Iterator[Decoded]:
    kind = file_kind(path, *JSON_KINDS, "csv", "tsv", *ARROW_KINDS)
    if kind in ARROW_KINDS:
        if mapping.encoding:
            raise FileError(f"{path}: --encoding is for text files; a .{kind} file is always UTF-8")
        yield from arrow_events(path, kind, schema, mapping, limit, chunk, clock, max_future_seconds, notice)
        return
    with text_lines(path, mapping.encoding) as lines:
        first = next(lines, b"")
        lines = chain([first] if first else [], lines)
        if path == STANDARD_INPUT:
            kind = kind_of_text(first)
        if kind in JSON_KINDS:
            lines = json_lines(path, lines)
            first = next(lines, b"")
            lines = chain([first] if first else [], lines)
        if kind in JSON_KINDS and holds_sequences(first):
            yield from sequence_events(path, lines, schema, mapping.time_unit, limit, chunk)
        elif kind in JSON_KINDS:
            decoder = Decoder(schema, max_record_bytes=max_record_bytes, max_future_seconds=max_future_seconds)
            yield from _json_lines(lines, decoder, limit, chunk, clock)
        else:
            mapping = mapping if kind == "csv" or mapping.delimiter else replace(mapping, delimiter="\t")
            yield from csv_events(path, lines, schema, mapping, limit, chunk, clock, max_future_seconds, notice)


class LabelLines(NamedTuple):
    """Lines of a file of labels."""

    records: list[tuple[str, bytes]]
    """Pairs of id and line."""
    rejected: list[Rejected]
    """`row` is the line number in the file, from 1."""
    tombstones: int
    """Lines that are `null`: a key was deleted, and nothing is in them."""


def read_labels(
    path: Path, schema: Schema, *, limit: int | None = None, chunk: int = 1000, encoding: str = ""
) -> Iterator[LabelLines]:
    """The label records of a `.jsonl` file, which may be compressed, in order, in chunks of at most `chunk` lines.

    Raises:
        FileError: As for `read_events`.
    """
    file_kind(path, *JSON_KINDS)
    with text_lines(path, encoding) as lines:
        numbered = enumerate(islice(json_lines(path, lines), limit), 1)
        while part := list(islice(numbered, chunk)):
            valued = [(number, value) for number, line in part if (value := line.strip())]
            held = [(number, value) for number, value in valued if not is_tombstone(value)]
            found = LabelLines([], [], len(valued) - len(held))
            for number, value in held:
                try:
                    found.records.append((label_of(value, schema).id, value))
                except Refused as error:
                    fault = utf8_fault(value) if error.reason == "malformed" else ""
                    found.rejected.append(Rejected(number, error.reason, fault or str(error)))
            yield found


def must_be_there(path: Path) -> None:
    """Raise FileError if there is no file at a path: before anything is done about what it holds."""
    if path == STANDARD_INPUT:
        return
    try:
        path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if path.is_dir():
        raise FileError(f"{path}: expected a file, got a folder")


def kind_of_text(first: bytes) -> str:
    """What a text file holds, by its first line: JSON or CSV."""
    return "jsonl" if first.lstrip()[:1] in (b"{", b"[") else "csv"


def file_kind(path: Path, *kinds: str) -> str:
    """The suffix of a file, one of `kinds`; of standard input the first. A text of another name, as `.txt` or none, is
    what its first line says. Raises FileError for another.
    """
    if path == STANDARD_INPUT:
        return kinds[0]
    must_be_there(path)
    name = path.name.lower()
    packed_as = next((ending for ending in ENDINGS if name.endswith(ending)), "")
    bare = name.removesuffix(packed_as)
    kind = bare.rpartition(".")[2]
    if (kind in _OF_TEXTS or "." not in bare) and path.is_file() and {"csv", "jsonl"} <= {*kinds}:
        with text_lines(path, "") as lines:
            return kind_of_text(next(lines, b""))
    if kind not in kinds or (kind in ARROW_KINDS and packed_as):
        names = [f".{one}" for one in kinds]
        packed = f" (those of text also with {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]})"
        got = path.name.rpartition(".")[2] if "." in path.name else ""
        raise FileError(
            f"{path}: expected {', '.join(names[:-1])} or {names[-1]}{packed}, got {f'.{got}' if got else 'no suffix'}"
        )
    return kind


@contextmanager
def text_lines(path: Path, encoding: str) -> Iterator[Iterator[bytes]]:
    """The lines of a file, decompressed. Raises FileError."""
    try:
        if path == STANDARD_INPUT:
            yield utf8_lines(opened(sys.stdin.buffer, path), path, encoding)
            return
        with path.open("rb") as file, opened(file, path) as unpacked:
            yield utf8_lines(unpacked, path, encoding)
    except (*DAMAGED, zlib.error) as error:
        raise FileError(f"{path}: the compressed data is damaged or ends early: {error}") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _json_lines(
    file: Iterable[bytes], decoder: Decoder, limit: int | None, chunk: int, clock: Callable[[], float] | None
) -> Iterator[Decoded]:
    lines = enumerate(islice(file, limit), 1)
    while part := list(islice(lines, chunk)):
        part = [(number, line.strip()) for number, line in part if line.strip()]
        numbers = [number for number, _ in part]
        nothing = [None] * len(part)
        times = [float(number - 1) for number in numbers] if clock is None else [clock()] * len(part)
        values = [line for _, line in part]
        records = Records(Partition("file", 0), numbers, times, nothing, values, [()] * len(part))
        decoded = decoder.decode(records)
        faults = [utf8_fault(values[r.row]) if r.reason == "malformed" else "" for r in decoded.rejected]
        rejected = [
            Rejected(numbers[r.row], r.reason, fault or r.detail, r.rows) for r, fault in zip(decoded.rejected, faults)
        ]
        yield Decoded(decoded.batch, rejected, decoded.tombstones)
