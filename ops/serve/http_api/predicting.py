"""Routes that predict: Open Inference, rows as people write them, and KServe v1; one function answers all of them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.http_api import inference_json
from thalweg.ops.serve.http_api.calls import Answer, Answering, BoundedCalls, Call
from thalweg.ops.serve.inference import InferenceCore
from thalweg.ops.serve.models import Models
from thalweg.ops.serve.rows.answering import RowAnswers
from thalweg.ops.serve.telemetry import ServingObserver


class PredictionRoutes:
    """The routes; translation only.

    Args:
        core: Answers requests.
        rows: Answers requests for rows.
        calls: Bounds on requests.
        slots: Slots for predictions, shared with gRPC.
        observer: Notified of every prediction.
    """

    def __init__(
        self,
        core: InferenceCore,
        rows: RowAnswers,
        calls: BoundedCalls,
        slots: Admission,
        observer: ServingObserver,
    ) -> None:
        self._core, self._calls, self._slots, self._observer = core, calls, slots, observer
        self._models: Models = core.models
        self._rows = rows

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/v2/models/{name}/infer", self._infer, methods=["POST"]),
            Route("/v2/models/{name}/versions/{version}/infer", self._infer, methods=["POST"]),
            Route("/v1/models", self._list),
            Route("/v1/models/{name}:predict", self._predict_v1, methods=["POST"]),
            Route("/v1/models/{name}", self._ready_v1),
            Route("/v1/models/{name}/predict", self._predict, methods=["POST"]),
        ]

    async def _infer(self, request: Request) -> Response:
        return await self._run(request, self._answer_tensors)

    async def _predict(self, request: Request) -> Response:
        return await self._run(request, self._answer_rows)

    async def _predict_v1(self, request: Request) -> Response:
        return await self._run(request, self._answer_instances)

    async def _run(self, request: Request, answering: Answering) -> Response:
        return await self._calls.run(request, self._slots, answering, self._observer.answered)

    async def _list(self, request: Request) -> Response:
        return JSONResponse({"models": [model.name for model in self._models.named()]})

    async def _ready_v1(self, request: Request) -> Response:
        model = self._models.find(request.path_params["name"])
        reason = "the server is draining" if self._models.draining else model.unready()
        content = {"name": model.name, "ready": not reason} | ({"reason": reason} if reason else {})
        return JSONResponse(content, 503 if reason else 200)

    def _answer_tensors(self, call: Call) -> Answer:
        return inference_json.infer(self._core, call)

    def _answer_rows(self, call: Call) -> Answer:
        return Answer(*self._rows.predict(call.model, call.body, call.query, call.read))

    def _answer_instances(self, call: Call) -> Answer:
        return Answer(*self._rows.predict_instances(call.model, call.body, call.query, call.read))
