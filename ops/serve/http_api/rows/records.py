"""Rows of a model with columns, or with records of the user's own: decoded as the records of its topic are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from thalweg.ops.serve.http_api.rows.options import PARTS, place_of
from thalweg.ops.serve.known_names import check_fields, nearest
from thalweg.ops.serve.models import ServedModel
from thalweg.proto.decode import Decoder
from thalweg.proto.records import Partition, Records
from thalweg.proto.schema import Array, InputError


class RecordRows:
    """Reads rows of one model. Thread-safe."""

    def __init__(self, model: ServedModel, clock: Callable[[], float] = time.time) -> None:
        self._schema, self._clock = model.schema, clock
        self._decoder = Decoder(model.schema, max_future_seconds=model.max_future_seconds)
        self._names = self._known()

    def read(self, rows: Sequence[Mapping[str, Any]], single: bool) -> tuple[Mapping[str, Array], list[str | None]]:
        """Inputs by name, each (N, ...), and the id of each row. Raises InputError."""
        values = [
            json.dumps(self._record(row, place_of(place, single)), ensure_ascii=False).encode()
            for place, row in enumerate(rows)
        ]
        count, now = len(values), self._clock()
        run = Records(Partition("request", 0), range(count), [now] * count, [None] * count, values, [()] * count)
        decoded = self._decoder.decode(run)
        if decoded.rejected:
            first = min(decoded.rejected, key=lambda one: one.row)
            raise InputError(f"{place_of(first.row, single)}{first.detail}")
        ids = decoded.batch.ids
        return decoded.batch.inputs, [None] * count if ids is None else list(ids)

    def _known(self) -> Collection[str]:
        """Names that may stand at the top of a row."""
        fields = self._schema.fields
        if fields is None:
            return {*self._schema.inputs, *PARTS}
        paths = [fields.label, fields.id, fields.time, fields.key, fields.weight]
        paths += [column.path for column in self._schema.columns.values()] or list(self._schema.inputs)
        return {name for path in paths if path for name in (path, path.partition(".")[0].partition("[")[0])}

    def _record(self, row: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        """The row as a record of the model's topic."""
        inputs = self._schema.inputs
        if self._schema.fields is not None:
            self._check_misspelt(row, where)
            return row
        if "inputs" not in inputs and isinstance(row.get("inputs"), dict):
            check_fields(row, ("inputs", *PARTS), where + "the event")
            return row
        check_fields(row, self._names, where + "the row")
        parts = {name: value for name, value in row.items() if name in PARTS and name not in inputs}
        return {**parts, "inputs": {name: value for name, value in row.items() if name in inputs}}

    def _check_misspelt(self, row: Mapping[str, Any], where: str) -> None:
        """Refuse a name that looks like one which is absent: a missing value would go unnoticed."""
        absent = [name for name in self._names if name not in row]
        for name in row:
            if name not in self._names and (meant := nearest(name, absent)):
                raise InputError(f"{where}the row: no such field {name!r:.80}; {meant}")
