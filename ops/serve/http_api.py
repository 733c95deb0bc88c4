"""HTTP: health, metrics, the live page, and the Open Inference Protocol's REST twin under /v2."""

from __future__ import annotations

import importlib.metadata
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from thalweg.models.contract.learner import Predictor
from thalweg.ops.config.addresses import listen
from thalweg.ops.serve.errors import EXPECTED, TooLarge, status_of, text_of
from thalweg.ops.serve.grpc_inference import describe
from thalweg.ops.serve.request_cache import USUAL_EXPLANATION
from thalweg.ops.serve.serving import CURRENT, Freshness, Models, ServedModel, ServingObserver, accepted
from thalweg.ops.webpage.api import PageApi
from thalweg.proto.json_text import NotUtf8, json_of
from thalweg.proto.schema import Array, InputError, TensorSpec
from thalweg.proto.tensors import datatype

_START_SECONDS = 10.0


class HttpServer:
    """Serves an application from a thread of its own.

    Args:
        models: What is served.
        address: `HOST:PORT`, an IPv6 host in brackets; port 0 takes a free one.
        render: The metrics page: content and its type.
        observer: Told of every prediction.
        max_body_bytes: Larger requests are refused.
        page: The live page.
    """

    def __init__(
        self,
        models: Models,
        address: str,
        render: Callable[[], tuple[bytes, str]],
        observer: ServingObserver,
        max_body_bytes: int,
        page: PageApi,
    ) -> None:
        self._socket = listen(address)
        application = Api(models, render, observer, max_body_bytes, page).application()
        config = uvicorn.Config(
            application, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)

    def close(self) -> None:
        """Finish what is being answered, and stop."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()


class Api:
    """The routes; each translates and nothing else."""

    def __init__(
        self,
        models: Models,
        render: Callable[[], tuple[bytes, str]],
        observer: ServingObserver,
        max_body_bytes: int,
        page: PageApi,
    ) -> None:
        self._models = models
        self._page = page
        self._render = render
        self._observer = observer
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
            Route("/v2/models/{name}/versions/{version:int}/infer", self._infer, methods=["POST"]),
            *self._page.routes(),
        ]
        handlers: dict[Any, Any] = dict.fromkeys((*EXPECTED, Exception), _failed) | {HTTPException: _http_error}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def _index(self, request: Request) -> Response:
        if page := self._page.page(request):
            return page
        links = {
            "metrics": "/metrics",
            "ready": "/readyz",
            "models": [f"/v2/models/{m.name}" for m in self._models.all()],
        }
        told = {"service": "thalweg", "version": importlib.metadata.version("thalweg"), "links": links}
        return JSONResponse(told, headers={"vary": "accept"})

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        reasons = self._models.reasons()
        degraded = self._models.degraded()
        return JSONResponse({"ready": not reasons, "reasons": reasons, "degraded": degraded}, 503 if reasons else 200)

    async def _metrics(self, request: Request) -> Response:
        content, kind = await run_in_threadpool(self._render)
        return Response(content, media_type=kind)

    async def _server_metadata(self, request: Request) -> Response:
        version = importlib.metadata.version("thalweg")
        return JSONResponse({"name": "thalweg", "version": version, "extensions": []})

    async def _model_metadata(self, request: Request) -> Response:
        model = self._models.find(request.path_params["name"])
        found = describe(model)
        return JSONResponse(
            {
                "name": model.name,
                "versions": found.versions,
                "platform": "thalweg_" + model.learner,
                "inputs": [_tensor(spec) for spec in found.inputs],
                "outputs": [_tensor(spec) for spec in found.outputs],
                "properties": found.properties,
            }
        )

    async def _model_ready(self, request: Request) -> Response:
        model = self._models.find(request.path_params["name"])
        ready = model.published.current is not None and not self._models.draining
        return JSONResponse({"name": model.name, "ready": ready}, 200 if ready else 503)

    async def _infer(self, request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._max_body_bytes:
                raise TooLarge(f"the request is larger than {self._max_body_bytes} bytes")
        where, came = request.path_params, time.perf_counter()
        return JSONResponse(await run_in_threadpool(self._answer, where["name"], where.get("version"), body, came))

    def _answer(self, name: str, version: int | None, body: bytearray, came: float) -> dict[str, Any]:
        started = time.perf_counter()
        code, rows = "OK", 0
        try:
            answer, rows = self._predict(self._models.asked(name), version, body)
        except Exception as error:
            code = status_of(error)[0].name
            raise
        else:
            return answer
        finally:
            self._observer.answered(name, code, time.perf_counter() - started, rows, started - came)

    def _predict(self, model: ServedModel, version: int | None, body: bytearray) -> tuple[dict[str, Any], int]:
        request = _parse(body)
        served = model.version(_freshness(request.get("parameters"), version), None)
        specs = accepted(served, model.schema)
        inputs: dict[str, Array] = {}
        for tensor in request["inputs"]:
            name, array = _array(tensor, specs)
            if name in inputs:
                raise InputError(f"input {name!r}: given twice")
            inputs[name] = array
        outputs = model.predict(served, inputs)
        parameters = request.get("parameters") or {}
        if "event_id" in parameters:
            model.remember(_event_id(parameters["event_id"]), inputs, served, outputs)
        told = {}
        if most := _most_told(parameters.get("explain")):
            told["explanation"] = model.explain(served, inputs, most)
        known = served.predictor.outputs
        answer = []
        rows = 0
        for name in _wanted(request.get("outputs"), known):
            spec, array = known[name], outputs[name]
            rows = len(array)
            answer.append({**_tensor(spec), "shape": list(array.shape), "data": _data(array, spec, served.predictor)})
        info = served.info
        return {
            "model_name": model.name,
            "model_version": str(info.version),
            "id": request.get("id", ""),
            "parameters": {
                "state_version": info.version,
                "learned_events": info.learned_events,
                "staleness_seconds": model.staleness_seconds(served),
                **told,
            },
            "outputs": answer,
        }, rows


def _parse(body: bytearray) -> dict[str, Any]:
    try:
        request = json_of(body)
    except NotUtf8 as error:
        raise InputError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request is no JSON: {error}") from error
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise InputError("the request: expected an object with a list 'inputs'")
    return request


def _freshness(parameters: Any, version: int | None) -> Freshness:
    """The version that a request asks for, by its path or its parameters."""
    if version is not None:
        return Freshness(as_of=version)
    if parameters is None:
        return CURRENT
    if not isinstance(parameters, dict):
        raise InputError(f"parameters: expected an object, got {parameters!r:.80}")
    numbers = []
    for name in ("min_state_version", "as_of_version"):
        number = parameters.get(name)
        if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
            raise InputError(f"parameter {name!r}: expected a whole number, got {number!r:.80}")
        numbers.append(number)
    return Freshness(*numbers)


def _event_id(value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(f"parameter 'event_id': expected a text, got {value!r:.80}")
    return str(value)


def _most_told(value: Any) -> int:
    """How much is to be told of what counted; 0: nothing."""
    if value is None or isinstance(value, bool):
        return USUAL_EXPLANATION if value else 0
    if not isinstance(value, int) or value < 0:
        raise InputError(f"parameter 'explain': expected true or a whole number, got {value!r:.80}")
    return value


def _wanted(outputs: Any, known: Mapping[str, TensorSpec]) -> list[str]:
    """Names of the outputs to send."""
    if not outputs:
        return list(known)
    if not isinstance(outputs, list):
        raise InputError(f"outputs: expected a list of objects with a name, got {outputs!r:.80}")
    names: list[Any] = [output.get("name") if isinstance(output, dict) else None for output in outputs]
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise InputError(f"output {name!r:.80}: no such output; known: {', '.join(map(repr, known))}")
    return names


def _array(tensor: Any, specs: Mapping[str, TensorSpec]) -> tuple[str, Array]:
    if not isinstance(tensor, dict) or not {"name", "shape", "datatype", "data"} <= tensor.keys():
        raise InputError("an input: expected name, shape, datatype and data")
    name, shape, kind = tensor["name"], tensor["shape"], tensor["datatype"]
    spec = specs.get(name) if isinstance(name, str) else None
    if spec is None:
        raise InputError(f"input {name!r:.80}: no such input; known: {', '.join(map(repr, specs))}")
    if kind != datatype(spec.dtype):
        raise InputError(f"input {name!r}: expected {datatype(spec.dtype)}, got {kind!r:.80}")
    try:
        array = _column(tensor["data"], spec)
        if len(array) != math.prod(shape) or any(size < 0 for size in shape):
            raise InputError(f"input {name!r}: expected {math.prod(shape)} values for shape {shape}, got {len(array)}")
        return name, array.reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"input {name!r}: {error}") from error


def _column(data: Any, spec: TensorSpec) -> Array:
    """Values that may be nested, as one flat array. Raises TypeError, ValueError, OverflowError."""
    if spec.dtype != "bytes":
        kind = np.dtype(spec.dtype).kind
        found = np.array(data).reshape(-1)
        if found.size and found.dtype.kind not in {"f": "fiu", "b": "b"}.get(kind, "iu"):
            raise TypeError(f"expected {'numbers' if kind == 'f' else spec.dtype}, got {str(data)[:80]}")
        with np.errstate(over="ignore"):  # too large for float32 is infinite there, and is found as such
            cast = found.astype(spec.dtype)
        if kind in "iu" and (cast != found).any():
            raise OverflowError(f"expected {spec.dtype}, got {found.min()} to {found.max()}")
        return cast
    flat = np.array(data, dtype=object).reshape(-1)
    if not all(isinstance(text, str) for text in flat):
        raise TypeError("expected strings")
    flat[:] = [text.encode() for text in flat]
    return flat


def _data(array: Array, spec: TensorSpec, predictor: Predictor) -> list[Any]:
    """JSON values, flat; a number that is not finite is null."""
    if spec.dtype == "bytes":
        names = (*predictor.classes, "")  # code -1: nothing is known
        return [names[code] for code in array.reshape(-1).tolist()]
    flat: list[Any] = array.reshape(-1).tolist()
    return [value if not isinstance(value, float) or math.isfinite(value) else None for value in flat]


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": datatype(spec.dtype), "shape": [-1, *spec.shape]}


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": text_of(error)}, status_of(error)[1])


async def _http_error(request: Request, error: Any) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
