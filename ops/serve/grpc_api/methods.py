"""A gRPC service as a table: for each method its messages, its threads, and whether it is observed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import grpc
from google.protobuf.message import Message

from thalweg.ops.serve.errors import refuse
from thalweg.ops.serve.grpc_api.threads import Call, CallThreads, on
from thalweg.ops.serve.telemetry import ServingObserver

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Method:
    """How one method of a service is called."""

    name: str
    request: type[Message] | None
    """None: the bytes as received."""
    response: type[Message] | None
    """None: the bytes as sent."""
    streams: Literal["none", "answers", "both"] = "none"
    """Which sides are streams."""
    threads: Literal["workers", "blocking", "long"] = "workers"
    """`workers` compute; `blocking` calls wait for a disk or the log; `long` calls last, and their number is
    limited.
    """
    observed: bool = True
    """Whether the observer is notified of its unary calls; False for a method that does so itself."""


def handlers(
    service: str, servicer: object, methods: Iterable[Method], observer: ServingObserver, threads: CallThreads
) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """The gRPC handlers of a service's methods.

    An interceptor could also observe the calls, but at a cost per prediction.
    """
    return {method.name: _handler(service, servicer, method, observer, threads) for method in methods}


def _handler(
    service: str, servicer: object, method: Method, observer: ServingObserver, threads: CallThreads
) -> grpc.RpcMethodHandler[Any, Any]:
    call: Call = getattr(servicer, method.name)
    read = None if method.request is None else method.request.FromString
    write = None if method.response is None else method.response.SerializeToString
    if method.streams != "none":
        both = method.streams == "both"
        make = grpc.stream_stream_rpc_method_handler if both else grpc.unary_stream_rpc_method_handler
        return make(threads.long.stream(call), request_deserializer=read, response_serializer=write)
    if method.observed:
        call = observed(call, f"/{service}/{method.name}", observer)
    if method.threads == "long":
        call = threads.long.unary(call)
    elif method.threads == "blocking":
        call = on(threads.blocking, call)
    return grpc.unary_unary_rpc_method_handler(call, request_deserializer=read, response_serializer=write)


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
