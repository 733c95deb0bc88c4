"""Spans of requests: over gRPC and REST, below the caller's span if it names one."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from starlette.requests import Request
from starlette.responses import Response

from thalweg.ops.serve.errors import status_of
from thalweg.stream.traces.context import NAME, TraceContext, parse
from thalweg.stream.traces.spans import Attributes, OpenSpan

if TYPE_CHECKING:
    from thalweg.ops.traces.exporting import ExportedSpans

Call: TypeAlias = Callable[[Any, grpc.ServicerContext], Any]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

REQUEST: ContextVar[TraceContext | None] = ContextVar("request_trace", default=None)
"""The span of the request that is answered, if it is recorded; else the caller's, if it names one."""
_SERVER_ERRORS = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")


def caller_of(context: grpc.ServicerContext) -> TraceContext | None:
    """The span that a caller names over gRPC; None: it names none. Of several gRPC hands over the last."""
    for name, value in context.invocation_metadata() or ():
        if name == NAME:
            return parse(value)
    return None


def caller_of_http(request: Request) -> TraceContext | None:
    """The span that a caller names over HTTP; None: none, or more than one."""
    given = request.headers.getlist(NAME)
    return parse(given[0]) if len(given) == 1 else None


class RequestTraces:
    """Wraps calls with spans.

    Args:
        spans: Records them.
        clock: Unix seconds.
    """

    def __init__(self, spans: ExportedSpans, clock: Callable[[], float] = time.time) -> None:
        self.spans = spans
        """Where they are recorded."""
        self._sampling, self._clock = spans.sampling, clock

    def unary(self, full_name: str, call: Call) -> Call:
        """A call of gRPC whose answer is one message. `full_name`: `/SERVICE/METHOD`."""
        name, attributes = _grpc(full_name)

        def running(requests: Any, context: grpc.ServicerContext) -> Any:
            span = self._begin(name, caller_of(context), attributes)
            if span is None:
                return call(requests, context)
            try:
                return call(requests, context)
            finally:
                self._end_grpc(span, context)

        return running

    def streaming(self, full_name: str, call: Call) -> Call:
        """A call of gRPC whose answer is a stream: one span for all of it."""
        name, attributes = _grpc(full_name)

        def running(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            span = self._begin(name, caller_of(context), attributes)
            if span is None:
                yield from call(requests, context)
                return
            try:
                yield from call(requests, context)
            finally:
                self._end_grpc(span, context)

        return running

    def endpoint(self, path: str, inner: Endpoint) -> Endpoint:
        """An endpoint of REST. `path`: its template."""

        async def endpoint(request: Request) -> Response:
            attributes = {"http.request.method": request.method, "http.route": path, "url.path": request.url.path}
            span = self._begin(f"{request.method} {path}", caller_of_http(request), attributes)
            if span is None:
                return await inner(request)
            error = ""
            try:
                response = await inner(request)
                error = f"{response.status_code}" if response.status_code >= 500 else ""
            except BaseException as raised:
                code, status = status_of(raised) if isinstance(raised, Exception) else (grpc.StatusCode.CANCELLED, 499)
                error = code.name if status >= 500 else ""
                raise
            else:
                return response
            finally:
                span.end(self._clock(), error)

        return endpoint

    def _begin(self, name: str, parent: TraceContext | None, attributes: Attributes) -> OpenSpan | None:
        """A span if it is recorded; what is below it finds it, or the caller's, in `REQUEST`."""
        sampling = self._sampling
        if not (sampling.root() if parent is None else sampling.below(parent)):
            REQUEST.set(parent)
            return None
        span = self.spans.begin(name, parent, self._clock(), "server", attributes)
        REQUEST.set(span.context)
        return span

    def _end_grpc(self, span: OpenSpan, context: grpc.ServicerContext) -> None:
        code = context.code()  # type: ignore[attr-defined]  # newer than the stubs
        name = "OK" if code is None else code.name
        span.end(self._clock(), name if name in _SERVER_ERRORS else "")


def _grpc(full_name: str) -> tuple[str, dict[str, str]]:
    _, service, method = full_name.split("/")
    return full_name[1:], {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
