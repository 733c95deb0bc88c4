"""HTTP routes: health, metrics, the live page, metadata; predictions are in `predicting`."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from thalweg.memory.software import version_of
from thalweg.ops.serve.access.access import Access
from thalweg.ops.serve.access.roles import row_of
from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.bounds.byte_budget import ByteBudget
from thalweg.ops.serve.errors import (
    EXPECTED,
    Forbidden,
    RateExceeded,
    RowsRefused,
    Unauthenticated,
    status_of,
    text_of,
)
from thalweg.ops.serve.http_api.aliases import AliasRoutes
from thalweg.ops.serve.http_api.appending import AppendingRoutes
from thalweg.ops.serve.http_api.calls import BoundedCalls
from thalweg.ops.serve.http_api.guarded import enter, guarded
from thalweg.ops.serve.http_api.metadata_v2 import MetadataRoutes
from thalweg.ops.serve.http_api.openapi.routes import DescriptionRoutes
from thalweg.ops.serve.http_api.predicting import PredictionRoutes
from thalweg.ops.serve.inference import InferenceCore
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.serve.rows.answering import RowAnswers
from thalweg.ops.serve.telemetry import ServerTelemetry
from thalweg.ops.traces.requests import RequestTraces
from thalweg.ops.webpage.api import PageApi
from thalweg.stream.log.log import Log

_PASSING = (429, 503)


class Api:
    """The routes; translation only."""

    def __init__(
        self,
        core: InferenceCore,
        telemetry: ServerTelemetry,
        page: PageApi,
        health: ServiceHealth,
        *,
        rows: RowAnswers,
        source: Log,
        access: Access,
        slots: Admission,
        appending: Admission,
        budget: ByteBudget,
        max_body_bytes: int,
        traces: RequestTraces | None = None,
    ) -> None:
        self._traces = traces
        self._health, self._access = health, access
        calls = BoundedCalls(budget, max_body_bytes)
        self._description = DescriptionRoutes(core.models)
        self._metadata = MetadataRoutes(core.models, telemetry)
        self._predictions = PredictionRoutes(core, rows, calls, slots, telemetry)
        self._appending = AppendingRoutes(core.models, source, calls, appending, telemetry)
        self._aliases = AliasRoutes(core.models)
        self._models = core.models
        self._page = page
        self._telemetry = telemetry

    def application(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/", self._index),
            *self.health_routes(),
            *self._metadata.routes(),
            *self._predictions.routes(),
            *self._appending.routes(),
            *self._aliases.routes(),
            *self._description.routes(),
            *self._page.routes(),
        ]
        behind = guarded(routes, self._access, self._traces, _failed)
        return Starlette(routes=behind, exception_handlers=HANDLERS)

    def health_routes(self) -> list[Route]:
        """Those of health and metrics."""
        return [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
            Route("/v2/health/live", self._healthz),
            Route("/v2/health/ready", self._readyz),
        ]

    async def _index(self, request: Request) -> Response:
        if page := self._page.page(request):
            return page
        links: dict[str, Any] = {
            "metrics": "/metrics",
            "ready": "/readyz",
            "docs": "/docs",
            "openapi": "/openapi.json",
        }
        with suppress(Unauthenticated, Forbidden, RateExceeded):  # this answer is for everyone, their names are not
            enter(self._access, row_of("GET /v1/models"), request, reads=True)
            links["models"] = [f"/v2/models/{m.name}" for m in self._models.named()]
        service = {"service": "thalweg", "version": version_of("thalweg"), "links": links}
        return JSONResponse(service, headers={"vary": "accept"})

    async def _healthz(self, request: Request) -> Response:
        failures = self._health.failures()
        return PlainTextResponse("\n".join(failures or ["ok"]) + "\n", 503 if failures else 200)

    async def _readyz(self, request: Request) -> Response:
        exclude = request.query_params.getlist("exclude")
        if unknown := [one for one in exclude if one != "untrained"]:
            return JSONResponse({"error": f"exclude: expected 'untrained', got {unknown[0]!r:.80}"}, 400)
        found = self._health.readiness(untrained=not exclude)  # on this thread: the others may all be taken by requests
        return JSONResponse(found, 200 if found["ready"] else 503)

    async def _metrics(self, request: Request) -> Response:
        content, kind = await run_in_threadpool(self._telemetry.render)
        return Response(content, media_type=kind)


async def _failed(request: Request, error: Exception) -> Response:
    status = status_of(error)[1]
    content: dict[str, Any] = {"error": text_of(error)}
    if isinstance(error, RowsRefused):
        content |= {"rows": error.rows, "appended": error.appended}
    headers = {"cache-control": "no-store"}
    if status in _PASSING:
        headers["retry-after"] = "1"
    elif status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(msgspec.json.encode(content), status, headers, "application/json")


async def _gone(request: Request, error: Any) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _http_error(request: Request, error: Any) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


HANDLERS: dict[Any, Any] = dict.fromkeys((*EXPECTED, Exception), _failed) | {
    HTTPException: _http_error,
    ClientDisconnect: _gone,
}
"""What answers where an endpoint raises."""
