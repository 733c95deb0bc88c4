"""The Open Inference Protocol over gRPC: translates, and nothing else."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import grpc

from thalweg.ops.errors import EXPECTED, NotOffered, TooLate, refuse, status_of, text_of
from thalweg.ops.response_forms import Forms
from thalweg.ops.serving import CURRENT, Freshness, Models, ServedModel, ServingObserver
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc
from thalweg.proto.event import InputError, TensorSpec
from thalweg.proto.tensors import datatype, read_tensors

_EXTENSIONS = ("model_repository", "thalweg.v1.LearningService")


class InferenceService(inference_pb2_grpc.GRPCInferenceServiceServicer):
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
        self._forms = {model.name: Forms(model.name) for model in models.all()}

    def ModelInfer(  # noqa: N802 - the protocol's name
        self, request: pb.ModelInferRequest, context: grpc.ServicerContext
    ) -> pb.ModelInferResponse:
        started = time.perf_counter()
        code, rows = "OK", 0
        try:
            remaining = context.time_remaining()
            if remaining is not None and remaining <= 0:
                raise TooLate("the deadline has passed")
            response, rows = self._infer(request, remaining)
        except Exception as error:
            code = status_of(error)[0].name
            refuse(context, error)
        else:
            return response
        finally:
            seconds = time.perf_counter() - started
            self._observer.answered(request.model_name, code, seconds, rows, self._queue_seconds())

    def ModelStreamInfer(  # noqa: N802
        self, request_iterator: Iterator[pb.ModelInferRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ModelStreamInferResponse]:
        for request in request_iterator:
            started = time.perf_counter()
            code, rows = "OK", 0
            try:
                response, rows = self._infer(request, context.time_remaining())
                answer = pb.ModelStreamInferResponse(infer_response=response)
            except Exception as error:
                code = status_of(error)[0].name
                answer = pb.ModelStreamInferResponse(error_message=text_of(error))
                answer.infer_response.id = request.id
            self._observer.answered(request.model_name, code, time.perf_counter() - started, rows)
            yield answer

    def _infer(self, request: pb.ModelInferRequest, remaining: float | None) -> tuple[pb.ModelInferResponse, int]:
        model = self._models.asked(request.model_name)
        plain = not request.parameters and not request.model_version
        served = model.current() if plain else model.version(_freshness(request), remaining)
        raw = request.raw_input_contents
        outputs = model.predict(served, read_tensors(request.inputs, raw))
        wanted = tuple(output.name for output in request.outputs) if request.outputs else ()
        response, rows = self._forms[model.name].fill(served, outputs, wanted, typed=not raw)
        response.parameters["staleness_seconds"].double_param = model.staleness_seconds(served)
        if request.id:
            response.id = request.id
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
                response.models.add(name=model.name, version=str(served.facts.version), state="READY")
            elif not request.ready:
                response.models.add(name=model.name, state="UNAVAILABLE", reason="no version is published yet")
        return response

    def _find(self, name: str, context: grpc.ServicerContext) -> ServedModel:
        try:
            return self._models.find(name)
        except EXPECTED as error:
            refuse(context, error)


def _freshness(request: pb.ModelInferRequest) -> Freshness:
    """The version that a request asks for."""
    parameters: Mapping[str, pb.InferParameter] = request.parameters
    if "event_id" in parameters:
        raise NotOffered("parameter 'event_id': inputs are not remembered until their label comes, in this version")
    if request.model_version:
        return Freshness(as_of=_whole(request.model_version, "model_version"))
    if "as_of_version" in parameters:
        return Freshness(as_of=_number(parameters["as_of_version"], "as_of_version"))
    if "min_state_version" in parameters:
        return Freshness(at_least=_number(parameters["min_state_version"], "min_state_version"))
    return CURRENT


def _number(parameter: pb.InferParameter, name: str) -> int:
    choice = parameter.WhichOneof("parameter_choice")
    if choice in ("int64_param", "uint64_param"):
        return int(getattr(parameter, choice))
    if choice == "string_param":
        return _whole(parameter.string_param, name)
    raise InputError(f"parameter {name!r}: expected a whole number, got {choice or 'nothing'}")


def _whole(text: str, name: str) -> int:
    if not text.isdigit():
        raise InputError(f"{name}: expected the number of a kept version, got {text!r}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a model, for either wire."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    versions: list[str]
    properties: dict[str, str]


def describe(model: ServedModel) -> Description:
    """A model's inputs, outputs and properties; before the first version only what the configuration says."""
    properties = {"learner": model.learner, "topic": model.topic}
    inputs = list(model.schema.inputs.values())
    served = model.published.current
    if served is None:
        return Description(inputs, [], [], properties)
    predictor = served.predictor
    properties |= predictor.properties
    if "scores" in predictor.outputs:
        properties["classes"] = json.dumps(predictor.classes, ensure_ascii=False)
    return Description(inputs, list(predictor.outputs.values()), [str(served.facts.version)], properties)


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=datatype(spec.dtype), shape=[-1, *spec.shape]
    )
