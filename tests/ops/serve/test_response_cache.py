"""Responses put together from prepared parts are the messages they ought to be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.ops.serve.request_cache import Head
from thalweg.ops.serve.response_cache import ResponseTemplates
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.schema import InputError, TensorSpec
from thalweg.proto.tensors import to_raw, to_typed
from thalweg.stream.publication.file_channel import ServedVersion, VersionInfo


def version(number: int, classes: tuple[str, ...] = ("a", "süd")) -> ServedVersion:
    outputs = {"label": TensorSpec("label", "bytes", ()), "scores": TensorSpec("scores", "float32", (-1,))}
    predictor: Any = SimpleNamespace(outputs=outputs, classes=classes)
    return ServedVersion(predictor, VersionInfo(number, 10 * number, 0.0, 0.0, 0.0, 1))


def answer(rows: int, columns: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "label": random.integers(-1, columns, rows).astype(np.int32),
        "scores": random.normal(size=(rows, columns)).astype(np.float32),
    }


def expected(served: ServedVersion, outputs: dict[str, Any], head: Head, staleness: float) -> pb.ModelInferResponse:
    """Field by field."""
    info = served.info
    response = pb.ModelInferResponse(model_name="m", model_version=str(info.version), id=head.id)
    response.parameters["state_version"].int64_param = info.version
    response.parameters["learned_events"].int64_param = info.learned_events
    response.parameters["staleness_seconds"].double_param = staleness
    names = np.array([*(name.encode() for name in served.predictor.classes), b""], object)
    for name in head.wanted or ("label", "scores"):
        array = names[outputs[name]] if name == "label" else outputs[name]
        kind = "BYTES" if name == "label" else "FP32"
        tensor = response.outputs.add(name=name, datatype=kind, shape=outputs[name].shape)
        response.raw_output_contents.append(to_raw(array))
        if head.typed:
            to_typed(array, tensor.contents)
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
        ),
        max_size=12,
    )
)
def test_whatever_was_answered_before_a_response_says_what_it_must(asked: list[Any]) -> None:
    forms = ResponseTemplates("m")
    versions = {1: version(1), 2: version(2, ("x", "y", "z"))}
    for number, rows, id, wanted, typed, staleness in asked:
        served, head = versions[number], Head("m", id, wanted=wanted, typed=typed)
        outputs = answer(rows, len(served.predictor.classes), rows)

        content, count = forms.response(served, outputs, head, staleness)

        assert pb.ModelInferResponse.FromString(content) == expected(served, outputs, head, staleness)
        assert count == rows


def test_requests_of_ever_other_sizes_do_not_pile_up() -> None:
    forms, served = ResponseTemplates("m"), version(1)

    for rows in range(500):
        content, _ = forms.response(served, answer(rows, 2, 0), Head("m"), 0.0)
        assert pb.ModelInferResponse.FromString(content).outputs[0].shape == [rows]

    assert len(forms._newest._forms) <= 64  # type: ignore[union-attr]


def test_an_output_that_there_is_not_is_named() -> None:
    with pytest.raises(InputError, match="output 'lable': no such output; known: 'label', 'scores'"):
        ResponseTemplates("m").response(version(1), answer(1, 2, 0), Head("m", wanted=("lable",)), 0.0)
