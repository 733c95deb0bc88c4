"""HTTP routes: health, metrics, the live page, and the Open Inference Protocol over REST under /v2."""

from __future__ import annotations

import importlib.metadata
import time
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.bounds.byte_budget import ByteBudget, BytesOfRequest
from thalweg.ops.serve.errors import EXPECTED, QueueFull, TooLarge, status_of, text_of
from thalweg.ops.serve.http_api.inference_json import read_request, tensor_metadata, to_json
from thalweg.ops.serve.inference import InferenceCore
from thalweg.ops.serve.metadata import describe
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.serve.telemetry import ServerTelemetry
from thalweg.ops.serve.versions import version_number
from thalweg.ops.webpage.api import PageApi
from thalweg.proto.json_text import expanded_bytes

_MOST_THREADS = 512  # that wait for slots; beyond the queue's bound, so that refusals need not wait
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
        slots: Admission,
        budget: ByteBudget,
        max_body_bytes: int,
    ) -> None:
        self._health = health
        self._core = core
        self._slots = slots
        self._budget = budget
        self._threads = CapacityLimiter(_MOST_THREADS)  # not those of health, metrics and the page
        self._models = core.models
        self._page = page
        self._telemetry = telemetry
        self._max_body_bytes = max_body_bytes

    def application(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/", self._index),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
            Route("/v2", self._server_metadata),
            Route("/v2/health/live", self._healthz),
            Route("/v2/health/ready", self._readyz),
            Route("/v2/models/{name}", self._model_metadata),
            Route("/v2/models/{name}/ready", self._model_ready),
            Route("/v2/models/{name}/infer", self._infer, methods=["POST"]),
            Route("/v2/models/{name}/versions/{version}", self._model_metadata),
            Route("/v2/models/{name}/versions/{version}/ready", self._model_ready),
            Route("/v2/models/{name}/versions/{version}/infer", self._infer, methods=["POST"]),
            *self._page.routes(),
        ]
        handlers: dict[Any, Any] = dict.fromkeys((*EXPECTED, Exception), _failed) | {
            HTTPException: _http_error,
            ClientDisconnect: _gone,
        }
        return Starlette(routes=routes, exception_handlers=handlers)

    async def _index(self, request: Request) -> Response:
        if page := self._page.page(request):
            return page
        links = {
            "metrics": "/metrics",
            "ready": "/readyz",
            "models": [f"/v2/models/{m.name}" for m in self._models.named()],
        }
        service = {"service": "thalweg", "version": importlib.metadata.version("thalweg"), "links": links}
        return JSONResponse(service, headers={"vary": "accept"})

    async def _healthz(self, request: Request) -> Response:
        failures = self._health.failures()
        return PlainTextResponse("\n".join(failures or ["ok"]) + "\n", 503 if failures else 200)

    async def _readyz(self, request: Request) -> Response:
        found = self._health.readiness()  # on this thread: the others may all be taken by requests
        return JSONResponse(found, 200 if found["ready"] else 503)

    async def _metrics(self, request: Request) -> Response:
        content, kind = await run_in_threadpool(self._telemetry.render)
        return Response(content, media_type=kind)

    async def _server_metadata(self, request: Request) -> Response:
        version = importlib.metadata.version("thalweg")
        return JSONResponse({"name": "thalweg", "version": version, "extensions": []})

    async def _model_metadata(self, request: Request) -> Response:
        version = _version(request)
        model = self._models.find(request.path_params["name"], version)
        metadata = await run_in_threadpool(describe, model, version)
        return JSONResponse(
            {
                "name": model.name,
                "versions": metadata.versions,
                "platform": "thalweg_" + model.learner,
                "inputs": [tensor_metadata(spec) for spec in metadata.inputs],
                "outputs": [tensor_metadata(spec) for spec in metadata.outputs],
                "properties": metadata.properties,
            }
        )

    async def _model_ready(self, request: Request) -> Response:
        version = _version(request)
        model = self._models.find(request.path_params["name"], version)
        ready = not self._models.draining and await run_in_threadpool(model.ready, version)
        return JSONResponse({"name": model.name, "ready": ready}, 200 if ready else 503)

    async def _infer(self, request: Request) -> Response:
        path, arrived = request.path_params, time.perf_counter()
        with self._budget.share() as held:
            try:
                if self._slots.overloaded():
                    raise self._slots.refusal()
                body = await self._body(request, held)
            except (QueueFull, TooLarge) as error:
                self._telemetry.answered(path["name"], status_of(error)[0].name, time.perf_counter() - arrived, 0)
                raise
            arrived = time.perf_counter()
            answer = partial(self._answer, path["name"], path.get("version"), body, arrived)
            return await to_thread.run_sync(answer, limiter=self._threads)

    async def _body(self, request: Request, held: BytesOfRequest) -> bytearray:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._max_body_bytes:
                raise TooLarge(f"the request is larger than {self._max_body_bytes} bytes")
            held.add(len(part))
        held.add(expanded_bytes(body))
        return body

    def _answer(self, name: str, version: str | None, body: bytearray, arrived: float) -> Response:
        started, code, rows = time.perf_counter(), "OK", 0
        try:
            with self._slots.slot():
                started = time.perf_counter()
                response = self._core.infer(read_request(name, version, body))
                rows = response.rows
                return JSONResponse(to_json(response))
        except Exception as error:
            code = status_of(error)[0].name
            raise
        finally:
            self._telemetry.answered(name, code, time.perf_counter() - started, rows, started - arrived)


def _version(request: Request) -> int | None:
    """The version in the path, if any. Raises InputError."""
    text = request.path_params.get("version")
    return None if text is None else version_number(text, "version")


async def _failed(request: Request, error: Exception) -> Response:
    status = status_of(error)[1]
    return JSONResponse({"error": text_of(error)}, status, {"retry-after": "1"} if status in _PASSING else None)


async def _gone(request: Request, error: Any) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _http_error(request: Request, error: Any) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
