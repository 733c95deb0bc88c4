"""The Open Inference Protocol in JSON: parses requests and formats responses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve.bounds.answer_bytes import AnswerBytes
from thalweg.ops.serve.bounds.input_bytes import LEAST_TEXT_BYTES, hold_inputs, hold_texts
from thalweg.ops.serve.by_key.keys import key_of
from thalweg.ops.serve.class_names import offered, pieces_of
from thalweg.ops.serve.http_api.binary_tensors import RawInputs, answer, raw_of, split
from thalweg.ops.serve.http_api.calls import Answer, Call
from thalweg.ops.serve.inference import (
    USUAL_EXPLANATION,
    InferenceCore,
    InferenceRequest,
    InferenceResponse,
    RequestOptions,
)
from thalweg.ops.serve.known_names import check_fields, check_names, check_parameters
from thalweg.ops.serve.rows.arrays import array_of
from thalweg.ops.serve.rows.json_bodies import value_of
from thalweg.ops.serve.versions import CURRENT, Freshness, version_number
from thalweg.proto.bounds.counted import counted
from thalweg.proto.json_text import as_json
from thalweg.proto.schema import Array, InputError, TensorSpec
from thalweg.proto.tensors import datatype, from_raw, numpy_name

_REQUEST_FIELDS = ("id", "inputs", "model_name", "model_version", "outputs", "parameters")
_INPUT_FIELDS = ("data", "datatype", "name", "parameters", "shape")
_TENSOR_PARAMETERS = ("binary_data", "binary_data_size", "classification")
_SIZES = AnswerBytes("json")
_OUTPUT_FIELDS = ("data", "datatype", "name", "parameters", "shape")


def infer(core: InferenceCore, call: Call) -> Answer:
    """Answer a request. Raises InputError, and as `InferenceCore.infer` does."""
    request, is_raw = _read(call)
    call.read()
    hold_inputs(request.inputs)
    response = core.infer(request)
    raw: list[bytes] = []
    head = to_json(response, is_raw, raw)
    return answer(head, raw, response.rows)


def _read(call: Call) -> tuple[InferenceRequest, Callable[[str], bool]]:
    """The request, and which outputs are to be raw."""
    text, raw = split(call.headers, call.body)
    request = _parse(text)
    parameters = request.get("parameters")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise InputError(f"parameters: expected an object, got {as_json(parameters)}")
    check_parameters(parameters)
    names, own = _wanted(request.get("outputs"))
    options = RequestOptions(
        call.model,
        _id(request.get("id")),
        _freshness(parameters, call.version),
        names,
        event_id=_event_id(parameters["event_id"]) if "event_id" in parameters else None,
        explain=_explain(parameters.get("explain")),
        key=key_of(parameters["key"], "parameter 'key'") if "key" in parameters else None,
    )
    usual = _truth(parameters.get("binary_data_output"), "parameter 'binary_data_output'")
    inputs: dict[str, Array] = {}
    for tensor in request["inputs"]:
        name, array = tensor_of(tensor, raw)
        if name in inputs:
            raise InputError(f"input {name!r:.80}: given twice")
        inputs[name] = array
    raw.end()
    return InferenceRequest(options, inputs, answer=_SIZES), lambda name: own.get(name, usual)


def to_json(response: InferenceResponse, is_raw: Callable[[str], bool], raw: list[bytes]) -> dict[str, Any]:
    """The response as a JSON object.

    Args:
        response: The response.
        is_raw: Which outputs are raw.
        raw: Receives their values.
    """
    info, predictor = response.served.info, response.served.predictor
    specs = offered(predictor)
    parameters: dict[str, Any] = {
        "state_version": info.version,
        "learned_events": info.learned_events,
        "staleness_seconds": response.staleness_seconds,
    }
    if response.explanation is not None:
        parameters["explanation"] = response.explanation
    if reason := response.no_label:
        parameters["no_label"] = reason
    outputs = []
    for name in response.names:
        spec, array = specs[name], response.outputs[name]
        output: dict[str, Any] = {**tensor_metadata(spec), "shape": list(array.shape)}
        if is_raw(name):
            raw.append(raw_of(array, spec, predictor.classes))
            output["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            output["data"] = _data(array, spec, predictor)
        outputs.append(output)
    return {
        "model_name": response.options.model,
        "model_version": str(info.version),
        "id": response.options.id,
        "parameters": parameters,
        "outputs": outputs,
    }


def tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    """The metadata of a tensor."""
    return {"name": spec.name, "datatype": datatype(spec.dtype), "shape": [-1, *spec.shape]}


def _parse(body: bytearray) -> dict[str, Any]:
    request = value_of(body)
    if isinstance(request, dict):  # first, because a required field that is missing may be a misspelt one
        check_fields(request, _REQUEST_FIELDS, "the request")
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise InputError("the request: expected an object with a list 'inputs'")
    return request


def _id(value: Any) -> str:
    """The caller's id of the request."""
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(f"id: expected a string, got {as_json(value)}")
    return str(value)


