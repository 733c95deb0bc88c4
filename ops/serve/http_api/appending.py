"""Routes that append to the log: `POST /v1/models/M/events` and `/labels`, one record or a list of them.

All or nothing: every record is checked as the learner will check it, and if one is refused, none is appended. What is
appended are the bytes that came. What KServe's request logger posts to `events` becomes an event for each row in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.by_key.keys import record_keys
from thalweg.ops.serve.errors import FailedPrecondition, RowsRefused, TooLarge
from thalweg.ops.serve.http_api.calls import Answer, BoundedCalls, Call
from thalweg.ops.serve.http_api.cloud_events import record_headers
from thalweg.ops.serve.known_names import check_options
from thalweg.ops.serve.kserve_logger.events import LoggedEvent, is_logged, logged_events
from thalweg.ops.serve.kserve_logger.records import LoggedReader
from thalweg.ops.serve.models import Models, ServedModel
from thalweg.ops.serve.rows.json_bodies import value_of
from thalweg.ops.serve.rows.misspelt import misspelt
from thalweg.ops.serve.telemetry import ServingObserver
from thalweg.ops.traces.requests import REQUEST
from thalweg.proto.decode import Decoder
from thalweg.proto.event import Batch
from thalweg.proto.json_text import as_json
from thalweg.proto.records import Partition, Records
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import InputError
from thalweg.stream.labels.label_records import label_of
from thalweg.stream.log.log import Log, Message, RecordsRefused
from thalweg.stream.traces.context import NAME, parse

_LONGEST_DETAIL = 300  # characters; of each of many rows
MOST_RECORDS = 10_000
"""Records of one request: they are checked together, and appended together."""
OPTIONS = {"responses": ("ignore", "label"), "ids": ("event", "body")}
"""What becomes of the responses that KServe's logger posts, and which ids name what it logs."""
_SERVICE = "/thalweg.v1.LearningService"
_RAW = msgspec.json.Decoder(list[msgspec.Raw])


class AppendingRoutes:
    """The routes.

    Args:
        models: What is served.
        source: The log.
        calls: Bounds on requests.
        slots: Slots for calls that wait for the log, shared with gRPC.
        observer: Notified of every call, under the name of the gRPC method that does the same.
        clock: Unix seconds.
    """

    def __init__(
        self,
        models: Models,
        source: Log,
        calls: BoundedCalls,
        slots: Admission,
        observer: ServingObserver,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._models, self._log, self._calls, self._slots = models, source, calls, slots
        self._observer, self._clock = observer, clock
        self._decoders = {
            model.name: Decoder(model.schema, max_future_seconds=model.max_future_seconds) for model in models.all()
        }
        self._logged = {model.name: LoggedReader(model, self._decoders[model.name], clock) for model in models.all()}

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/v1/models/{name}/events", self._events, methods=["POST"]),
            Route("/v1/models/{name}/labels", self._labels, methods=["POST"]),
        ]

    async def _events(self, request: Request) -> Response:
        return await self._run(request, self._append_events, "Learn")

    async def _labels(self, request: Request) -> Response:
        return await self._run(request, self._append_labels, "Label")

    async def _run(self, request: Request, answering: Callable[[Call], Answer], method: str) -> Response:
        return await self._calls.run(request, self._slots, answering, partial(self._count, f"{_SERVICE}/{method}"))

    def _count(self, method: str, model: str, code: str, seconds: float, rows: int, queued: float) -> None:
        self._observer.called(method, code, seconds)

    def _append_events(self, call: Call) -> Answer:
        model = self._models.find(call.model)
        options = {name: _option(call.query, name) for name in OPTIONS}
        if is_logged(call.headers):
            check_options([name for name, _ in call.query], OPTIONS)
            values, single = [bytes(call.body)], True
        else:
            values, single = _records(call, OPTIONS)
        now, count = self._clock(), len(values)
        headers = record_headers(call.headers, single=single)
        if (logged := logged_events(values, headers)) is not None:
            return self._append_logged(model, call, logged, options, single)
        run = Records(Partition(model.topic, 0), range(count), [now] * count, [None] * count, values, [headers] * count)
        decoded = self._decoders[model.answering.name].decode(run)
        _refuse({one.row: (one.reason, one.detail) for one in decoded.rejected}, single)
        batch = decoded.batch
        bare = _unlabelled(model, batch)
        later = bool(model.labels_topic) and any(batch.ids or ())  # their labels may come, by these ids
        _refuse(misspelt(model.schema, values, label=len(bare) == count, later=later), single)
        ids, keys = batch.ids or [None] * count, record_keys(batch, as_input=model.keyed_by_input)
        if (trace := REQUEST.get() or parse(call.headers.get(NAME))) is not None:
            headers = (*headers, (NAME, trace.header.encode()))
        messages = [Message(value, key, headers, now) for value, key in zip(values, keys)]
        return self._append(model.topic, messages, ids, single, bare)

    def _append_logged(
        self, model: ServedModel, call: Call, logged: Sequence[LoggedEvent], options: Mapping[str, str], single: bool
    ) -> Answer:
        """Append what KServe's logger saw: requests as events, responses perhaps as their labels."""
        learn_responses = options["responses"] == "label"
        if learn_responses and not model.labels_topic:
            raise FailedPrecondition(f"model {model.name!r} has no labels_topic: responses=label has nowhere to go")
        reader = self._logged[model.answering.name]
        trace = REQUEST.get() or parse(call.headers.get(NAME))
        headers = () if trace is None else ((NAME, trace.header.encode()),)
        found = reader.read(
            logged, learn_responses=learn_responses, ids_of_bodies=options["ids"] == "body", headers=headers
        )
        if (count := len(found.events) + len(found.labels)) > MOST_RECORDS:
            raise TooLarge(f"expected at most {MOST_RECORDS} rows, got {count}")
        bare = _needing_labels(model, found.unlabelled)
        acks = self._landed(model.topic, found.events, found.event_ids, single, bare)
        acks += self._landed(model.labels_topic, found.labels, found.label_ids, single)
        acks += [{"id": id, "ignored": "response"} for id in found.dropped]
        return Answer(msgspec.json.encode(acks[0] if single and len(acks) == 1 else acks), len(acks))

    def _append_labels(self, call: Call) -> Answer:
        model = self._models.find(call.model)
        if not model.labels_topic:
            raise FailedPrecondition(f"model {model.name!r} has no labels_topic: its labels arrive with their events")
        values, single = _records(call)
        headers = record_headers(call.headers, single=single)
        ids = self._label_ids(model, values, single)
        now = self._clock()
        messages = [Message(value, id.encode(), headers, now) for value, id in zip(values, ids)]
        return self._append(model.labels_topic, messages, ids, single)

    def _label_ids(self, model: ServedModel, values: Sequence[bytes], single: bool) -> list[str]:
        ids, refused = [], {}
        for row, value in enumerate(values):
            try:
                ids.append(str(label_of(value, model.schema).id))
            except Refused as error:
                refused[row] = (error.reason, str(error))
        _refuse(refused, single)
        return ids

    def _append(
        self,
        topic: str,
        messages: Sequence[Message],
        ids: Sequence[str | None],
        single: bool,
        unlabelled: Collection[int] = (),
    ) -> Answer:
        """Append what was checked; answered when the log has it. `unlabelled`: rows to be told to have no label."""
        acks = self._landed(topic, messages, ids, single, unlabelled)
        return Answer(msgspec.json.encode(acks[0] if single else acks), len(acks))

    def _landed(
        self,
        topic: str,
        messages: Sequence[Message],
        ids: Sequence[str | None],
        single: bool,
        unlabelled: Collection[int] = (),
    ) -> list[dict[str, Any]]:
        """Append what was checked: where each is."""
        if not messages:
            return []
        most = self._log.max_record_bytes(topic)
        _refuse(
            {
                row: ("too_large", f"topic {topic!r}: expected records of at most {most} bytes, got {one.size_bytes}")
                for row, one in enumerate(messages)
                if one.size_bytes > most
            },
            single,
        )
        try:
            landed = self._log.append(topic, messages)
        except RecordsRefused as error:  # against what the log said that it takes; the others are in it
            rows = error.rows or range(len(messages))
            raise RowsRefused(
                f"{error}; the other records are in the log",
                [{"row": row, "reason": "too_large", "detail": str(error)} for row in rows],
                appended=len(messages) - len(rows),
            ) from error
        acks = [_ack(one.partition, one.offset, id) for one, id in zip(landed, ids)]
        for row in unlabelled:
            acks[row]["labelled"] = False
        return acks


