"""Logged requests as records of a model's topic, and logged responses as records of its labels topic.

A request of one row becomes an event with the id of the request; one of several rows becomes as many events, `ID/0`,
`ID/1` and so on. They have no label: it comes on the labels topic, under that id. A response is dropped, or it is the
label of its request where the model is to learn what the other one answers.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from thalweg.ops.serve.known_names import check_fields
from thalweg.ops.serve.kserve_logger.bodies import Rows, labels_of, rows_of
from thalweg.ops.serve.kserve_logger.events import LoggedEvent
from thalweg.ops.serve.models import ServedModel
from thalweg.ops.serve.rows.records import RecordRows
from thalweg.proto.bounds.counted import counted
from thalweg.proto.bounds.texts import check_ids
from thalweg.proto.bounds.times import latest_times, time_column
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_HEADERS, to_events
from thalweg.proto.event import Batch
from thalweg.proto.json_text import as_json
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.fields import PARTS, FieldMapping
from thalweg.proto.schema import InputError, Schema
from thalweg.stream.labels.label_records import label_of
from thalweg.stream.log.log import Message

_REQUESTS_KNOWN = 10_000


@dataclass(slots=True)
class LoggedRecords:
    """What a request to the route of events appends."""

    events: list[Message] = field(default_factory=list)
    event_ids: list[str] = field(default_factory=list)
    unlabelled: list[int] = field(default_factory=list)
    """Which of the events have no label."""
    labels: list[Message] = field(default_factory=list)
    label_ids: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    """Ids of the responses that are not used."""


class LoggedReader:
    """Reads what was logged for one model. Thread-safe.

    Args:
        model: The model that learns from it.
        decoder: Of the records of its topic.
        clock: Unix seconds.
    """

    def __init__(self, model: ServedModel, decoder: Decoder, clock: Callable[[], float] = time.time) -> None:
        self._model, self._decoder, self._clock = model, decoder, clock
        schema = model.schema
        self._rows_of: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._records = RecordRows(model) if schema.columns or schema.fields is not None else None

    def read(
        self,
        logged: Sequence[LoggedEvent],
        *,
        learn_responses: bool,
        ids_of_bodies: bool = False,
        headers: Headers = (),
    ) -> LoggedRecords:
        """The records of these events.

        Args:
            logged: Requests and responses, in any order.
            learn_responses: Whether responses are the labels of their requests.
            ids_of_bodies: Whether the `id` in a body names its request, and not the event that logged it.
            headers: To be appended to those of each event.

        Raises:
            InputError: One of them does not fit the model; the message says which, what was expected and what came.
        """
        found, rows = LoggedRecords(), dict[str, int]()
        for one in logged:
            try:
                if not one.response:
                    before = len(found.events)
                    self._add_request(found, one, headers, own_ids=not learn_responses, of_body=ids_of_bodies)
                    rows[one.id] = len(found.events) - before
                elif learn_responses:
                    self._add_response(found, one, rows, of_body=ids_of_bodies)
                else:
                    found.dropped.append(one.id)
            except (InputError, Refused) as error:
                raise InputError(f"{one.where()}{error}") from error
        self._remember(rows)
        return found

    def _remember(self, rows: Mapping[str, int]) -> None:
        """How many rows the newest requests have, by id, to hold their responses against."""
        with self._lock:
            self._rows_of.update(rows)
            while len(self._rows_of) > _REQUESTS_KNOWN:
                self._rows_of.popitem(last=False)

    def _add_request(
        self, found: LoggedRecords, one: LoggedEvent, headers: Headers, *, own_ids: bool, of_body: bool
    ) -> None:
        rows = rows_of(one.data)
        batch = self._batch(one, rows, own_ids, _named(one, rows.id, of_body))
        present = None if batch.labels is None else batch.labels.present
        for row, value in enumerate(to_events(batch)):
            if present is None or not present[row]:
                found.unlabelled.append(len(found.events))
            key = None if batch.keys is None or batch.keys[row] is None else str(batch.keys[row]).encode()
            found.events.append(Message(value, key, (*EVENT_HEADERS, *headers), self._clock()))
        found.event_ids += [str(id) for id in batch.ids or ()]

    def _batch(self, one: LoggedEvent, rows: Rows, own_ids: bool, name: str) -> Batch:
        now, count = self._clock(), len(rows)
        (at,) = time_column([one.time], [now], latest_times([now], self._model.max_future_seconds)).tolist()
        values = [
            json.dumps(self._record(row, rows.tensors, place), ensure_ascii=False) for place, row in _placed(rows)
        ]
        run = Records(
            Partition(self._model.topic, 0),
            range(count),
            [at] * count,
            [None] * count,
            [value.encode() for value in values],
            [()] * count,
        )
        decoded = self._decoder.decode(run)
        if decoded.rejected:
            first = min(decoded.rejected, key=lambda refused: refused.row)
            raise InputError(f"{_place(first.row, count)}{first.detail}")
        given = decoded.batch.ids if own_ids and decoded.batch.ids is not None else [None] * count
        ids = [id or made for id, made in zip(given, ids_of(name, count))]
        check_ids(ids)
        return replace(decoded.batch, ids=ids)

    def _record(self, row: Any, tensors: bool, place: str) -> Mapping[str, Any]:
        """A row as a record of the model's topic."""
        schema = self._model.schema
        names = list(schema.inputs)
        only = names[0] if len(names) == 1 and not schema.columns else None
        if tensors:
            row = _renamed(row, only) if only is not None else row
            row = {name: _squeezed(schema, name, value) for name, value in row.items()}
        elif not isinstance(row, dict):
            if only is None:
                wanted = ", ".join(map(repr, names[:5]))
                raise InputError(f"{place}expected an object with {wanted}, got {as_json(row)}")
            row = {only: row}
        if self._records is not None:
            self._records.check_names(row, place)
            return dict(row)
        if isinstance(row.get("inputs"), dict) and "inputs" not in schema.inputs:
            return dict(row)
        check_fields(row, {**schema.inputs, **dict.fromkeys(PARTS)}, f"{place}the row")
        parts = {name: value for name, value in row.items() if name not in schema.inputs}
        return {**parts, "inputs": {name: value for name, value in row.items() if name in schema.inputs}}

    def _add_response(self, found: LoggedRecords, one: LoggedEvent, rows: Mapping[str, int], *, of_body: bool) -> None:
        labels = labels_of(one.data)
        name = _named(one, labels.id, of_body)
        with self._lock:
            known = rows.get(one.id, self._rows_of.get(one.id))
        if known is not None and known != len(labels):
            raise InputError(
                f"expected an answer for each of {counted(known, 'row')} of its request, got {len(labels)}"
            )
        fields = self._model.schema.fields or FieldMapping()
        for row, (id, label) in enumerate(zip(ids_of(name, len(labels)), labels)):
            value = json.dumps({fields.id or "id": id, fields.label or "label": label}, ensure_ascii=False).encode()
            try:
                label_of(value, self._model.schema)
            except Refused as error:
                raise InputError(f"{_place(row, len(labels))}{error}") from error
            found.labels.append(Message(value, id.encode(), (), self._clock()))
            found.label_ids.append(id)


