"""`thalweg predict`: for a person's first look."""

from __future__ import annotations

import json
from typing import Any

import grpc
import numpy as np

from thalweg.ops.run.failed import Failed
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc
from thalweg.proto.json_text import NotUtf8, NumberTooLong, json_of


def run(target: str, model: str, text: str) -> None:
    """Print the answer as JSON."""
    try:
        given = json_of(text.encode())
    except (NotUtf8, NumberTooLong) as error:
        raise Failed(f"standard input: {error}") from error
    except ValueError as error:
        raise Failed(f"standard input is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise Failed('expected an object of inputs, such as {"features": [0.1, 0.2]}')
    inputs = given.get("inputs", given)
    if not isinstance(inputs, dict):
        raise Failed(f"inputs: expected an object of tensors by name, got {inputs!r:.60}")
    with grpc.insecure_channel(target) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            known = stub.ModelMetadata(pb.ModelMetadataRequest(name=model), timeout=10)
            request = pb.ModelInferRequest(model_name=model)
            for spec in known.inputs:
                if spec.name in inputs:
                    _add(request, spec, inputs[spec.name])
            for name in inputs:
                if name not in [spec.name for spec in known.inputs]:
                    raise Failed(f"input {name!r}: no such input; known: {', '.join(s.name for s in known.inputs)}")
            print(json.dumps(_readable(stub.ModelInfer(request, timeout=10)), indent=2, ensure_ascii=False))
        except grpc.RpcError as error:
            raise Failed(f"{target}: {error.code().name}: {error.details()}") from error


def _add(request: pb.ModelInferRequest, spec: Any, value: Any) -> None:
    """Add one input with typed contents; integers stay exact however large."""
    try:
        array = np.array(value, dtype=object if spec.datatype == "BYTES" else np.float64)
        shape = (1, *array.shape) if array.ndim == len(spec.shape) - 1 else array.shape  # one event, without its N
        tensor = request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
        flat = np.array(value, dtype=object).reshape(-1).tolist()
        contents = tensor.contents
        if spec.datatype == "BYTES":
            contents.bytes_contents.extend(str(text).encode() for text in flat)
        elif spec.datatype == "FP32":
            contents.fp32_contents.extend(map(float, flat))
        elif spec.datatype == "FP64":
            contents.fp64_contents.extend(map(float, flat))
        elif spec.datatype == "INT64":
            contents.int64_contents.extend(map(int, flat))
        elif spec.datatype == "BOOL":
            contents.bool_contents.extend(map(bool, flat))
        elif spec.datatype.startswith("UINT"):
            contents.uint_contents.extend(map(int, flat))
        else:
            contents.int_contents.extend(map(int, flat))
    except (TypeError, ValueError, OverflowError) as error:
        raise Failed(f"input {spec.name!r}: expected {spec.datatype}: {error}") from error


def _readable(response: pb.ModelInferResponse) -> dict[str, Any]:
    answer: dict[str, Any] = {"model": response.model_name}
    for tensor in response.outputs:
        content = tensor.contents
        values: list[Any] = [text.decode() for text in content.bytes_contents]
        values += [*content.fp32_contents, *content.fp64_contents, *content.int64_contents, *content.int_contents]
        answer[tensor.name] = values
    for name, parameter in response.parameters.items():
        answer[name] = getattr(parameter, parameter.WhichOneof("parameter_choice"))
    return answer
