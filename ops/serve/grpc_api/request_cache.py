"""Parser of inference requests that caches the common beginning of a caller's requests.

A caller that repeats a request sends the same model, inputs and shapes with other values. Protobuf writes fields in
the order of their numbers, and raw contents have the highest: such requests begin with the same bytes and end in
their values. For a known beginning only the values are read; any other request is parsed in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from google.protobuf.message import DecodeError

from thalweg.ops.serve.bounds.input_bytes import LEAST_TEXT_BYTES, hold_inputs, hold_texts
from thalweg.ops.serve.by_key.keys import key_of
from thalweg.ops.serve.inference import USUAL_EXPLANATION, RequestOptions
from thalweg.ops.serve.known_names import check_parameters
from thalweg.ops.serve.versions import CURRENT, Freshness, version_number
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.schema import Array, InputError
from thalweg.proto.tensors import read_tensors

_MOST = 256  # maximum number of templates; then all are dropped
_LONGEST_BYTES = 1 << 20  # larger requests are parsed: their beginning is not what costs time


Parsed: TypeAlias = tuple[RequestOptions, dict[str, Array], bool]
"""A parsed request: its options, its inputs, and whether the values came in typed contents."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    before: bytes
    """The bytes between the previous tensor's values and these; for the first tensor, the beginning of the request."""
    start: int
    end: int


class RequestTemplates:
    """Parses requests. Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[RequestOptions, tuple[_Tensor, ...]]] = {}  # by length of the request

    def read(self, content: bytes) -> Parsed:
        """The options and inputs of a request.

        Raises:
            InputError: It is not a request, or its tensors do not match their description.
        """
        known = self._known.get(len(content))
        if known is not None:
            inputs = _values(known[1], content)
            if inputs is not None:
                return known[0], inputs, False
        try:
            request = pb.ModelInferRequest.FromString(content)
        except DecodeError as error:
            raise InputError(f"the request is not a ModelInferRequest: {error}") from error
        parsed = read(request)
        options, inputs, _ = parsed
        if not options.id and options.event_id is None and options.key is None and options.freshness is CURRENT:
            self._remember(content, request, options, inputs)  # nothing in it is specific to this one request
        return parsed

    def _remember(
        self, content: bytes, request: pb.ModelInferRequest, options: RequestOptions, inputs: dict[str, Array]
    ) -> None:
        raw = request.raw_input_contents
        if len(content) > _LONGEST_BYTES or any(array.dtype == object for array in inputs.values()):
            return  # strings: the position of the values differs between requests
        values = pb.ModelInferRequest(raw_input_contents=raw).SerializeToString()
        if not raw or not content.endswith(values):
            return
        tensors = []
        end, at = 0, len(content) - len(values)
        for (name, array), one in zip(inputs.items(), raw):
            at += len(pb.ModelInferRequest(raw_input_contents=[one]).SerializeToString())
            start = at - len(one)
            tensors.append(_Tensor(name, array.dtype, array.shape, content[end:start], start, at))
            end = at
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[len(content)] = options, tuple(tensors)


def _values(tensors: tuple[_Tensor, ...], content: bytes) -> dict[str, Array] | None:
    """The inputs of a request of this length; None if its beginning differs."""
    inputs: dict[str, Array] = {}
    seen = 0
    for tensor in tensors:
        if not content.startswith(tensor.before, seen):
            return None
        seen = tensor.end
        inputs[tensor.name] = np.ndarray(tensor.shape, tensor.dtype, content[tensor.start : seen])  # a copy is aligned
    return inputs


def read(request: pb.ModelInferRequest) -> Parsed:
    """The options and inputs of a request. Raises InputError."""
    parameters = request.parameters
    if parameters:
        check_parameters(parameters)
    options = RequestOptions(
        request.model_name,
        request.id,
        _freshness(request),
        tuple(output.name for output in request.outputs),
        event_id=_event_id(parameters["event_id"]) if "event_id" in parameters else None,
        explain=_explain(parameters["explain"]) if "explain" in parameters else 0,
        key=_key(parameters["key"]) if "key" in parameters else None,
    )
    return options, _held_tensors(request), not request.raw_input_contents


def _held_tensors(request: pb.ModelInferRequest) -> dict[str, Array]:
    """The inputs of a request; what they take is held. Raises InputError, TooLarge and QueueFull."""
    raw = request.raw_input_contents
    for place, tensor in enumerate(request.inputs):
        if tensor.datatype == "BYTES" and place < len(raw):
            hold_texts("BYTES", len(raw[place]) // LEAST_TEXT_BYTES)
    inputs = read_tensors(request.inputs, raw)
    hold_inputs(inputs)
    return inputs


def _freshness(request: pb.ModelInferRequest) -> Freshness:
    """The version that a request demands."""
    parameters: Mapping[str, pb.InferParameter] = request.parameters
    if request.model_version:
        return Freshness(as_of=version_number(request.model_version, "model_version"))
    if "as_of_version" in parameters:
        return Freshness(as_of=_number(parameters["as_of_version"], "as_of_version"))
    if "min_state_version" in parameters:
        return Freshness(at_least=_number(parameters["min_state_version"], "min_state_version"))
    return CURRENT


def _event_id(parameter: pb.InferParameter) -> str:
    choice = parameter.WhichOneof("parameter_choice")
    if choice == "string_param":
        return str(parameter.string_param)
    return str(_number(parameter, "event_id"))


def _key(parameter: pb.InferParameter) -> bytes:
    choice = parameter.WhichOneof("parameter_choice")
    return key_of(getattr(parameter, choice) if choice else None, "parameter 'key'")


def _explain(parameter: pb.InferParameter) -> int:
    if parameter.WhichOneof("parameter_choice") == "bool_param":
        return USUAL_EXPLANATION if parameter.bool_param else 0
    return _number(parameter, "explain")


def _number(parameter: pb.InferParameter, name: str) -> int:
    choice = parameter.WhichOneof("parameter_choice")
    if choice in ("int64_param", "uint64_param"):
        return int(getattr(parameter, choice))
    if choice == "string_param":
        return version_number(parameter.string_param, name)
    raise InputError(f"parameter {name!r}: expected a whole number, got {choice or 'nothing'}")
