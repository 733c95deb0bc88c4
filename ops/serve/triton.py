"""What Triton's clients ask for beside predictions: a model's configuration and statistics, for gRPC and HTTP."""

from __future__ import annotations

from typing import cast

from google.protobuf.json_format import MessageToDict

from thalweg.ops.serve.metadata import describe
from thalweg.ops.serve.models import Models, ServedModel
from thalweg.ops.serve.telemetry import ServingFigures
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.schema import TensorSpec
from thalweg.proto.tensors import datatype

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")
"""Extensions of the Open Inference Protocol that are offered."""
_ROWS = 1024  # there is no bound on rows, only on bytes; clients need a number to send rows together at all


def config_of(model: ServedModel, version: int | None = None) -> pb.ModelConfig:
    """The configuration of a model. Raises as `describe` does."""
    metadata = describe(model, version)
    config = pb.ModelConfig(
        name=model.name,
        platform="thalweg_" + model.learner,
        backend="thalweg",
        max_batch_size=_ROWS,
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
        input=[
            pb.ModelInput(name=spec.name, data_type=_type(spec), dims=spec.shape, optional=spec.optional)
            for spec in metadata.inputs
        ],
        output=[pb.ModelOutput(name=spec.name, data_type=_type(spec), dims=spec.shape) for spec in metadata.outputs],
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
    )
    for name, value in metadata.properties.items():
        config.parameters[name].string_value = value
    return config


def statistics_of(model: ServedModel, figures: ServingFigures) -> pb.ModelStatistics:
    """Sums over the requests to a model since the server started."""
    totals, served = figures.totals(model.answering.name), model.versions.newest
    spent = pb.StatisticDuration(count=totals.succeeded, ns=_ns(totals.succeeded_seconds))
    nothing = pb.StatisticDuration(count=totals.succeeded)  # reading and writing are not told apart from predicting
    return pb.ModelStatistics(
        name=model.name,
        version="" if served is None else str(served.info.version),
        last_inference=int(totals.last * 1e3),
        inference_count=totals.rows,
        execution_count=totals.succeeded,
        inference_stats=pb.InferStatistics(
            success=pb.StatisticDuration(
                count=totals.succeeded, ns=_ns(totals.succeeded_seconds + totals.queue_seconds)
            ),
            fail=pb.StatisticDuration(count=totals.failed, ns=_ns(totals.failed_seconds)),
            queue=pb.StatisticDuration(count=totals.succeeded, ns=_ns(totals.queue_seconds)),
            compute_input=nothing,
            compute_infer=spent,
            compute_output=nothing,
        ),
    )


def index_of(models: Models, *, only_ready: bool = False) -> pb.RepositoryIndexResponse:
    """The models there are."""
    response = pb.RepositoryIndexResponse()
    for model in models.named():
        served, reason = model.versions.newest, model.unready()
        if served is not None and not reason:
            response.models.add(name=model.name, version=str(served.info.version), state="READY")
        elif not only_ready:
            response.models.add(name=model.name, state="UNAVAILABLE", reason=reason)
    return response


def as_json(message: pb.ModelConfig | pb.ModelStatisticsResponse | pb.RepositoryIndexResponse) -> dict[str, object]:
    """A message as Triton writes it over HTTP: names as in the schema, and numbers as numbers."""
    found = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return {name: _numbers(value) for name, value in found.items()}


def _numbers(value: object, name: str = "") -> object:
    if isinstance(value, dict):
        return {key: _numbers(part, key) for key, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part, name) for part in value]
    return int(value) if name in _WHOLE and isinstance(value, str) else value


_WHOLE = ("count", "ns", "last_inference", "inference_count", "execution_count", "dims", "num_versions")


def _type(spec: TensorSpec) -> pb.DataType:
    kind = datatype(spec.dtype)
    return cast(pb.DataType, pb.DataType.Value("TYPE_STRING" if kind == "BYTES" else f"TYPE_{kind}"))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
