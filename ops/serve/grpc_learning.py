"""`thalweg.v1.LearningService` over gRPC: events into the log, and what an operator asks of a learner."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import grpc

from thalweg.memory.exchange.commands import CommandQueue
from thalweg.memory.snapshots.snapshots import Manifest
from thalweg.ops.serve.errors import (
    EXPECTED,
    DeadlineExceeded,
    Unauthenticated,
    Unimplemented,
    raise_answer,
    refuse,
    text_of,
)
from thalweg.ops.serve.serving import Models, ServedModel
from thalweg.ops.serve.status_stream import StatusStream
from thalweg.ops.serve.tokens import Tokens
from thalweg.ops.telemetry.status import Statuses
from thalweg.proto import thalweg_pb2 as pb
from thalweg.proto import thalweg_pb2_grpc
from thalweg.proto.columns import label_column
from thalweg.proto.decode import CONTENT_TYPE_EVENT
from thalweg.proto.decode_protobuf import ProtobufDecoder
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import InputError, Schema
from thalweg.stream.log.log import Log, LogError, Message

Answer = TypeVar("Answer")
_HEADERS = (("content-type", CONTENT_TYPE_EVENT),)
_APPEND_AT_ONCE = 500
_SHORTEST_WATCH_SECONDS = 0.05


class LearningService(thalweg_pb2_grpc.LearningServiceServicer):
    """Appends to the log and asks learners through the store; it never reaches into a learner."""

    def __init__(
        self,
        models: Models,
        log: Log,
        store: CommandQueue,
        answer_seconds: float = 30.0,
        clock: Callable[[], float] = time.time,
        *,
        tokens: Tokens | None = None,
        statuses: Statuses | None = None,
    ) -> None:
        self._models = models
        self._tokens = tokens
        self._statuses = statuses
        self._log = log
        self._store = store
        self._answer_seconds = answer_seconds
        self._clock = clock
        self._decoders = {model.name: ProtobufDecoder(model.schema) for model in models.all()}

    def Learn(self, request_iterator: Iterator[pb.Event], context: grpc.ServicerContext) -> Iterator[pb.Ack]:  # noqa: N802
        """Events that came while the log was busy are appended together."""
        self._must_be_allowed(context)
        waiting: queue.Queue[pb.Event | None] = queue.Queue(2 * _APPEND_AT_ONCE)  # full: the stream is held back
        gone = threading.Event()

        def pull() -> None:
            with suppress(grpc.RpcError):  # the caller has gone
                for event in request_iterator:
                    if not _put(waiting, event, gone):
                        return
            _put(waiting, None, gone)

        threading.Thread(target=pull, name="learn-stream", daemon=True).start()
        try:
            ended = False
            while not ended:
                events = [waiting.get()]
                while len(events) < _APPEND_AT_ONCE and events[-1] is not None and not waiting.empty():
                    events.append(waiting.get_nowait())
                ended = events[-1] is None
                yield from self._append([event for event in events if event is not None])
        finally:
            gone.set()

    def _append(self, events: list[pb.Event]) -> list[pb.Ack]:
        acks = [pb.Ack(id=event.id) for event in events]
        by_topic: dict[str, list[int]] = {}
        for place, event in enumerate(events):
            try:
                model = self._models.find(event.model)
                self._decoders[model.name].event(event, 0.0)
            except EXPECTED as error:
                acks[place].error = text_of(error)
            else:
                by_topic.setdefault(model.topic, []).append(place)
        for topic, places in by_topic.items():
            messages = [_message(events[place], self._clock()) for place in places]
            try:
                landed = self._log.append(topic, messages)
            except LogError as error:
                for place in places:
                    acks[place].error = str(error)
                continue
            for place, appended in zip(places, landed):
                acks[place].topic = topic
                acks[place].partition = appended.partition.number
                acks[place].offset = appended.offset
        return acks

    def Label(self, request: pb.LabelRequest, context: grpc.ServicerContext) -> pb.Ack:  # noqa: N802
        """Appends to the labels topic, so that a label is safe before it is joined."""
        self._must_be_allowed(context)

        def answer() -> pb.Ack:
            model = self._models.find(request.model)
            if not model.labels_topic:
                raise Unimplemented(f"model {model.name!r} has no labels_topic: its labels come with their events")
            record = {"id": request.id, "label": _label(request, model.schema)}
            (landed,) = self._log.append(
                model.labels_topic, [Message(json.dumps(record).encode(), request.id.encode(), time=self._clock())]
            )
            return pb.Ack(
                id=request.id, topic=model.labels_topic, partition=landed.partition.number, offset=landed.offset
            )

        return _translated(context, answer)

    def Forget(self, request: pb.ForgetRequest, context: grpc.ServicerContext) -> pb.ForgetResponse:  # noqa: N802
        return _refused(context, "forgetting single events is not offered, in this version")

    def GetModel(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.Model:  # noqa: N802
        return _translated(context, lambda: _model(self._models.find(request.name)))

    def ListSnapshots(  # noqa: N802
        self, request: pb.ListSnapshotsRequest, context: grpc.ServicerContext
    ) -> pb.ListSnapshotsResponse:
        def answer() -> pb.ListSnapshotsResponse:
            kept = self._models.find(request.model).snapshots.manifests()
            return pb.ListSnapshotsResponse(snapshots=[_info(manifest) for manifest in kept])

        return _translated(context, answer)

    def Snapshot(self, request: pb.SnapshotRequest, context: grpc.ServicerContext) -> pb.SnapshotResponse:  # noqa: N802
        self._must_be_allowed(context)
        return _translated(
            context, lambda: pb.SnapshotResponse(version=self._ask(context, request.model, "snapshot")["version"])
        )

    def Rollback(self, request: pb.RollbackRequest, context: grpc.ServicerContext) -> pb.RollbackResponse:  # noqa: N802
        self._must_be_allowed(context)

        def answer() -> pb.RollbackResponse:
            done = self._ask(context, request.model, "rollback", version=request.version)
            return pb.RollbackResponse(version=done["version"])

        return _translated(context, answer)

    def Watch(self, request: pb.WatchRequest, context: grpc.ServicerContext) -> Iterator[pb.Status]:  # noqa: N802
        try:
            model = self._models.find(request.model)
        except EXPECTED as error:
            refuse(context, error)
        gone = threading.Event()
        if not context.add_callback(gone.set):
            return
        told = StatusStream(self._clock)
        while not self._models.draining:
            yield told.status(model, self._statuses.of(model.name) if self._statuses is not None else None)
            if gone.wait(max(_SHORTEST_WATCH_SECONDS, request.interval_seconds or 1.0)):
                return

    def _must_be_allowed(self, context: grpc.ServicerContext) -> None:
        """End a call that would change a model, where tokens are asked for and it has none."""
        if self._tokens is None:
            return
        given = dict(context.invocation_metadata()).get("authorization")
        if not self._tokens.allows(given if isinstance(given, str) else None):
            refuse(context, Unauthenticated("expected metadata 'authorization: Bearer TOKEN' with a known token"))

    def _ask(self, context: grpc.ServicerContext, model: str, verb: str, **arguments: Any) -> Any:
        remaining = context.time_remaining()
        patience = self._answer_seconds if remaining is None else min(self._answer_seconds, remaining)
        return ask(self._store, self._models.find(model).name, verb, patience, **arguments)


def ask(store: CommandQueue, model: str, verb: str, patience_seconds: float, **arguments: Any) -> Any:
    """Ask a learner and wait for the answer. Raises DeadlineExceeded, or what the learner answered."""
    answered = store.response(store.submit(model, verb, arguments), patience_seconds)
    if answered is None:
        raise DeadlineExceeded(
            f"model {model!r}: its learner did not answer {verb!r} within {patience_seconds:.0f} s; is it running?"
        )
    raise_answer(answered)
    return answered


def _label(request: pb.LabelRequest, schema: Schema) -> str | float | list[float]:
    """What a label says. Raises InputError when it, or its event's id, is not there or of the wrong kind."""
    if not request.id:
        raise InputError("id: expected the id of an event, got an empty text")
    choice = request.WhichOneof("label")
    if choice is None:
        raise InputError("label: expected text, number or numbers, got nothing")
    given: str | float | list[float] = (
        list(request.numbers.values) if choice == "numbers" else request.number if choice == "number" else request.text
    )
    try:
        label_column(schema, [given])
    except Refused as error:
        raise InputError(str(error)) from error
    return given


