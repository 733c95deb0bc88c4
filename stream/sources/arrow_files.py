"""Parquet and Arrow IPC files as streams; PyArrow is imported only here, when such a file is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.proto.event import Decoded
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.foreign import plain_values
from thalweg.proto.rows.paths import Path as FieldPath
from thalweg.proto.rows.paths import find_within
from thalweg.proto.schema import Schema
from thalweg.stream.sources.csv_reading import FileError, Header, unreadable
from thalweg.stream.sources.mapping import IGNORED, CsvMapping
from thalweg.stream.sources.tables import TableDecoder

if TYPE_CHECKING:
    import pyarrow as pa

ARROW_KINDS = ("parquet", "arrow", "feather", "arrows")
"""Suffixes; `arrows` is the stream format of Arrow IPC, `arrow` and `feather` its files."""


def arrow_events(
    path: Path,
    kind: str,
    schema: Schema,
    mapping: CsvMapping,
    limit: int | None,
    chunk: int,
    clock: Callable[[], float] | None,
    max_future_seconds: float | None,
    notice: Callable[[str], None],
) -> Iterator[Decoded]:
    """The events of one file, as `files.read_events` returns them; `Rejected.row` counts rows from 1."""
    with _readable(path, kind) as file:
        names, batches = _opened(file, kind, chunk)
        table = _Table(Header(path, names), schema, mapping, notice)
        decoder = TableDecoder(mapping.named(schema), max_future_seconds)
        done = 0
        for batch in batches:
            for start in range(0, batch.num_rows, chunk):
                part = batch.slice(start, chunk if limit is None else min(chunk, limit - done))
                if not part.num_rows:
                    return
                now = None if clock is None else clock()
                times = [float(done + row) if now is None else now for row in range(part.num_rows)]
                found, refused = table.values(part)
                yield decoder.decode(found, range(done + 1, done + part.num_rows + 1), times, refused)
                done += part.num_rows


def arrow_rows(path: Path, kind: str, most: int) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of the columns and the first rows, as values of JSON.

    Raises:
        FileError: As `arrow_events`.
    """
    rows: list[tuple[Any, ...]] = []
    with _readable(path, kind) as file:
        names, batches = _opened(file, kind, most)
        Header(path, names)
        for batch in batches:
            part = batch.slice(0, most - len(rows))
            rows += zip(*(plain_values(_python(column)) for column in part.columns))
            if len(rows) >= most:
                break
    return list(names), rows


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[Any]:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise FileError(f"{path}: a .{kind} file needs PyArrow: pip install 'thalweg[parquet]'") from error
    try:
        with path.open("rb") as file:
            yield file
    except pa.ArrowException as error:
        raise FileError(f"{path}: cannot be read as .{kind}: {error}") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _opened(file: Any, kind: str, chunk: int) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    """Names of the columns, and the rows."""
    import pyarrow as pa

    if kind == "parquet":
        import pyarrow.parquet as pq

        parquet = pq.ParquetFile(file)
        return parquet.schema_arrow.names, parquet.iter_batches(batch_size=max(chunk, 1000))
    if kind == "arrows":
        stream = pa.ipc.open_stream(file)
        return stream.schema.names, iter(stream)
    reader = pa.ipc.open_file(file)
    return reader.schema.names, (reader.get_batch(at) for at in range(reader.num_record_batches))


class _Table:
    """The columns of one file by use. Raises FileError where one is missing."""

    def __init__(self, header: Header, schema: Schema, mapping: CsvMapping, notice: Callable[[str], None]) -> None:
        decoder = TableDecoder(mapping.named(schema), None)
        for name in mapping.ignore or ():
            header.place(name, "to ignore")
        skipped = set(IGNORED if mapping.ignore is None else mapping.ignore)
        self._gathered: dict[str, list[str]] = {}
        self._paths: dict[str, FieldPath] = {}
        for key, path in decoder.optional.items():
            if path.text in header.places and path.text not in skipped:
                self._paths[key] = path
        for key, path in decoder.needed.items():
            if path.text in header.places or path.name in header.places:
                self._paths[key] = path
            elif len(schema.inputs) == 1 and key not in schema.columns and key in schema.inputs:
                self._gathered[key] = []
            else:
                use = f"for column {key!r:.80} of the model" if key in schema.inputs else f"for the {key[1:]}"
                header.place(path.name, use)
        used = {path.text if path.text in header.places else path.name for path in self._paths.values()}
        rest = [name for name in header.names if name not in used and name not in skipped]
        for names in self._gathered.values():
            names += rest
        self._columns = sorted(used | {name for names in self._gathered.values() for name in names})
        ignored = set(mapping.ignore or ())
        decoder.unused(
            header.path, [name for name in header.names if name not in self._columns and name not in ignored], notice
        )

    def values(self, rows: pa.RecordBatch) -> tuple[dict[str, Sequence[Any]], dict[int, Refused]]:
        """The values of each use, and the rows that have something else on the way to one."""
        columns = {name: plain_values(_python(rows.column(name))) for name in self._columns}
        refused: dict[int, Refused] = {}
        found: dict[str, Sequence[Any]] = {
            name: [list(row) for row in zip(*(columns[part] for part in parts))]
            for name, parts in self._gathered.items()
        }
        for key, path in self._paths.items():
            if path.text in columns:
                found[key] = columns[path.text]
            else:
                found[key] = [_at(value, path, row, refused) for row, value in enumerate(columns[path.name])]
        return found, refused


def _at(value: Any, path: FieldPath, row: int, refused: dict[int, Refused]) -> Any:
    try:
        return find_within(value, path)
    except Refused as error:
        refused.setdefault(row, error)
        return None


def _python(column: pa.Array) -> list[Any]:
    """As Python values; nanoseconds, which Python has not, as microseconds."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values
