"""Metadata of the served models, for gRPC and HTTP."""

from __future__ import annotations

import json
from dataclasses import dataclass

from thalweg.ops.serve.by_key.keys import KEY, KEY_SPEC
from thalweg.ops.serve.class_names import CLASSES, offered
from thalweg.ops.serve.models import ServedModel
from thalweg.ops.serve.versions import CURRENT, Freshness
from thalweg.proto.schema import TensorSpec
from thalweg.proto.tensors import datatype


@dataclass(frozen=True, slots=True)
class Metadata:
    """A model's tensors and properties."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    versions: list[str]
    properties: dict[str, str]


def describe(model: ServedModel, version: int | None = None) -> Metadata:
    """Metadata of this version (None: the current one); before the first version only what the configuration says.

    Raises:
        UnknownVersion: There is no snapshot of the version; others as raised by `ModelVersions.find`.
    """
    properties = {"learner": model.learner, "topic": model.topic}
    if model.answering is not model:
        properties["champion"] = model.answering.name
    inputs = list(model.schema.inputs.values())
    if model.keys is not None and KEY not in model.schema.inputs:
        inputs.append(KEY_SPEC)
    if version is None and model.versions.newest is None:
        return Metadata(inputs, [], [], properties)
    served = model.versions.find(CURRENT if version is None else Freshness(as_of=version))
    predictor = served.predictor
    properties |= predictor.properties
    if served.alternative_inputs is not None:
        others = {spec.name: [datatype(spec.dtype), [-1, *spec.shape]] for spec in served.alternative_inputs.values()}
        properties["other_inputs"] = json.dumps(others)
    if served.shards:
        properties["shards"] = json.dumps(served.shards)
    if CLASSES in offered(predictor):
        properties["classes"] = json.dumps(predictor.classes, ensure_ascii=False)
    return Metadata(inputs, list(offered(predictor).values()), [str(served.info.version)], properties)
