"""`thalweg.v1.LearningService` over gRPC: appends events to the log, and submits operators' commands."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from thalweg.memory.exchange.commands import CommandQueue
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.ops.serve.access.callers import CALLER
from thalweg.ops.serve.bounds.answer_bytes import too_long
from thalweg.ops.serve.bounds.byte_budget import HELD
from thalweg.ops.serve.bounds.byte_queue import ByteQueue
from thalweg.ops.serve.by_key.keys import record_keys
from thalweg.ops.serve.commands import command
from thalweg.ops.serve.errors import (
    EXPECTED,
    FailedPrecondition,
    QueueFull,
    TooLarge,
    Unimplemented,
    refuse,
    text_of,
)
from thalweg.ops.serve.grpc_api.methods import Method, translated
from thalweg.ops.serve.grpc_api.status_stream import StatusStream
from thalweg.ops.serve.models import Models, ServedModel
from thalweg.ops.serve.rows.answering import RowAnswers
from thalweg.ops.telemetry.status import Statuses
from thalweg.ops.traces.requests import REQUEST, caller_of
from thalweg.proto import thalweg_pb2 as pb
from thalweg.proto.bounds.texts import check_ids
from thalweg.proto.columns import check_label
from thalweg.proto.decode import CONTENT_TYPE_EVENT
from thalweg.proto.decode_protobuf import ProtobufDecoder
from thalweg.proto.json_text import expanded_bytes
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import InputError, Schema
from thalweg.stream.log.log import Log, LogError, Message, RecordsRefused
from thalweg.stream.traces.context import NAME, TraceContext

SERVICE = "thalweg.v1.LearningService"
_HEADERS = (("content-type", CONTENT_TYPE_EVENT),)
_APPEND_AT_ONCE = 500
_WAITING_BYTES = 8 << 20  # of the events of one stream that wait for the log
_LARGEST_ROWS = 1 << 20
_FRAME_BYTES = 16  # of a message beside its only field
_SHORTEST_WATCH_SECONDS, _LONGEST_WATCH_SECONDS = 0.05, 86_400.0


class LearningService:
    """Appends to the log and submits commands to learners; has no direct access to a learner."""

    def __init__(
        self,
        models: Models,
        source: Log,
        commands: CommandQueue,
        answer_seconds: float = 30.0,
        clock: Callable[[], float] = time.time,
        *,
        statuses: Statuses | None = None,
        rows: RowAnswers | None = None,
        most_sent: int | None = None,
    ) -> None:
        self._most_sent = most_sent
        self._models = models
        self._statuses = statuses
        self._rows = rows
        self._log = source
        self._commands = commands
        self._answer_seconds = answer_seconds
        self._clock = clock
        self._decoders = {model.name: ProtobufDecoder(model.schema, model.max_future_seconds) for model in models.all()}

    def Learn(self, request_iterator: Iterator[pb.Event], context: grpc.ServicerContext) -> Iterator[pb.Ack]:  # noqa: N802
        """Events that arrive while the log is busy are appended together."""
        trace = REQUEST.get() or caller_of(context)
        waiting = ByteQueue[pb.Event | Exception | None](2 * _APPEND_AT_ONCE, _WAITING_BYTES)

        def pull() -> None:
            end: Exception | None = None
            try:
                for event in request_iterator:
                    if not waiting.put(event, event.ByteSize()):  # waits when it is full: the stream is slowed down
                        return
            except grpc.RpcError:
                pass  # the caller has disconnected
            except (InputError, TooLarge, QueueFull) as error:  # no event, or too large: those before it are appended
                end = error
            waiting.put(end)

        threading.Thread(target=pull, name="learn-stream", daemon=True).start()
        try:
            ended = False
            while not ended:
                taken = waiting.get(_APPEND_AT_ONCE)
                ended = not isinstance(taken[-1], pb.Event)
                yield from self._append([event for event in taken if isinstance(event, pb.Event)], trace)
                if isinstance(taken[-1], Exception):
                    raise taken[-1]
        finally:
            waiting.close()

    def _append(self, events: list[pb.Event], trace: TraceContext | None = None) -> list[pb.Ack]:
        acks = [pb.Ack(id=event.id) for event in events]
        by_topic: dict[str, list[int]] = {}
        keys: dict[int, bytes | None] = {}
        caller = CALLER.get()
        for index, event in enumerate(events):
            try:
                if caller is not None:
                    caller.require("learn", event.model, "an event")
                model = self._models.find(event.model)
                batch = self._decoders[model.answering.name].event(event, self._clock())
                (keys[index],) = record_keys(batch, as_input=model.keyed_by_input)
            except EXPECTED as error:
                acks[index].error = text_of(error)
            else:
                by_topic.setdefault(model.topic, []).append(index)
        for topic, indices in by_topic.items():
            messages = [_message(events[index], keys[index], self._clock(), trace) for index in indices]
            try:
                landed = self._log.append(topic, messages)
            except RecordsRefused as error:  # the others are in the log; where, it does not say
                for row in error.rows or range(len(indices)):
                    acks[indices[row]].error = str(error)
                for index in indices:
                    acks[index].topic = "" if acks[index].error else topic
                continue
            except LogError as error:
                for index in indices:
                    acks[index].error = str(error)
                continue
            for index, appended in zip(indices, landed):
                acks[index].topic = topic
                acks[index].partition = appended.partition.number
                acks[index].offset = appended.offset
        return acks

    def Label(self, request: pb.LabelRequest, context: grpc.ServicerContext) -> pb.Ack:  # noqa: N802
        """Appends to the labels topic, so that a label is stored before it is joined."""

        def answer() -> pb.Ack:
            model = self._models.find(request.model)
            if not model.labels_topic:
                raise Unimplemented(f"model {model.name!r} has no labels_topic: its labels arrive with their events")
            record = {"id": request.id, "label": _label(request, model.schema)}
            (landed,) = self._log.append(
                model.labels_topic, [Message(json.dumps(record).encode(), request.id.encode(), time=self._clock())]
            )
            return pb.Ack(
                id=request.id, topic=model.labels_topic, partition=landed.partition.number, offset=landed.offset
            )

        return translated(context, answer)

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:  # noqa: N802
        def answer() -> pb.PredictResponse:
            if self._rows is None:
                raise Unimplemented("this server answers no rows")
            if len(request.rows) > _LARGEST_ROWS:  # their JSON takes many times as much memory
                raise TooLarge(f"rows: expected at most {_LARGEST_ROWS} bytes, got {len(request.rows)}; use REST")
            if (held := HELD.get()) is not None:
                held.add(expanded_bytes(request.rows))
            rows, count = self._rows.predict(request.model, bytearray(request.rows), sorted(request.options.items()))
            if self._most_sent is not None and len(rows) >= self._most_sent - _FRAME_BYTES:
                raise too_long(count, len(rows), self._most_sent)
            return pb.PredictResponse(rows=rows)

        return translated(context, answer)

    def Forget(self, request: pb.ForgetRequest, context: grpc.ServicerContext) -> pb.ForgetResponse:  # noqa: N802
        refuse(context, Unimplemented("forgetting single events is not offered in this version"))

    def GetModel(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.Model:  # noqa: N802
        return translated(context, lambda: _model(self._models.find(request.name)))

    def ListSnapshots(  # noqa: N802
        self, request: pb.ListSnapshotsRequest, context: grpc.ServicerContext
    ) -> pb.ListSnapshotsResponse:
        def answer() -> pb.ListSnapshotsResponse:
            model = self._models.find(request.model)
            kept = model.versions.snapshots.manifests()
            return pb.ListSnapshotsResponse(snapshots=[_info(manifest, model.base) for manifest in kept])

        return translated(context, answer)

    def Snapshot(self, request: pb.SnapshotRequest, context: grpc.ServicerContext) -> pb.SnapshotResponse:  # noqa: N802
        return translated(
            context,
            lambda: pb.SnapshotResponse(version=self._command(context, self._models.find(request.model), "snapshot")),
        )

    def Rollback(self, request: pb.RollbackRequest, context: grpc.ServicerContext) -> pb.RollbackResponse:  # noqa: N802

        def answer() -> pb.RollbackResponse:
            model = self._models.find(request.model)
            if request.version < model.base:
                raise FailedPrecondition(
                    f"alias {model.name!r}: version {request.version} is of a champion before "
                    f"{model.answering.name!r}; `thalweg promote --back` goes back to it"
                )
            version = self._command(context, model, "rollback", version=request.version - model.base)
            return pb.RollbackResponse(version=version)

        return translated(context, answer)

    def Watch(self, request: pb.WatchRequest, context: grpc.ServicerContext) -> Iterator[pb.Status]:  # noqa: N802
        found = translated(context, lambda: self._models.find(request.model))
        interval = translated(context, lambda: _interval_seconds(request))
        gone = threading.Event()
        if not context.add_callback(gone.set):
            return
        stream = StatusStream(self._clock)
        while not self._models.draining:
            model, before = self._models.find(request.model), found
            if model.answering is not before.answering:
                stream = StatusStream(self._clock)  # the alarms of another model
            found = model
            reported = None if self._statuses is None else self._statuses.of(model.answering.name)
            yield stream.status(model, reported)
            if gone.wait(interval):
                return

    def _command(self, context: grpc.ServicerContext, model: ServedModel, verb: str, **arguments: Any) -> int:
        """The version that the learner reports after a command."""
        remaining = context.time_remaining()
        patience = self._answer_seconds if remaining is None else min(self._answer_seconds, remaining)
        return command(self._commands, model, verb, patience, **arguments) + model.base


METHODS = (
    Method("Learn", pb.Event, pb.Ack, streams="both"),
    Method("Label", pb.LabelRequest, pb.Ack, kind="blocking"),
    Method("Predict", pb.PredictRequest, pb.PredictResponse, kind="predictions"),
    Method("GetModel", pb.GetModelRequest, pb.Model),
    Method("ListSnapshots", pb.ListSnapshotsRequest, pb.ListSnapshotsResponse, kind="blocking"),
    Method("Snapshot", pb.SnapshotRequest, pb.SnapshotResponse, kind="operators"),
    Method("Rollback", pb.RollbackRequest, pb.RollbackResponse, kind="operators"),
    Method("Forget", pb.ForgetRequest, pb.ForgetResponse),
    Method("Watch", pb.WatchRequest, pb.Status, streams="answers"),
)


def _interval_seconds(request: pb.WatchRequest) -> float:
    """Seconds between two statuses. Raises InputError for an invalid interval."""
    interval = request.interval_seconds or 1.0
    if not 0 < interval <= _LONGEST_WATCH_SECONDS:
        raise InputError(f"interval_seconds: expected a number from 0 to {_LONGEST_WATCH_SECONDS:g}, got {interval:g}")
    return max(_SHORTEST_WATCH_SECONDS, interval)


def _label(request: pb.LabelRequest, schema: Schema) -> str | float | list[float]:
    """The label of a request. Raises InputError if it or the event's id is missing or of the wrong kind."""
    if not request.id:
        raise InputError("id: expected the id of an event, got an empty string")
    choice = request.WhichOneof("label")
    if choice is None:
        raise InputError("label: expected text, number or numbers, got nothing")
    given: str | float | list[float] = (
        list(request.numbers.values) if choice == "numbers" else request.number if choice == "number" else request.text
    )
    try:
        check_ids([request.id])
        check_label(schema, given)
    except Refused as error:
        raise InputError(str(error)) from error
    return given


