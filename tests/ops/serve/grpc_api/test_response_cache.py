"""Responses put together from prepared parts are the messages they ought to be."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.ops.serve.grpc_api.response_cache import ResponseTemplates
from thalweg.ops.serve.inference import InferenceResponse, RequestOptions
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.schema import TensorSpec
from thalweg.proto.task import CLASSIFICATION
from thalweg.proto.tensors import to_raw, to_typed
from thalweg.stream.publication.ports import ServedVersion, VersionInfo


def version(number: int, classes: tuple[str, ...] = ("a", "süd")) -> ServedVersion:
    outputs = {"label": TensorSpec("label", "bytes", ()), "scores": TensorSpec("scores", "float32", (-1,))}
    predictor: Any = SimpleNamespace(outputs=outputs, classes=classes, task=CLASSIFICATION)
    return ServedVersion(predictor, VersionInfo(number, 10 * number, 0.0, 0.0, 0.0, 1))


def answer(rows: int, columns: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "label": random.integers(-1, columns, rows).astype(np.int32),
        "scores": random.normal(size=(rows, columns)).astype(np.float32),
    }


def expected(answered: InferenceResponse, typed: bool) -> pb.ModelInferResponse:
    """Field by field."""
    served, outputs, options = answered.served, answered.outputs, answered.options
    info = served.info
    response = pb.ModelInferResponse(model_name="m", model_version=str(info.version), id=options.id)
    response.parameters["state_version"].int64_param = info.version
    response.parameters["learned_events"].int64_param = info.learned_events
    response.parameters["staleness_seconds"].double_param = answered.staleness_seconds
    names = np.array([*(name.encode() for name in served.predictor.classes), b""], object)
    for name in options.outputs or ("label", "scores"):
        array = names[outputs[name]] if name == "label" else outputs[name]
        kind = "BYTES" if name == "label" else "FP32"
        tensor = response.outputs.add(name=name, datatype=kind, shape=outputs[name].shape)
        response.raw_output_contents.append(to_raw(array))
        if typed:
            to_typed(array, tensor.contents)
    if answered.explanation is not None:
        response.parameters["explanation"].string_param = json.dumps(answered.explanation)
    if answered.no_label:
        response.parameters["no_label"].string_param = answered.no_label
    return response


@given(
    st.lists(
        st.tuples(
            st.integers(1, 2),  # version
            st.integers(0, 3),  # rows
            st.sampled_from(["", "7"]),
            st.sampled_from([(), ("scores",), ("scores", "label")]),
            st.booleans(),
            st.floats(allow_nan=False),
            st.sampled_from([None, [], [[{"süd": 1}]]]),
        ),
        max_size=12,
    )
)
def test_whatever_was_answered_before_a_response_says_what_it_must(asked: list[Any]) -> None:
    templates = ResponseTemplates("m")
    versions = {1: version(1), 2: version(2, ("x", "y", "z"))}
    for number, rows, id, wanted, typed, staleness, explanation in asked:
        served, options = versions[number], RequestOptions("m", id, outputs=wanted)
        outputs = answer(rows, len(served.predictor.classes), rows)
        answered = InferenceResponse(options, served, outputs, staleness, explanation)

        content, count = templates.encode(answered, typed=typed)

        assert pb.ModelInferResponse.FromString(content) == expected(answered, typed)
        assert count == rows == answered.rows


@pytest.mark.parametrize("typed", [False, True])
def test_numbers_of_another_precision_are_told_in_the_declared_one(typed: bool) -> None:
    served, usual = version(1), answer(2, 2, 0)
    other = {"label": usual["label"].astype(np.int64), "scores": usual["scores"].astype(np.float64)}

    content, _ = ResponseTemplates("m").encode(InferenceResponse(RequestOptions("m"), served, other, 0.0), typed=typed)

    wanted = expected(InferenceResponse(RequestOptions("m"), served, usual, 0.0), typed)
    assert pb.ModelInferResponse.FromString(content) == wanted


def test_requests_of_ever_other_sizes_do_not_pile_up() -> None:
    templates, served = ResponseTemplates("m"), version(1)

    for rows in range(500):
        answered = InferenceResponse(RequestOptions("m"), served, answer(rows, 2, 0), 0.0)
        content, _ = templates.encode(answered)
        assert pb.ModelInferResponse.FromString(content).outputs[0].shape == [rows]

    assert len(templates._newest._templates) <= 64  # type: ignore[union-attr]
