"""The Open Inference Protocol over gRPC: translates, and nothing else."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from thalweg.ops.serve.errors import EXPECTED, DeadlineExceeded, refuse, status_of, text_of
from thalweg.ops.serve.request_cache import Head, RequestTemplates, read
from thalweg.ops.serve.response_cache import ResponseTemplates
from thalweg.ops.serve.serving import CURRENT, Models, ServedModel, ServingObserver
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.schema import Array, TensorSpec
from thalweg.proto.tensors import datatype

_EXTENSIONS = ("model_repository", "thalweg.v1.LearningService")


class InferenceService:
    """Answers from the version that is published at that moment.

    Args:
        models: What is served.
        observer: Told of every prediction.
        queue_seconds: How long the call on this thread waited for it.
    """

    def __init__(
        self, models: Models, observer: ServingObserver, queue_seconds: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._models = models
        self._observer = observer
        self._queue_seconds = queue_seconds
        self._heads = RequestTemplates()
        self._forms = {model.name: ResponseTemplates(model.name) for model in models.all()}

    def ModelInfer(self, request: bytes, context: grpc.ServicerContext) -> bytes:  # noqa: N802 - the protocol's name
        """From bytes to bytes: `handlers` has gRPC leave both as they are."""
        started = time.perf_counter()
        model, code, rows = "", "OK", 0
        try:
            remaining = context.time_remaining()
            if remaining is not None and remaining <= 0:
                raise DeadlineExceeded("the deadline has passed")
            head, inputs = self._heads.read(request)
            model = head.model
            response, rows = self._infer(head, inputs, remaining)
        except Exception as error:
            code = status_of(error)[0].name
            refuse(context, error)
        else:
            return response
        finally:
            self._observer.answered(model, code, time.perf_counter() - started, rows, self._queue_seconds())

    def ModelStreamInfer(  # noqa: N802
        self, request_iterator: Iterator[pb.ModelInferRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ModelStreamInferResponse]:
        for request in request_iterator:
            started = time.perf_counter()
            code, rows = "OK", 0
            answer = pb.ModelStreamInferResponse()
            try:
                response, rows = self._infer(*read(request), context.time_remaining())
                answer.infer_response.ParseFromString(response)
            except Exception as error:
                code = status_of(error)[0].name
                answer.error_message = text_of(error)
                answer.infer_response.id = request.id
            self._observer.answered(request.model_name, code, time.perf_counter() - started, rows)
            yield answer

    def _infer(self, head: Head, inputs: Mapping[str, Array], remaining: float | None) -> tuple[bytes, int]:
        model = self._models.asked(head.model)
        served = model.current() if head.freshness is CURRENT else model.version(head.freshness, remaining)
        outputs = model.predict(served, inputs)
        if head.event_id is not None:
            model.remember(head.event_id, inputs, served, outputs)
        response, rows = self._forms[model.name].response(served, outputs, head, model.staleness_seconds(served))
        if head.explain:
            response = _explained(response, model.explain(served, inputs, head.explain))
        return response, rows

    def ServerLive(self, request: pb.ServerLiveRequest, context: grpc.ServicerContext) -> pb.ServerLiveResponse:  # noqa: N802
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request: pb.ServerReadyRequest, context: grpc.ServicerContext) -> pb.ServerReadyResponse:  # noqa: N802
        return pb.ServerReadyResponse(ready=not self._models.reasons())

    def ModelReady(self, request: pb.ModelReadyRequest, context: grpc.ServicerContext) -> pb.ModelReadyResponse:  # noqa: N802
        model = self._find(request.name, context)
        return pb.ModelReadyResponse(ready=model.published.current is not None and not self._models.draining)

    def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name="thalweg", version=importlib.metadata.version("thalweg"), extensions=_EXTENSIONS
        )

    def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ModelMetadataResponse:
        model = self._find(request.name, context)
        record = describe(model)
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=record.versions,
            platform="thalweg_" + model.learner,
            inputs=[_tensor(spec) for spec in record.inputs],
            outputs=[_tensor(spec) for spec in record.outputs],
            properties=record.properties,
        )

    def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryIndexResponse:
        response = pb.RepositoryIndexResponse()
        for model in self._models.all():
            served = model.published.current
            if served is not None:
                response.models.add(name=model.name, version=str(served.info.version), state="READY")
            elif not request.ready:
                response.models.add(name=model.name, state="UNAVAILABLE", reason="no version is published yet")
        return response

    def _find(self, name: str, context: grpc.ServicerContext) -> ServedModel:
        try:
            return self._models.find(name)
        except EXPECTED as error:
            refuse(context, error)


_UNARY = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "RepositoryIndex")


def handlers(service: InferenceService) -> dict[str, Any]:
    """What gRPC calls for each method; the generated function would have `ModelInfer` parsed every time."""
    made: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(service, name),
            request_deserializer=getattr(pb, name + "Request").FromString,
            response_serializer=getattr(pb, name + "Response").SerializeToString,
        )
        for name in _UNARY
    }
    made["ModelInfer"] = grpc.unary_unary_rpc_method_handler(service.ModelInfer)
    made["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
        service.ModelStreamInfer,
        request_deserializer=pb.ModelInferRequest.FromString,
        response_serializer=pb.ModelStreamInferResponse.SerializeToString,
    )
    return made


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a model, for either wire."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    versions: list[str]
    properties: dict[str, str]


def _explained(response: bytes, told: list[Any]) -> bytes:
    """The response with what counted, as JSON in its parameter `explanation`."""
    answer = pb.ModelInferResponse.FromString(response)
    answer.parameters["explanation"].string_param = json.dumps(told)
    return answer.SerializeToString()


def describe(model: ServedModel) -> Description:
    """A model's inputs, outputs and properties; before the first version only what the configuration says."""
    properties = {"learner": model.learner, "topic": model.topic}
    inputs = list(model.schema.inputs.values())
    served = model.published.current
    if served is None:
        return Description(inputs, [], [], properties)
    predictor = served.predictor
    properties |= predictor.properties
    if served.alternative_inputs is not None:
        others = {spec.name: [datatype(spec.dtype), [-1, *spec.shape]] for spec in served.alternative_inputs.values()}
        properties["alternative_inputs"] = json.dumps(others)
    if {"scores", "type_scores"} & predictor.outputs.keys():
        properties["classes"] = json.dumps(predictor.classes, ensure_ascii=False)
    return Description(inputs, list(predictor.outputs.values()), [str(served.info.version)], properties)


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=datatype(spec.dtype), shape=[-1, *spec.shape]
    )
