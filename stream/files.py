"""Files as streams: `.jsonl` and `.csv`, gzip'd or not, in chunks, each decoded as a run of records would be.

A line that cannot be used is reported with its number and does not stop the rest; a file that ends in the middle of its
compressed data is an error, for then nobody knows what is missing.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from thalweg.proto import columns
from thalweg.proto.decode import Decoder
from thalweg.proto.event import Batch, Partition, Records, Schema, join
from thalweg.proto.rejected import Decoded, Reason, Refused, Rejected


class FileError(Exception):
    """A file cannot be read as a stream; the message names it."""


@dataclass(frozen=True, kw_only=True)
class CsvMapping:
    """Which column of a CSV file is what."""

    label: str | None = "label"
    """The label's column; None: there are no labels."""
    time: str | None = None
    """Unix seconds or RFC 3339. None: the file does not say."""
    id: str | None = None
    key: str | None = None
    weight: str | None = None
    ignore: Sequence[str] = ("t", "context")
    """Columns that are no input."""
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Columns of each input, in order; a model's only input takes all that are nothing else."""


def read_events(
    path: Path,
    schema: Schema,
    mapping: CsvMapping | None = None,
    *,
    limit: int | None = None,
    chunk: int = 1000,
    clock: Callable[[], float] | None = None,
) -> Iterator[Decoded]:
    """The events of a file in order, in chunks of at most `chunk`.

    `Rejected.row` is the line number in the file, from 1.

    Args:
        path: `.jsonl`, `.csv`, each also with `.gz`.
        schema: What an event must look like.
        mapping: Which column of a CSV file is what.
        limit: At most so many lines of events.
        chunk: Lines decoded at once.
        clock: The time, in Unix seconds, of events that have none of their own, asked once a chunk. None: row i
            happened at second i, so that what is read does not depend on when.

    Raises:
        FileError: There is no such file, it is of another kind, or its compressed data ends early.
    """
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind not in ("jsonl", "csv"):
        raise FileError(f"{path}: expected .jsonl, .jsonl.gz, .csv or .csv.gz")
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            if kind == "jsonl":
                yield from _json_lines(file, Decoder(schema), limit, chunk, clock)
            else:
                yield from _csv_rows(path, file, schema, mapping or CsvMapping(), limit, chunk, clock)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(f"{path}: the compressed data is damaged or ends early: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: {error}") from error


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
        rejected = [Rejected(numbers[r.row], r.reason, r.detail, r.rows) for r in decoded.rejected]
        yield Decoded(decoded.batch, rejected)


def _csv_rows(
    path: Path,
    file: Iterable[bytes],
    schema: Schema,
    mapping: CsvMapping,
    limit: int | None,
    chunk: int,
    clock: Callable[[], float] | None,
) -> Iterator[Decoded]:
    rows = csv.reader(line.decode("utf-8") for line in file)
    header = next(rows, None)
    if header is None:
        raise FileError(f"{path}: expected a header line, got an empty file")
    table = _Table(path, header, schema, mapping, clock)
    numbered = enumerate(islice(rows, limit), 2)
    while part := list(islice(numbered, chunk)):
        yield table.decode(part)


class _Table:
    """The columns of one CSV file, by what they are."""

    def __init__(
        self,
        path: Path,
        header: Sequence[str],
        schema: Schema,
        mapping: CsvMapping,
        clock: Callable[[], float] | None,
    ) -> None:
        self._schema = schema
        self._clock = clock
        self._width = len(header)
        self._header = header
        places = {name: place for place, name in enumerate(header)}
        special = {
            "label": mapping.label,
            "time": mapping.time,
            "id": mapping.id,
            "key": mapping.key,
            "weight": mapping.weight,
        }
        for use, name in special.items():
            if name is not None and name not in places and not (use == "label" and name == "label"):
                raise FileError(f"{path}: no column {name!r} for the {use}; there are: {', '.join(header)}")
        self._places = {use: places.get(name) if name is not None else None for use, name in special.items()}
        taken = {name for name in special.values() if name} | set(mapping.ignore)
        self._inputs: dict[str, list[int]] = {}
        for name, spec in schema.inputs.items():
            wanted = mapping.inputs.get(name)
            if wanted is None and len(schema.inputs) == 1:
                wanted = [column for column in header if column not in taken]
            missing = [column for column in wanted or () if column not in places]
            if not wanted or missing:
                raise FileError(f"{path}: input {name!r}: no column {', '.join(map(repr, missing)) or 'is given'}")
            if len(wanted) != int(np.prod(spec.shape)):
                raise FileError(
                    f"{path}: input {name!r}: expected {int(np.prod(spec.shape))} columns for shape "
                    f"{list(spec.shape)}, got {len(wanted)}: {', '.join(wanted)}"
                )
            self._inputs[name] = [places[column] for column in wanted]

    def decode(self, part: Sequence[tuple[int, Sequence[str]]]) -> Decoded:
        try:
            return Decoded(self._batch(part))
        except Refused:
            pass  # one of them at least: find it, one by one
        batches, rejected = [], []
        for numbered in part:
            try:
                batches.append(self._batch([numbered]))
            except Refused as error:
                rejected.append(Rejected(numbered[0], error.reason, str(error)))
        return Decoded(join(batches) if batches else columns.empty_batch(self._schema), rejected)

    def _batch(self, part: Sequence[tuple[int, Sequence[str]]]) -> Batch:
        rows = [row for _, row in part]
        for row in rows:
            if len(row) != self._width:
                raise Refused("wrong_shape", f"expected {self._width} columns, got {len(row)}")
        inputs = {}
        for name, places in self._inputs.items():
            spec = self._schema.inputs[name]
            try:
                with np.errstate(over="ignore"):
                    column = np.array([[row[place] for place in places] for row in rows], dtype=np.float64)
                    inputs[name] = column.astype(spec.dtype).reshape(len(rows), *spec.shape)
            except ValueError as error:
                raise Refused("wrong_dtype", f"input {name!r}: {error}") from error
        if not columns.finite_rows(inputs, len(rows)).all():
            raise Refused("non_finite", "inputs: expected finite numbers, got NaN, infinity or a number too large")
        weights = [_number(text, "bad_weight") for text in self._texts("weight", rows)]
        return Batch(
            inputs,
            columns.label_column(self._schema, self._labels(rows)),
            columns.weight_column(weights or [1.0] * len(rows)),
            self._times(part),
            self._texts("id", rows) or None,
            self._texts("key", rows) or None,
        )

    def _labels(self, rows: Sequence[Sequence[str]]) -> list[str | float | None]:
        texts = self._texts("label", rows)
        if not texts:
            return [None] * len(rows)
        if self._schema.label == "number":
            return [_number(text, "bad_label") if text else None for text in texts]
        return [text or None for text in texts]

    def _times(self, part: Sequence[tuple[int, Sequence[str]]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        texts = self._texts("time", [row for _, row in part])
        if not texts:
            if self._clock is not None:
                return np.full(len(part), self._clock())
            return np.array([float(number - 2) for number, _ in part])
        return np.array([columns.moment(_maybe_number(text), 0.0) for text in texts])

    def _texts(self, use: str, rows: Sequence[Sequence[str]]) -> list[str]:
        place = self._places[use]
        return [] if place is None else [row[place] for row in rows]


def _number(text: str, reason: Reason) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Refused(reason, f"expected a number, got {text!r:.80}") from error


def _maybe_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
