"""Routes behind the door: each request is looked up in the table of roles before its endpoint sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from thalweg.ops.serve.access.access import Access
from thalweg.ops.serve.access.roles import Row, row_of
from thalweg.ops.serve.errors import EXPECTED
from thalweg.ops.serve.http_api.connections import CERTIFICATE
from thalweg.ops.traces.requests import RequestTraces

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
_TRACED = ("/v1/models/", "/v2/models/")
_READS = ("GET", "HEAD")
_HANDLED: tuple[type[Exception], ...] = (*EXPECTED, HTTPException, ClientDisconnect)
"""Answered by handlers of the application, which end no connection."""


Failed: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]


def guarded(
    routes: Iterable[Route], access: Access, traces: RequestTraces | None = None, failed: Failed | None = None
) -> list[Route]:
    """The same routes, answered only to those who may call them. Raises NoRow for one that the table does not have.

    Args:
        routes: The routes.
        access: Who may call them.
        traces: Records spans of the calls about a model; None: there are no traces.
        failed: Answers where an endpoint raises what nobody expects; None: that is raised, which answers, too, but ends
            the caller's connection.
    """
    return [_guarded(route, access, traces, failed) for route in routes]


def calls_of(route: Route) -> list[str]:
    """The calls of a route as the table of roles names them; HEAD is as GET."""
    return [f"{method} {route.path}" for method in sorted(route.methods or ()) if method != "HEAD"]


def _guarded(route: Route, access: Access, traces: RequestTraces | None, failed: Failed | None) -> Route:
    rows = {call.partition(" ")[0]: row_of(call) for call in calls_of(route)}
    inner: Endpoint = route.endpoint

    async def endpoint(request: Request) -> Response:
        reads = request.method in _READS
        enter(access, rows["GET" if reads else request.method], request, reads=reads)
        return await inner(request)

    traced = traces is not None and route.path.startswith(_TRACED)
    made = traces.endpoint(route.path, endpoint) if traced and traces is not None else endpoint
    answered = made if failed is None else _answered(made, failed)
    return Route(route.path, answered, methods=list(route.methods or ()))


def _answered(inner: Endpoint, failed: Failed) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            return await inner(request)
        except _HANDLED:
            raise
        except Exception as error:
            return await failed(request, error)

    return endpoint


def enter(access: Access, row: Row, request: Request, *, reads: bool) -> None:
    """Admit a request. Raises as `Access.enter_http`."""
    arrived: Any = request.scope.get("server")
    access.enter_http(
        row,
        request.headers,
        reads=reads,
        model=request.path_params["name"] if row.model else None,
        arrived_at=arrived[0] if arrived else None,
        peer=request.client.host if request.client else "",
        certificate=request.scope.get("state", {}).get(CERTIFICATE),
    )
