"""Requests in rows as people write them: `{"amount": 12.5, "country": "DE"}`, or a list of such.

A row has the form of the model's events, without a label: columns by name, inputs by name, or a record of the user's
own with its parts where `[model.fields]` says. A label, a time, a key or a weight in it is as valid as in an event, and
changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from thalweg.ops.serve.bounds.answer_bytes import COPIES, AnswerBytes
from thalweg.ops.serve.bounds.byte_budget import HELD
from thalweg.ops.serve.bounds.pieces import cut
from thalweg.ops.serve.by_key.keys import KEY, has_key, keys_of
from thalweg.ops.serve.inference import InferenceRequest, RequestOptions
from thalweg.ops.serve.models import ServedModel
from thalweg.ops.serve.rows.json_bodies import value_of
from thalweg.ops.serve.rows.options import RowOptions, RowsRead, joined, place_of
from thalweg.ops.serve.rows.records import RecordRows
from thalweg.ops.serve.rows.tensors import TensorRows
from thalweg.proto.json_text import as_json
from thalweg.proto.rows.fields import PARTS
from thalweg.proto.schema import Array, InputError

_SIZES = AnswerBytes("rows")
_ID_BYTES = 60  # of an object, beside its text
_TIMES_JSON = 4  # as much as its JSON a row takes while it is read


class RowsAsked(NamedTuple):
    """A request for rows."""

    request: InferenceRequest
    ids: Sequence[str | None]
    """The id of each row, (N,)."""
    single: bool
    """Whether it was one object, not a list."""


class RowRequests:
    """Reads the requests to one model. Thread-safe."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        schema = model.schema
        self._rows = RecordRows(model) if schema.columns or schema.fields is not None else TensorRows(model)

    def read(self, body: bytearray, query: Sequence[tuple[str, str]]) -> RowsAsked:
        """The request in a body and a query. Raises InputError."""
        found = value_of(body)
        if not isinstance(found, dict | list):
            raise InputError(f"the request: expected an object, or a list of objects, got {as_json(found)}")
        if isinstance(found, dict):
            return self.of_rows([found], query, single=True)
        return self.of_rows(found, query, size=len(body))

    def of_rows(
        self, rows: list[Any], query: Sequence[tuple[str, str]], *, single: bool = False, size: int = 0
    ) -> RowsAsked:
        """The request for these rows, which are taken out of the list.

        Args:
            rows: As they were in JSON.
            query: Names and values of options.
            single: Whether it is one object, not a list.
            size: Bytes of their JSON.

        Raises:
            InputError: They do not fit; it names the row unless it is a single one.
        """
        options = RowOptions.of(query)
        key = None if self._model.keys is not None or not has_key(self._model.schema.inputs) else options.key
        pieces = list(cut(len(rows), _TIMES_JSON * size // len(rows))) if len(rows) > 1 else ()
        if len(pieces) > 1:
            read = joined([self._read(rows, piece, key) for piece in pieces])
        else:
            read = self._read(rows, slice(0, len(rows)), key, single)
        inputs, ids = read.inputs if key is None else _with_key(read.inputs, key), read.ids
        if any(ids) and (held := HELD.get()) is not None:
            held.add((1 + COPIES) * sum(_ID_BYTES + len(id) for id in ids if id is not None))
        waiting = self._waiting(ids, options, single)
        asked = RequestOptions(
            self._model.name,
            freshness=options.freshness,
            outputs=options.outputs,
            event_id=options.event_id,
            explain=options.explain,
            key=options.key,
        )
        keys = None if self._model.keys is None else keys_of(read.keys)
        shown = [options.event_id] if options.event_id is not None else ids
        return RowsAsked(InferenceRequest(asked, inputs, event_ids=waiting, keys=keys, answer=_SIZES), shown, single)

    def _read(self, rows: list[Any], piece: slice, key: bytes | None, single: bool = False) -> RowsRead:
        """What some of the rows hold; they are let go."""
        named = [self._named(row, place, single) for place, row in enumerate(rows[piece], piece.start)]
        rows[piece] = [None] * len(named)
        if key is not None and isinstance(self._rows, TensorRows):
            named = [self._keyed(row, key) for row in named]
        return self._rows.read(named, single, piece.start)

    def _named(self, row: Any, place: int, single: bool) -> dict[str, Any]:
        """The row as an object; the bare values of a model's only input are one, too."""
        names = list(self._model.schema.inputs)
        if isinstance(row, list) and len(names) == 1 and not self._model.schema.columns:
            return {names[0]: row}
        if not isinstance(row, dict):
            wanted = ", ".join(map(repr, names[:5]))
            raise InputError(f"{place_of(place, single)}expected an object with {wanted}, got {as_json(row)}")
        return _without(self._model.tolerated, row) if self._model.tolerated else row

    def _keyed(self, row: dict[str, Any], key: bytes) -> dict[str, Any]:
        """The row with the option's key as its input, if it has none; a history has none, whatever the option says."""
        inputs = row.get("inputs")
        if isinstance(inputs, dict) and "inputs" not in self._model.schema.inputs:
            return row if inputs.keys() - self._model.schema.inputs.keys() else {**row, "inputs": _first(inputs, key)}
        return row if row.keys() - self._model.schema.inputs.keys() - {*PARTS} else _first(row, key)

    def _waiting(self, ids: Sequence[str | None], options: RowOptions, single: bool) -> Sequence[str | None] | None:
        """Ids under which rows wait for their labels; None: none does, or the options name the only one."""
        if not self._model.labels_topic or not any(ids):
            return None
        if options.event_id is not None:
            if ids != [options.event_id]:
                raise InputError(
                    f"option 'event_id': expected the id of the only row, {ids[0]!r:.80}, got {options.event_id!r:.80}"
                )
            return None
        seen: dict[str, int] = {}
        for place, id in enumerate(ids):
            if id is not None and seen.setdefault(id, place) != place:
                raise InputError(f"{place_of(place, single)}id {id!r:.80}: row {seen[id]} has it, too")
        return ids


def _without(names: Collection[str], row: dict[str, Any]) -> dict[str, Any]:
    """The row without the inputs that only another model of the alias takes."""
    inputs = row.get("inputs")
    inside = {"inputs": _without(names, inputs)} if isinstance(inputs, dict) else {}
    return {name: value for name, value in row.items() if name not in names} | inside


def _first(inputs: dict[str, Any], key: bytes) -> dict[str, Any]:
    return inputs if inputs.get(KEY) not in (None, "") else {**inputs, KEY: key.decode()}


def _with_key(inputs: Mapping[str, Array], key: bytes) -> Mapping[str, Array]:
    """The inputs with a key where a row's column has none."""
    if KEY not in inputs:
        return inputs
    keys = np.empty(len(inputs[KEY]), dtype=object)
    keys[:] = [own or key for own in inputs[KEY].tolist()]
    return {**inputs, KEY: keys}
