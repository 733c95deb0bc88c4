"""The Open Inference Protocol over gRPC: translation only."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc

from thalweg.memory.software import version_of
from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.bounds.answer_bytes import AnswerBytes, too_long
from thalweg.ops.serve.errors import refuse, status_of, text_of
from thalweg.ops.serve.grpc_api.methods import Method, translated
from thalweg.ops.serve.grpc_api.request_cache import Parsed, RequestTemplates, read
from thalweg.ops.serve.grpc_api.response_cache import ResponseTemplates
from thalweg.ops.serve.inference import InferenceCore, InferenceRequest
from thalweg.ops.serve.metadata import describe
from thalweg.ops.serve.telemetry import ServerTelemetry
from thalweg.ops.serve.triton import EXTENSIONS, config_of, index_of, statistics_of
from thalweg.ops.serve.versions import version_number
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.schema import TensorSpec
from thalweg.proto.tensors import datatype

SERVICE = "inference.GRPCInferenceService"
_EXTENSIONS = (
    *(name for name in EXTENSIONS if name != "binary_tensor_data"),  # that one is HTTP's
    "thalweg.v1.LearningService",
)


class InferenceService:
    """Responds from the version that is published at the time of the call.

    Args:
        core: Answers requests.
        observer: Notified of every prediction, and asked for their sums.
        slots: Slots for predictions; a unary call has one already.
        most_sent: Bytes of one answer; None: no limit.
    """

    def __init__(
        self, core: InferenceCore, observer: ServerTelemetry, slots: Admission, most_sent: int | None = None
    ) -> None:
        self._core = core
        self._models = core.models
        self._observer = observer
        self._slots = slots
        self._requests = RequestTemplates()
        self._most_sent = most_sent
        self._sizes = {typed: AnswerBytes("typed" if typed else "raw", most_sent) for typed in (False, True)}
        self._responses: dict[str, ResponseTemplates] = {}  # of each name that has answered

    def ModelInfer(self, request: bytes, context: grpc.ServicerContext) -> bytes:  # noqa: N802 - the protocol's name
        """Takes and returns bytes: `METHODS` disables gRPC's own conversion."""
        started = time.perf_counter()
        model, code, rows = "", "OK", 0
        try:
            parsed = self._requests.read(request)
            model = parsed[0].model
            response, rows = self._infer(parsed, context)
        except Exception as error:
            code = status_of(error)[0].name
            refuse(context, error)
        else:
            return response
        finally:
            self._observer.answered(model, code, time.perf_counter() - started, rows, self._slots.queue_seconds)

    def ModelStreamInfer(  # noqa: N802
        self, request_iterator: Iterator[pb.ModelInferRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ModelStreamInferResponse]:
        for request in request_iterator:
            started = time.perf_counter()
            code, rows = "OK", 0
            answer = pb.ModelStreamInferResponse()
            try:
                with self._slots.slot():
                    response, rows = self._infer(read(request), context)
                answer.infer_response.ParseFromString(response)
            except Exception as error:
                code = status_of(error)[0].name
                answer.error_message = text_of(error)
                answer.infer_response.id = request.id
            self._observer.answered(request.model_name, code, time.perf_counter() - started, rows)
            yield answer

    def _infer(self, parsed: Parsed, context: grpc.ServicerContext) -> tuple[bytes, int]:
        options, inputs, typed = parsed
        request = InferenceRequest(
            options, inputs, context.time_remaining(), alive=context.is_active, answer=self._sizes[typed]
        )
        response = self._core.infer(request)
        templates = self._responses.get(options.model)
        if templates is None:
            templates = self._responses.setdefault(options.model, ResponseTemplates(options.model))
        content, rows = templates.encode(response, typed=typed)
        if self._most_sent is not None and len(content) > self._most_sent:  # its texts are longer than they might be
            raise too_long(rows, len(content), self._most_sent)
        return content, rows

    def ServerLive(self, request: pb.ServerLiveRequest, context: grpc.ServicerContext) -> pb.ServerLiveResponse:  # noqa: N802
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request: pb.ServerReadyRequest, context: grpc.ServicerContext) -> pb.ServerReadyResponse:  # noqa: N802
        return pb.ServerReadyResponse(ready=not self._models.reasons())

    def ModelReady(self, request: pb.ModelReadyRequest, context: grpc.ServicerContext) -> pb.ModelReadyResponse:  # noqa: N802
        def ready() -> bool:
            version = _version(request.version)
            return not self._models.draining and self._models.find(request.name, version).ready(version)

        return pb.ModelReadyResponse(ready=translated(context, ready))

    def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="thalweg", version=version_of("thalweg"), extensions=_EXTENSIONS)

    def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ModelMetadataResponse:
        def answer() -> pb.ModelMetadataResponse:
            version = _version(request.version)
            model = self._models.find(request.name, version)
            metadata = describe(model, version)
            return pb.ModelMetadataResponse(
                name=model.name,
                versions=metadata.versions,
                platform="thalweg_" + model.learner,
                inputs=[_tensor(spec) for spec in metadata.inputs],
                outputs=[_tensor(spec) for spec in metadata.outputs],
                properties=metadata.properties,
            )

        return translated(context, answer)

    def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryIndexResponse:
        return index_of(self._models, only_ready=request.ready)

    def ModelConfig(self, request: pb.ModelConfigRequest, context: grpc.ServicerContext) -> pb.ModelConfigResponse:  # noqa: N802
        def answer() -> pb.ModelConfigResponse:
            return pb.ModelConfigResponse(
                config=config_of(self._models.find(request.name, _version(request.version)), _version(request.version))
            )

        return translated(context, answer)

    def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, context: grpc.ServicerContext
    ) -> pb.ModelStatisticsResponse:
        def answer() -> pb.ModelStatisticsResponse:
            asked = [self._models.find(request.name)] if request.name else self._models.named()
            return pb.ModelStatisticsResponse(model_stats=[statistics_of(model, self._observer) for model in asked])

        return translated(context, answer)


METHODS = (
    Method("ServerLive", pb.ServerLiveRequest, pb.ServerLiveResponse),
    Method("ServerReady", pb.ServerReadyRequest, pb.ServerReadyResponse),
    Method("ModelReady", pb.ModelReadyRequest, pb.ModelReadyResponse, kind="loading"),
    Method("ServerMetadata", pb.ServerMetadataRequest, pb.ServerMetadataResponse),
    Method("ModelMetadata", pb.ModelMetadataRequest, pb.ModelMetadataResponse, kind="loading"),
    Method("RepositoryIndex", pb.RepositoryIndexRequest, pb.RepositoryIndexResponse),
    Method("ModelConfig", pb.ModelConfigRequest, pb.ModelConfigResponse, kind="loading"),
    Method("ModelStatistics", pb.ModelStatisticsRequest, pb.ModelStatisticsResponse),
    Method(
        "ModelInfer", pb.ModelInferRequest, None, as_bytes=True, kind="predictions", observed=False
    ),  # bytes to bytes; notifies the observer itself
    Method("ModelStreamInfer", pb.ModelInferRequest, pb.ModelStreamInferResponse, streams="both"),
)


def _version(text: str) -> int | None:
    return version_number(text, "version") if text else None


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=datatype(spec.dtype), shape=[-1, *spec.shape]
    )
