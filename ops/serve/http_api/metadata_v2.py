"""Routes of the Open Inference Protocol that tell of models, with Triton's configuration and statistics."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from thalweg.memory.software import version_of
from thalweg.ops.serve.http_api.inference_json import tensor_metadata
from thalweg.ops.serve.metadata import describe
from thalweg.ops.serve.models import Models, ServedModel
from thalweg.ops.serve.telemetry import ServingFigures
from thalweg.ops.serve.triton import EXTENSIONS, as_json, config_of, index_of, statistics_of
from thalweg.ops.serve.versions import version_number
from thalweg.proto import inference_pb2 as pb


class MetadataRoutes:
    """The routes; translation only.

    Args:
        models: What is served.
        figures: Sums over the requests.
    """

    def __init__(self, models: Models, figures: ServingFigures) -> None:
        self._models, self._figures = models, figures

    def routes(self) -> list[Route]:
        """All of them."""
        routes = [
            Route("/v2", self._server),
            Route("/v2/models/stats", self._all_statistics),
            Route("/v2/repository/index", self._index, methods=["GET", "POST"]),
        ]
        for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            routes += [
                Route(path, self._model),
                Route(f"{path}/ready", self._ready),
                Route(f"{path}/config", self._config),
                Route(f"{path}/stats", self._statistics),
            ]
        return routes

    async def _server(self, request: Request) -> Response:
        version = version_of("thalweg")
        return JSONResponse({"name": "thalweg", "version": version, "extensions": EXTENSIONS})

    async def _model(self, request: Request) -> Response:
        model, version = self._asked(request)
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

    async def _ready(self, request: Request) -> Response:
        model, version = self._asked(request)
        ready = not self._models.draining and await run_in_threadpool(model.ready, version)
        return JSONResponse({"name": model.name, "ready": ready}, 200 if ready else 503)

    async def _config(self, request: Request) -> Response:
        model, version = self._asked(request)
        return JSONResponse(as_json(await run_in_threadpool(config_of, model, version)))

    async def _statistics(self, request: Request) -> Response:
        model, version = self._asked(request)
        if version is not None:
            await run_in_threadpool(model.versions.ready, version)  # raises for one without a snapshot
        sums = pb.ModelStatisticsResponse(model_stats=[statistics_of(model, self._figures)])
        return JSONResponse(as_json(sums))

    async def _all_statistics(self, request: Request) -> Response:
        found = [statistics_of(model, self._figures) for model in self._models.named()]
        return JSONResponse(as_json(pb.ModelStatisticsResponse(model_stats=found)))

    def _asked(self, request: Request) -> tuple[ServedModel, int | None]:
        """The model in the path, or the one that its version belongs to, and the version."""
        version = _version(request)
        return self._models.find(request.path_params["name"], version), version

    async def _index(self, request: Request) -> Response:
        return JSONResponse(as_json(index_of(self._models)).get("models", []))


def _version(request: Request) -> int | None:
    """The version in the path, if any. Raises InputError."""
    text = request.path_params.get("version")
    return None if text is None else version_number(text, "version")