def _message(event: pb.Event, now: float) -> Message:
    key = event.key.encode() if event.HasField("key") else None
    event.ClearField("model")
    return Message(
        event.SerializeToString(), key=key, headers=_HEADERS, time=event.time if event.HasField("time") else now
    )


def _model(model: ServedModel) -> pb.Model:
    answer = pb.Model(name=model.name, learner=model.learner, topic=model.topic)
    served = model.published.current
    if served is None:
        answer.reason = "no version is published yet"
        return answer
    answer.ready = True
    answer.state_version = served.info.version
    answer.learned_events = served.info.learned_events
    answer.published = served.info.published_at
    answer.staleness_seconds = model.staleness_seconds(served)
    answer.classes.extend(served.predictor.classes)
    answer.properties.update(served.predictor.properties)
    return answer


def _info(manifest: Manifest) -> pb.SnapshotInfo:
    return pb.SnapshotInfo(
        version=manifest.version,
        parent=manifest.parent,
        learner=manifest.learner,
        config_sha256=manifest.config_sha256,
        offsets=[
            pb.PartitionOffset(topic=partition.topic, partition=partition.number, offset=offset)
            for partition, offset in sorted(manifest.offsets.items())
        ],
        events_learned=manifest.events_learned,
        created=manifest.created,
        metrics=manifest.metrics,
        state_sha256=manifest.state_sha256,
        size_bytes=manifest.size_bytes,
    )


def _put(waiting: queue.Queue[pb.Event | None], event: pb.Event | None, gone: threading.Event) -> bool:
    """Whether there was room before the one who takes went away."""
    while not gone.is_set():
        try:
            waiting.put(event, timeout=0.5)
        except queue.Full:
            continue
        return True
    return False


def _refused(context: grpc.ServicerContext, text: str) -> NoReturn:
    refuse(context, Unimplemented(text))


def _translated(context: grpc.ServicerContext, action: Callable[[], Answer]) -> Answer:
    try:
        return action()
    except Exception as error:
        refuse(context, error)