def _freshness(parameters: dict[str, Any], version: str | None) -> Freshness:
    """The version that a request demands, in its path or parameters."""
    if version is not None:
        return Freshness(as_of=version_number(version, "version"))
    numbers = [_number(parameters.get(name), name) for name in ("min_state_version", "as_of_version")]
    return CURRENT if numbers == [None, None] else Freshness(*numbers)


def _number(value: Any, name: str) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InputError(f"parameter {name!r}: expected a whole number, got {as_json(value)}")
    return value


def _event_id(value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(f"parameter 'event_id': expected a string, got {as_json(value)}")
    return str(value)


def _explain(value: Any) -> int:
    """Number of explanation entries per row; 0: none."""
    if value is None or isinstance(value, bool):
        return USUAL_EXPLANATION if value else 0
    if not isinstance(value, int):
        raise InputError(f"parameter 'explain': expected true or a whole number, got {as_json(value)}")
    return value


def _wanted(outputs: Any) -> tuple[tuple[str, ...], dict[str, bool]]:
    """Names of the requested outputs (empty: all), and which of them say whether they are to be raw."""
    if not outputs:
        return (), {}
    if not isinstance(outputs, list):
        raise InputError(f"outputs: expected a list of objects with a name, got {as_json(outputs)}")
    for output in outputs:
        if isinstance(output, dict):
            check_fields(output, _OUTPUT_FIELDS, "an output")
    names: list[Any] = [output.get("name") if isinstance(output, dict) else None for output in outputs]
    own: dict[str, bool] = {}
    for name, output in zip(names, outputs):
        if not isinstance(name, str):
            raise InputError(f"outputs: expected objects with a name, got the name {name!r:.80}")
        parameters = _parameters(output, f"output {name!r:.80}")
        if parameters.get("classification"):
            raise InputError(f"output {name!r:.80}: the classification extension is not offered")
        if "binary_data" in parameters:
            own[name] = _truth(parameters["binary_data"], f"output {name!r:.80}: binary_data")
    return tuple(names), own


def _parameters(tensor: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = tensor.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InputError(f"{where}: parameters: expected an object, got {as_json(parameters)}")
    check_names(parameters, _TENSOR_PARAMETERS, where)
    return parameters


def _truth(value: Any, where: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{where}: expected true or false, got {as_json(value)}")
    return bool(value)


def tensor_of(tensor: Any, raw: RawInputs) -> tuple[str, Array]:
    """Name and values of one input, or of an output. Raises InputError."""
    if isinstance(tensor, dict):
        check_fields(tensor, _INPUT_FIELDS, "an input")
    if not isinstance(tensor, dict) or not {"name", "shape", "datatype"} <= tensor.keys():
        raise InputError("an input: expected name, shape, datatype and data")
    name, shape = tensor["name"], tensor["shape"]
    if not isinstance(name, str):
        raise InputError(f"input {name!r:.80}: expected a string as its name")
    dtype = numpy_name(tensor["datatype"], name)
    parameters = _parameters(tensor, f"input {name!r:.80}")
    if "data" not in tensor:
        if "binary_data_size" not in parameters:
            raise InputError(f"input {name!r:.80}: expected data, or the parameter binary_data_size")
        content = raw.take(name, parameters["binary_data_size"])
        hold_texts(tensor["datatype"], len(content) // LEAST_TEXT_BYTES)
        return name, from_raw(name, tensor["datatype"], _sizes(name, shape), content)
    if "binary_data_size" in parameters:
        raise InputError(f"input {name!r:.80}: has both data and binary_data_size; send one of them")
    try:
        array = _column(tensor["data"], dtype)
        if any(size < 0 for size in shape):
            raise InputError(f"input {name!r:.80}: expected no negative size in its shape, got {as_json(shape)}")
        if len(array) != math.prod(shape):
            raise InputError(
                f"input {name!r:.80}: expected {counted(math.prod(shape), 'value')} for shape {shape}, got {len(array)}"
            )
        return name, array.reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"input {name!r:.80}: {error}") from error


def _sizes(name: str, shape: Any) -> list[int]:
    if not isinstance(shape, list) or any(not isinstance(size, int) or isinstance(size, bool) for size in shape):
        raise InputError(f"input {name!r:.80}: expected a list of sizes as its shape, got {as_json(shape)}")
    return shape


def _column(data: Any, dtype: str) -> Array:
    """Values, perhaps nested, as a flat array. Raises TypeError, ValueError, OverflowError."""
    return array_of(data, dtype).reshape(-1)


def _data(array: Array, spec: TensorSpec, predictor: Predictor) -> msgspec.Raw:
    """Flat JSON values, written in pieces; a number that is not finite becomes null."""
    names = (*predictor.classes, "") if spec.dtype == "bytes" else None  # code -1: no known class
    parts = [msgspec.json.encode(_values(piece.tolist(), names))[1:-1] for piece in pieces_of(array)]
    return msgspec.Raw(b"[%b]" % b",".join(parts))


def _values(flat: list[Any], names: Sequence[str] | None) -> list[Any]:
    if names is not None:
        return [names[code] for code in flat]
    return [value if not isinstance(value, float) or math.isfinite(value) else None for value in flat]
