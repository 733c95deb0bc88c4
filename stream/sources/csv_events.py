"""Events from CSV; here for a model whose inputs are runs of columns, see `csv_columns` for columns by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thalweg.proto import columns
from thalweg.proto.bounds.counted import counted
from thalweg.proto.bounds.number_range import refused
from thalweg.proto.bounds.texts import check_ids, check_input_texts, check_keys
from thalweg.proto.bounds.times import latest_times, time_column
from thalweg.proto.event import Batch, Decoded
from thalweg.proto.rejected import Reason, Refused
from thalweg.proto.rows.ids import id_number
from thalweg.proto.salvage import salvage
from thalweg.proto.schema import Array, Schema, TensorSpec
from thalweg.stream.sources.csv_columns import CsvColumns
from thalweg.stream.sources.csv_reading import FileError, Header, Row, check_utf8, csv_rows, told_delimiter
from thalweg.stream.sources.mapping import IGNORED, CsvMapping


def csv_events(
    path: Path,
    lines: Iterable[bytes],
    schema: Schema,
    mapping: CsvMapping,
    limit: int | None,
    chunk: int,
    clock: Callable[[], float] | None,
    max_future_seconds: float | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Iterator[Decoded]:
    """The events of one CSV file, as `files.read_events` returns them; `path` is for messages."""
    told, before, lines = told_delimiter(lines)
    delimiter = mapping.delimiter or told or ","
    rows = csv_rows(lines, delimiter, before)
    header = Header.read(path, rows, delimiter)
    table: _Table | CsvColumns
    if schema.columns:
        table = CsvColumns(header, schema, mapping.ignore or (), clock, max_future_seconds, notice)
    else:
        ignored = _ignored(header, mapping, notice)
        table = _Table(header, schema, mapping.within(schema, header.names), ignored, clock, max_future_seconds)
    events = islice(rows, limit)
    while part := list(islice(events, chunk)):
        yield table.decode(part)


def _ignored(header: Header, mapping: CsvMapping, notice: Callable[[str], None]) -> set[str]:
    """The columns to skip. Raises FileError for one that is not there."""
    if mapping.ignore is not None:
        for name in mapping.ignore:
            header.place(name, "to ignore")
        return set(mapping.ignore)
    found = [name for name in IGNORED if name in header.places]
    if found:
        notice(f"columns not used by default: {', '.join(found)}; to use them, say what to --ignore instead, or ''")
    return set(found)


class _Table:
    """The columns of one CSV file by role."""

    def __init__(
        self,
        header: Header,
        schema: Schema,
        mapping: CsvMapping,
        ignored: set[str],
        clock: Callable[[], float] | None,
        max_future_seconds: float | None,
    ) -> None:
        self._schema = schema
        self._clock = clock
        self._max_future_seconds = max_future_seconds
        self._header = header
        self._unit = "auto" if schema.fields is None else schema.fields.time_unit
        places, path = header.places, header.path
        special = {
            "label": mapping.label,
            "time": mapping.time,
            "id": mapping.id,
            "key": mapping.key,
            "weight": mapping.weight,
        }
        for use, name in special.items():
            if name is not None and not (use == "label" and name == "label"):
                header.place(name, f"for the {use}")
        self._places = {use: places.get(name) if name is not None else None for use, name in special.items()}
        taken = {name for name in special.values() if name} | ignored
        self._inputs: dict[str, list[int]] = {}
        for name, spec in schema.inputs.items():
            wanted = mapping.inputs.get(name)
            if wanted is None and len(schema.inputs) == 1:
                wanted = [column for column in header.names if column not in taken]
            missing = [column for column in wanted or () if column not in places]
            if not wanted or missing:
                raise FileError(f"{path}: input {name!r}: no column {', '.join(map(repr, missing)) or 'is given'}")
            expected = int(np.prod(spec.shape))
            if len(wanted) != expected:
                more = len(wanted) > expected and name not in mapping.inputs
                hint = "; name the label's column with --label NAME, skip columns with --ignore NAME,…" if more else ""
                raise FileError(
                    f"{path}: input {name!r}: expected {counted(expected, 'column')} for shape {list(spec.shape)}, "
                    f"got {len(wanted)}: {', '.join(wanted)}{hint}"
                )
            self._inputs[name] = [places[column] for column in wanted]

    def decode(self, part: Sequence[Row]) -> Decoded:
        now = None if self._clock is None else self._clock()
        lines = [row.line for row in part]
        return salvage(self._schema, lines, lambda places: self._batch(part[places.start : places.stop], now))

    def _batch(self, part: Sequence[Row], now: float | None) -> Batch:
        for row in part:
            self._header.check(row)
        rows = [row.texts for row in part]
        inputs = {
            name: _column(self._schema.inputs[name], [[row[place] for place in places] for row in rows])
            for name, places in self._inputs.items()
        }
        if not columns.finite_rows(inputs, len(rows)).all():
            given = {name: [rows[0][place] for place in places] for name, places in self._inputs.items()}
            raise refused(inputs, given)
        ids, keys = self._names("id", rows), self._names("key", rows)
        check_ids(ids or ())
        check_keys(keys or ())
        weights = [_number(text, "bad_weight") if text else 1.0 for text in self._texts("weight", rows)]
        return Batch(
            inputs,
            columns.label_column(self._schema, self._labels(rows)),
            columns.weight_column(weights or [1.0] * len(rows), self._schema.max_weight),
            self._times(part, rows, now),
            ids,
            keys,
        )

    def _labels(self, rows: Sequence[Sequence[str]]) -> Sequence[str | float | bool | None]:
        texts = self._texts("label", rows)
        if not texts:
            return [None] * len(rows)
        if self._schema.label == "number":
            return [None if columns.is_missing_label(self._schema, text) else self._label(text) for text in texts]
        said = {text: columns.of_untyped(text) for text in set(texts)}
        return [said[text] for text in texts]

    def _label(self, text: str) -> str | float:
        """A number as tables write it, else the text, which may be a name."""
        try:
            return text if self._schema.classes else _number(text, "bad_label")
        except Refused:
            return text

    def _times(self, part: Sequence[Row], rows: Sequence[Sequence[str]], now: float | None) -> NDArray[np.float64]:
        defaults = [float(row.place) if now is None else now for row in part]
        texts = self._texts("time", rows)
        latest = None if now is None else latest_times(defaults, self._max_future_seconds)
        return time_column(
            [_maybe_number(text) if text else None for text in texts] or defaults, defaults, latest, self._unit
        )

    def _names(self, use: str, rows: Sequence[Sequence[str]]) -> list[str | None] | None:
        names = [text or None for text in self._texts(use, rows)]
        return names if any(names) else None

    def _texts(self, use: str, rows: Sequence[Sequence[str]]) -> list[str]:
        place = self._places[use]
        if place is None:
            return []
        texts = [row[place] for row in rows]
        check_utf8(texts, f"column {self._header.names[place]!r}")
        return texts


def _column(spec: TensorSpec, rows: Sequence[Sequence[str]]) -> Array:
    """One input of many rows, (N, ...), from its columns' texts."""
    shape = (len(rows), *spec.shape)
    name = spec.name
    if spec.dtype == "bytes":
        texts = [text for row in rows for text in row]
        check_utf8(texts, f"input {name!r}")
        column = np.empty(len(texts), dtype=object)
        column[:] = [text.encode() for text in texts]
        check_input_texts(name, column)
        return column.reshape(shape)
    kind = np.dtype(spec.dtype).kind
    try:
        if kind == "b":
            return np.array([[_TRUTH[text.strip().lower()] for text in row] for row in rows]).reshape(shape)
        if kind in "iu":
            whole = [[_id(spec, text) if spec.ids else _whole(text) for text in row] for row in rows]
            return columns.whole_column(name, whole, replace(spec, shape=(len(rows[0]),))).reshape(shape)
        _check_digits("".join(map("".join, rows)))
        with np.errstate(over="ignore"):
            return np.array(rows, dtype=np.float64).astype(spec.dtype).reshape(shape)
    except KeyError as error:
        raise Refused(
            "wrong_dtype", f"input {name!r}: expected true, false, 1 or 0, got {error.args[0]!r:.80}"
        ) from error
    except ValueError as error:
        raise Refused("wrong_dtype", f"input {name!r}: {error!s:.200}") from error


_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def _id(spec: TensorSpec, text: str) -> int:
    """An id, which may be any text; `7.0`, as tables with gaps are written, is 7."""
    value = columns.of_untyped(text) if "." in text and "e" not in text.lower() else text
    return id_number(spec.name, value if isinstance(value, float) and value.is_integer() else text)


def _whole(text: str) -> int | float:
    _check_digits(text)
    try:
        return int(text)
    except ValueError:
        return float(text)


def _number(text: str, reason: Reason) -> float:
    try:
        _check_digits(text)
        return float(text)
    except ValueError as error:
        raise Refused(reason, f"expected a number, got {text!r:.80}") from error


def _maybe_number(text: str) -> float | str:
    try:
        _check_digits(text)
        return float(text)
    except ValueError:
        return text


def _check_digits(text: str) -> None:
    """Raises ValueError for what only Python takes for a number: `1_000`, digits of other scripts."""
    if "_" in text or not text.isascii():
        raise ValueError("expected a number of the digits 0 to 9, without underscores")
