"""A gRPC service as a table: for each method its messages, its bounds, and whether it is observed.

gRPC sees every method as one with streams of bytes, which is the same on the wire: so the request of a call is received
here, under a bound and a time limit, and what cannot be parsed is an invalid argument.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from thalweg.ops.serve.access.access import Access
from thalweg.ops.serve.access.callers import CALLER
from thalweg.ops.serve.access.roles import Row, row_of
from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.bounds.byte_budget import HELD, ByteBudget, BytesOfRequest
from thalweg.ops.serve.errors import QueueFull, TooLarge, refuse, status_of
from thalweg.ops.serve.grpc_api.call_threads import RefusableCall
from thalweg.ops.serve.grpc_api.gates import Gates
from thalweg.ops.serve.telemetry import ServingObserver
from thalweg.ops.traces.requests import RequestTraces
from thalweg.proto.bounds.message_bytes import parsed_bytes
from thalweg.proto.schema import InputError

Answer = TypeVar("Answer")
Call: TypeAlias = Callable[[Any, grpc.ServicerContext], Any]
_SMALL_BYTES = 4096  # a message that is not larger takes little, whatever is in it


@dataclass(frozen=True, slots=True)
class Method:
    """How one method of a service is called."""

    name: str
    request: type[Message]
    response: type[Message] | None
    """None: the bytes as sent."""
    as_bytes: bool = False
    """Whether the servicer takes the request's bytes as they came."""
    streams: Literal["none", "answers", "both"] = "none"
    """Which sides are streams."""
    kind: Literal["predictions", "control", "blocking", "loading", "operators"] = "control"
    """Whose slots a unary call takes: `predictions` compute; `control` calls answer from memory; `blocking` calls wait
    for a disk or the log; `loading` calls may load a snapshot; `operators` wait for a learner.
    """
    observed: bool = True
    """Whether the observer is notified of its unary calls; False for a method that does so itself."""


def handlers(
    service: str,
    servicer: object,
    methods: Iterable[Method],
    observer: ServingObserver,
    gates: Gates,
    access: Access,
    traces: RequestTraces | None = None,
) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """The gRPC handlers of a service's methods; `traces` records spans of their calls.

    An interceptor could also observe the calls, but at a cost per prediction.

    Raises:
        NoRow: A method is not in the table of roles.
    """
    return {
        method.name: _handler(
            service, servicer, method, observer, _Door(gates, access, row_of(f"{service}/{method.name}")), traces
        )
        for method in methods
    }


@dataclass(frozen=True, slots=True)
class _Door:
    """What the calls of one method pass before they reach the servicer."""

    gates: Gates
    access: Access
    row: Row

    def message(self, method: Method, content: bytes, held: BytesOfRequest) -> Any:
        """The message of a call, about a model that the caller may ask for.

        Raises:
            TooLarge, QueueFull: It takes more memory than there is.
            Others: As `parsed` and `Caller.require`.
        """
        hold_parsed(method.request, content, held)
        message, caller = content if method.as_bytes else parsed(method.request, content), CALLER.get()
        if caller is not None and self.row.role is not None and self.row.model not in ("", "*", "any"):
            caller.require(self.row.role, getattr(message, self.row.model) or None, self.row.call)
        return message


def _handler(
    service: str,
    servicer: object,
    method: Method,
    observer: ServingObserver,
    door: _Door,
    traces: RequestTraces | None,
) -> grpc.RpcMethodHandler[Any, Any]:
    full_name = f"/{service}/{method.name}"
    call: Call = getattr(servicer, method.name)
    write = None if method.response is None else method.response.SerializeToString
    if method.streams != "none":
        streaming = _both_ways(call, method, door) if method.streams == "both" else _answers(call, method, door)
        if traces is not None:
            streaming = traces.streaming(full_name, streaming)
        return grpc.stream_stream_rpc_method_handler(streaming, response_serializer=write)
    if method.observed:
        call = observed(call, full_name, observer)
    traced = None if traces is None else partial(traces.unary, full_name)
    unary = _unary(call, method, door, _counter(full_name, method, observer), traced)
    return grpc.stream_unary_rpc_method_handler(unary, response_serializer=write)


