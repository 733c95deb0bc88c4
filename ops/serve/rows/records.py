"""Rows of a model with columns, or with records of the user's own: decoded as the records of its topic are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from thalweg.ops.serve.known_names import all_of, check_fields, nearest
from thalweg.ops.serve.models import ServedModel
from thalweg.ops.serve.rows.options import RowsRead, place_of
from thalweg.proto.decode import Decoder
from thalweg.proto.records import Partition, Records
from thalweg.proto.rows.fields import PARTS, FieldMapping, usual_mapping
from thalweg.proto.schema import InputError, Schema

_ALIKE, _ALMOST = 0.75, 0.8
"""How much an unknown name may look like a column that the row lacks: less, where other fields are to be ignored."""


class RecordRows:
    """Reads rows of one model. Thread-safe."""

    def __init__(self, model: ServedModel, clock: Callable[[], float] = time.time) -> None:
        self._schema, self._clock = model.schema, clock
        self._decoder = Decoder(model.schema, max_future_seconds=model.max_future_seconds)
        fields = model.schema.fields or usual_mapping(model.schema.columns.values())
        self._inputs = _heads(_input_paths(model.schema))
        self._names = {*self._inputs, *_heads(_part_paths(fields))}
        self._lenient = model.schema.fields is not None
        """Whether the model says that unknown fields are to be ignored; if it says that they are not, decoding sees."""

    def read(self, rows: Sequence[Mapping[str, Any]], single: bool, start: int = 0) -> RowsRead:
        """What the rows hold, of which the first is the request's row `start`. Raises InputError."""
        for place, row in enumerate(rows, start):
            self.check_names(row, place_of(place, single))
        values = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
        count, now = len(values), self._clock()
        run = Records(Partition("request", 0), range(count), [now] * count, [None] * count, values, [()] * count)
        decoded = self._decoder.decode(run)
        if decoded.rejected:
            first = min(decoded.rejected, key=lambda one: one.row)
            raise InputError(f"{place_of(start + first.row, single)}{first.detail}")
        batch = decoded.batch
        return RowsRead(batch.inputs, [None] * count if batch.ids is None else list(batch.ids), batch.keys)

    def check_names(self, row: Mapping[str, Any], where: str) -> None:
        """Raise InputError for a name that may be a misspelt one: a column that is missing is normal."""
        if self._schema.fields is None and isinstance(row.get("inputs"), dict) and "inputs" not in self._inputs:
            check_fields(row, ("inputs", *PARTS), where + "the event")
            check_fields(row["inputs"], self._schema.inputs, where + "the inputs")
            return
        absent = [name for name in self._names if name not in row]
        alike = _ALMOST if self._lenient else _ALIKE
        for name in row:
            if name not in self._names and (meant := nearest(name, absent, alike)):
                raise InputError(f"{where}the row: no such field {name!r:.80}; {meant}")
        if not self._inputs & row.keys():
            meant = next((found for name in row if (found := nearest(name, self._inputs))), all_of(self._inputs))
            got = ", ".join(map(repr, sorted(row))) or "none"
            raise InputError(f"{where}the row: expected at least one column, got {got:.200}; {meant}")


def _input_paths(schema: Schema) -> list[str]:
    return [column.path for column in schema.columns.values()] or list(schema.inputs)


def _part_paths(fields: FieldMapping) -> list[str]:
    return [path for part in PARTS if (path := str(getattr(fields, part)))]


def _heads(paths: Collection[str]) -> set[str]:
    """Names at the top of a record that these paths begin with; a path may also be a name itself."""
    return {name for path in paths for name in (path, path.partition(".")[0].partition("[")[0])}