def _named(one: LoggedEvent, of_body: str, wanted: bool) -> str:
    """The id of a request and of its response: of the event, or where wanted of the body. Raises InputError."""
    if wanted and not of_body:
        raise InputError("expected an id in the body, as ids=body says, and as version 2 has it")
    return of_body if wanted else one.id


def ids_of(id: str, rows: int) -> list[str]:
    """The id of each row of a request: its own, if it is the only one."""
    return [id] if rows == 1 else [f"{id}/{row}" for row in range(rows)]


def _placed(rows: Rows) -> list[tuple[str, Any]]:
    return [(_place(place, len(rows)), row) for place, row in enumerate(rows)]


def _place(row: int, rows: int) -> str:
    return "" if rows == 1 else f"row {row}: "


def _renamed(row: Mapping[str, Any], only: str) -> Mapping[str, Any]:
    """The only tensor under the name of the model's only input: other servers name it otherwise."""
    return {only: next(iter(row.values()))} if len(row) == 1 else row


def _squeezed(schema: Schema, name: str, value: Any) -> Any:
    """The value of a tensor (N, 1) where the model takes a single value of that name."""
    spec = schema.inputs.get(name)
    if spec is not None and not spec.shape and isinstance(value, list) and len(value) == 1:
        return value[0]
    return value
