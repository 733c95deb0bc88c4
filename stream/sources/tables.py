"""Rows of a table, from CSV or Parquet, to batches: for models with columns by name, or with a field mapping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from thalweg.proto.bounds.number_range import refused as not_finite
from thalweg.proto.columns import finite_rows
from thalweg.proto.event import Batch, Decoded
from thalweg.proto.records import Partition, Records
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.assembly import assemble
from thalweg.proto.rows.fields import PARTS, usual_mapping
from thalweg.proto.rows.loose import loose_parts, part_key
from thalweg.proto.rows.paths import Path
from thalweg.proto.rows.plain_input import plain_input
from thalweg.proto.rows.values import column_array
from thalweg.proto.salvage import salvage
from thalweg.proto.schema import Array, Schema
from thalweg.stream.sources.csv_reading import FileError

Values = Sequence[Any]


class TableDecoder:
    """Makes events of rows.

    Args:
        schema: One that takes rows.
        max_future_seconds: As of `decode.Decoder`.
    """

    def __init__(self, schema: Schema, max_future_seconds: float | None) -> None:
        self._schema = schema
        self._mapping = schema.fields or usual_mapping(schema.columns.values())
        self._unit = "auto" if schema.fields is None else schema.fields.time_unit
        self._max_future_seconds = max_future_seconds

    @property
    def optional(self) -> dict[str, Path]:
        """Parts under their usual names, by key: a file may lack them."""
        return {key: path for key, path in self._parts().items() if key[1:] == path.text}

    @property
    def needed(self) -> dict[str, Path]:
        """Inputs, and parts that have names of their own, by key."""
        schema = self._schema
        inputs = {
            name: Path.of(schema.columns[name].path if name in schema.columns else name) for name in schema.inputs
        }
        own = {key: path for key, path in self._parts().items() if key[1:] != path.text}
        return inputs | own

    def unused(self, path: FilePath, names: Sequence[str], notice: Callable[[str], None]) -> None:
        """Say which columns of a file are not used, or raise FileError where the schema rejects unknown fields."""
        if not names:
            return
        listed = ", ".join(names)
        if self._mapping.unknown == "reject":
            raise FileError(f'{path}: columns that the model does not know, with unknown = "reject": {listed:.500}')
        notice(f"columns not used: {listed}")

    def _parts(self) -> dict[str, Path]:
        named: dict[str, str] = {part: getattr(self._mapping, part) for part in PARTS}
        return {part_key(part): Path.of(where) for part, where in named.items() if where}

    def decode(
        self,
        found: Mapping[str, Values],
        lines: Sequence[int],
        times: Sequence[float],
        refused: Mapping[int, Refused] | None = None,
    ) -> Decoded:
        """The events of some rows.

        Args:
            found: One value per row for each key of `needed`, and of `optional` where the file has it.
            lines: For messages.
            times: Of events that have none of their own.
            refused: Rows that are invalid, by index.
        """
        refused = refused or {}
        records = Records(
            Partition("file", 0), lines, times, [None] * len(lines), [None] * len(lines), [()] * len(lines)
        )

        def decode(places: range) -> Batch:
            if fault := next((refused[place] for place in places if place in refused), None):
                raise fault
            part = {name: values[places.start : places.stop] for name, values in found.items()}
            inputs = {name: self._input(name, part[name]) for name in self._schema.inputs}
            if not finite_rows(inputs, len(places), self._schema.inputs).all():
                plain = {name: one for name, one in inputs.items() if not self._schema.inputs[name].optional}
                raise not_finite(plain, {name: part[name][0] for name in plain})
            return assemble(
                self._schema,
                records,
                places,
                inputs,
                loose_parts(part),
                None,
                self._max_future_seconds,
                self._unit,
                zone_needed=self._schema.fields is None,
            )

        return salvage(self._schema, lines, decode)

    def _input(self, name: str, values: Values) -> Array:
        column = self._schema.columns.get(name)
        if column is not None:
            return column_array(column, values)
        return plain_input(self._schema.inputs[name], values)
