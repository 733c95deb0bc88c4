"""Events from CSV for a model with columns by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from thalweg.proto.columns import of_untyped
from thalweg.proto.event import Decoded
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.loose import part_key
from thalweg.proto.schema import Schema
from thalweg.stream.sources.csv_reading import FileError, Header, Row, check_utf8
from thalweg.stream.sources.tables import TableDecoder

_EXPONENT = re.compile("[0-9.]+[eE]")


class CsvColumns:
    """The columns of one CSV file by name.

    Args:
        header: The file's header.
        schema: One with columns.
        ignored: Columns that are not used on purpose.
        clock: The time of events that have none; None: row i happened at second i.
        max_future_seconds: As of `decode.Decoder`, with a clock.
        notice: Told which columns are not used.

    Raises:
        FileError: A column that the model needs is missing or ignored, or an ignored one is missing.
    """

    def __init__(
        self,
        header: Header,
        schema: Schema,
        ignored: Sequence[str],
        clock: Callable[[], float] | None,
        max_future_seconds: float | None,
        notice: Callable[[str], None],
    ) -> None:
        self._header, self._clock = header, clock
        self._decoder = TableDecoder(schema, None if clock is None else max_future_seconds)
        needed = {key: (path.text, _use(key)) for key, path in self._decoder.needed.items()}
        self._places = {key: header.place(name, use) for key, (name, use) in needed.items()}
        for name in ignored:
            header.place(name, "to ignore")
            if use := next((use for other, use in needed.values() if other == name), ""):
                raise FileError(f"{header.path}: column {name!r:.80} is to be ignored, and needed {use}")
        for key, path in self._decoder.optional.items():
            if path.text in header.places and path.text not in ignored:
                self._places[key] = header.places[path.text]
        categories = {name for name, column in schema.columns.items() if column.kind in ("categorical", "hashed")}
        self._untyped = {part_key("label"): of_untyped} | dict.fromkeys(categories, _of_category)
        used = {header.names[place] for place in self._places.values()} | set(ignored)
        self._decoder.unused(header.path, [name for name in header.names if name not in used], notice)

    def decode(self, part: Sequence[Row]) -> Decoded:
        """The events of some rows."""
        refused: dict[int, Refused] = {}
        for index, row in enumerate(part):
            try:
                self._header.check(row)
                check_utf8(row.texts, "the row")
            except Refused as error:
                refused[index] = error
        nothing = ("",) * len(self._header.names)
        columns = list(zip(*(nothing if index in refused else row.texts for index, row in enumerate(part))))
        found = {key: self._values(key, columns[place]) for key, place in self._places.items()}
        now = None if self._clock is None else self._clock()
        times = [float(row.place) if now is None else now for row in part]
        return self._decoder.decode(found, [row.line for row in part], times, refused)

    def _values(self, key: str, texts: Sequence[str]) -> Sequence[Any]:
        """The values of one column; a text that names a class or a category as the same value in JSON."""
        of = self._untyped.get(key)
        if of is None:
            return texts
        said = {text: of(text) for text in set(texts)}
        return [said[text] for text in texts]


def _of_category(text: str) -> Any:
    """As `of_untyped`; but a code such as `12e4` is a text, not a number."""
    return text if _EXPONENT.match(text) else of_untyped(text)


def _use(key: str) -> str:
    return f"for the {key[1:]}" if key.startswith(part_key("")) else f"for column {key!r:.80} of the model"