def _counter(full_name: str, method: Method, observer: ServingObserver) -> Callable[[Exception, float], None]:
    """Counts a call that ended before it reached the servicer."""

    def count(error: Exception, seconds: float) -> None:
        code = status_of(error)[0].name
        if method.observed:
            observer.called(full_name, code, seconds)
        else:
            observer.answered("", code, seconds, 0)

    return count


def _unary(
    call: Call,
    method: Method,
    door: _Door,
    count: Callable[[Exception, float], None],
    traced: Callable[[Call], Call] | None,
) -> Call:
    slots: Admission = door.gates.kinds[method.kind]

    def running(requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        began, started = False, time.perf_counter()
        try:
            door.access.enter_grpc(door.row, context)
            content = door.gates.half_open.message(requests, context)
            with door.gates.budget.share() as held:
                held.add(len(content))
                with slots.slot():
                    request = door.message(method, content, held)
                    began = True
                    HELD.set(held)
                    return call(request, context)
        except Exception as error:
            if began:
                raise
            count(error, time.perf_counter() - started)
            refuse(context, error)
        finally:
            HELD.set(None)

    def refusing(requests: Iterator[bytes], context: grpc.ServicerContext) -> None:
        error = slots.refusal()
        count(error, 0.0)
        refuse(context, error)

    return RefusableCall(running if traced is None else traced(running), refusing, slots.overloaded)


def _answers(call: Call, method: Method, door: _Door) -> Call:
    open_streams = door.gates.streams(method.name)

    def running(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            door.access.enter_grpc(door.row, context)
            content = door.gates.half_open.message(requests, context)
            with door.gates.budget.share() as held:  # what streams answers is small, and so is what it keeps
                held.add(len(content))
                request = door.message(method, content, held)
            slot = open_streams.slot(context)
            slot.__enter__()
        except Exception as error:
            refuse(context, error)
        try:
            yield from open_streams.noting(call(request, context), context)
        finally:
            slot.__exit__(None, None, None)

    return running


def _both_ways(call: Call, method: Method, door: _Door) -> Call:
    open_streams = door.gates.streams(method.name)

    def running(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        slot = open_streams.slot(context)
        try:
            door.access.enter_grpc(door.row, context)
            slot.__enter__()
        except Exception as error:
            refuse(context, error)
        try:
            messages = open_streams.noting(requests, context)
            yield from call(door.access.paced(_held(messages, method.request, door.gates.budget)), context)
        except (InputError, TooLarge, QueueFull) as error:  # a message of the stream cannot be parsed, or held
            refuse(context, error)
        finally:
            slot.__exit__(None, None, None)

    return running


def _held(contents: Iterable[bytes], kind: type[Message], budget: ByteBudget) -> Iterator[Any]:
    """The messages of a stream; what each takes is held until the next one is asked for. Raises as `Door.message`."""
    for content in contents:
        with budget.share() as held:
            held.add(len(content))
            hold_parsed(kind, content, held)
            message, content = parsed(kind, content), b""
            HELD.set(held)
            try:
                yield message
            finally:
                HELD.set(None)


def hold_parsed(kind: type[Message], content: bytes, held: BytesOfRequest) -> None:
    """Hold what a message will take once it is parsed. Raises TooLarge and QueueFull."""
    if len(content) > _SMALL_BYTES:
        held.add(parsed_bytes(kind, content, held.most))


def parsed(kind: type[Message], content: bytes) -> Any:
    """A message of this kind. Raises InputError."""
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise InputError(f"the request is not a {kind.DESCRIPTOR.name}: {error}") from error


def observed(call: Call, full_name: str, observer: ServingObserver) -> Call:
    """Wraps a call so that the observer is notified when it ends."""

    def running(request: Any, context: grpc.ServicerContext) -> Any:
        started, code = time.perf_counter(), "UNKNOWN"
        try:
            answer = call(request, context)
            code = "OK"
        finally:
            ended = context.code()  # type: ignore[attr-defined]  # newer than the stubs
            observer.called(full_name, code if ended is None else ended.name, time.perf_counter() - started)
        return answer

    return running


def translated(context: grpc.ServicerContext, action: Callable[[], Answer]) -> Answer:
    """The result of an action; an error ends the call with the error's status."""
    try:
        return action()
    except Exception as error:
        refuse(context, error)