def _message(event: pb.Event, key: bytes | None, now: float, trace: TraceContext | None = None) -> Message:
    event.ClearField("model")
    headers = _HEADERS if trace is None else (*_HEADERS, (NAME, trace.header.encode()))
    return Message(event.SerializeToString(), key=key, headers=headers, time=now)


def _model(model: ServedModel) -> pb.Model:
    answer = pb.Model(name=model.name, learner=model.learner, topic=model.topic)
    served, answer.reason = model.versions.newest, model.unready()
    answer.ready = not answer.reason
    if served is None:
        return answer
    answer.state_version = served.info.version
    answer.learned_events = served.info.learned_events
    answer.published = served.info.published_at
    answer.staleness_seconds = model.staleness_seconds(served)
    answer.classes.extend(served.predictor.classes)
    answer.properties.update(served.predictor.properties)
    if model.answering is not model:
        answer.properties["champion"] = model.answering.name
    return answer


def _info(manifest: Manifest, base: int) -> pb.SnapshotInfo:
    return pb.SnapshotInfo(
        version=manifest.version + base,
        parent=None if manifest.parent is None else manifest.parent + base,
        learner=manifest.learner,
        config_sha256=manifest.config_sha256,
        offsets=[
            pb.PartitionOffset(topic=partition.topic, partition=partition.number, offset=offset)
            for partition, offset in sorted(manifest.offsets.items())
        ],
        events_learned=manifest.events_learned,
        created=manifest.created,
        metrics=manifest.metrics,
        recent=manifest.recent,
        state_sha256=manifest.state_sha256,
        size_bytes=manifest.size_bytes,
    )