def _option(query: Sequence[tuple[str, str]], name: str) -> str:
    """What an option of logged requests and responses says; the first of its values by default. Raises InputError."""
    given = [value for key, value in query if key == name] or [OPTIONS[name][0]]
    if len(given) > 1:
        raise InputError(f"option {name!r}: given twice")
    if given[0] not in OPTIONS[name]:
        raise InputError(f"option {name!r}: expected {' or '.join(OPTIONS[name])}, got {given[0]!r:.80}")
    return given[0]


def _records(call: Call, options: Collection[str] = ()) -> tuple[list[bytes], bool]:
    """The records of a body, byte for byte, and whether it was one object. Raises InputError and TooLarge."""
    check_options([name for name, _ in call.query], options)
    found = value_of(call.body)
    if isinstance(found, dict):
        return [bytes(call.body).strip()], True
    if not isinstance(found, list):
        raise InputError(f"the request: expected an object, or a list of objects, got {as_json(found)}")
    if len(found) > MOST_RECORDS:
        raise TooLarge(f"expected at most {MOST_RECORDS} records, got {len(found)}")
    for row, one in enumerate(found):
        if not isinstance(one, dict):
            raise InputError(f"row {row}: expected an object, got {as_json(one)}")
    try:
        return [bytes(one) for one in _RAW.decode(call.body)], False
    except (msgspec.MsgspecError, ValueError) as error:  # what Python's parser takes and others do not, as NaN
        raise InputError(f"the request is not JSON: {error}") from error


def _unlabelled(model: ServedModel, batch: Batch) -> list[int]:
    """Rows without a label, where a model learns from labels."""
    if batch.labels is None:
        return _needing_labels(model, list(range(len(batch))))
    return _needing_labels(model, np.flatnonzero(~batch.labels.present).tolist())


def _needing_labels(model: ServedModel, rows: list[int]) -> list[int]:
    """These rows without a label, if the model learns from labels; else none."""
    newest = model.versions.newest
    if model.schema.label == "none" or not model.needs_labels(None if newest is None else newest.predictor.task.name):
        return []
    return rows


def _refuse(refused: Mapping[int, tuple[str, str]], single: bool) -> None:
    """Raise RowsRefused unless there is none."""
    if refused:
        rows = [
            {"row": row, "reason": reason, "detail": detail[:_LONGEST_DETAIL]}
            for row, (reason, detail) in sorted(refused.items())
        ]
        first = rows[0]["detail"] if single else f"row {rows[0]['row']}: {rows[0]['detail']}"
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise RowsRefused(f"{first}{more}; nothing was appended", rows)


def _ack(partition: Partition, offset: int, id: str | None) -> dict[str, Any]:
    ack: dict[str, Any] = {"topic": partition.topic, "partition": partition.number, "offset": offset}
    return ack if id is None else {**ack, "id": id}
