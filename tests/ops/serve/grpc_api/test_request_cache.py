"""Requests whose beginning was seen before are read as those that were not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.ops.serve.grpc_api.request_cache import Parsed, RequestTemplates, read
from thalweg.ops.serve.versions import CURRENT, Freshness
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.schema import InputError
from thalweg.proto.tensors import to_raw

DTYPES = {"FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_, "BYTES": object}


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Few enough kinds that some begin alike and some are of equal length."""
    request = pb.ModelInferRequest(
        model_name=draw(st.sampled_from(["m", "n"])), id=draw(st.sampled_from(["", "", "7"]))
    )
    for name in draw(st.sampled_from([["a"], ["b"], ["a", "b"], []])):
        kind = draw(st.sampled_from(list(DTYPES)))
        shape = draw(st.sampled_from([(1,), (2, 2), (4,), (0, 3), (40,)]))
        request.inputs.add(name=name, datatype=kind, shape=shape)
        values = np.array(draw(st.lists(st.integers(0, 1), min_size=40, max_size=40)))[: int(np.prod(shape))]
        array = np.array([b"x" * v for v in values], object) if kind == "BYTES" else values.astype(DTYPES[kind])
        request.raw_input_contents.append(to_raw(array))
    if draw(st.booleans()):
        request.outputs.add(name=draw(st.sampled_from(["label", "scores"])))
    if draw(st.integers(0, 4)) == 0:
        request.parameters["min_state_version"].int64_param = draw(st.integers(0, 3))
    return request.SerializeToString()


def plain(parsed: Parsed) -> tuple[Any, ...]:
    options, inputs, typed = parsed
    return options, {name: (array.dtype, array.shape, array.tolist()) for name, array in inputs.items()}, typed


@given(st.lists(requests(), min_size=1, max_size=30))
def test_whatever_was_read_before_a_request_is_read_as_if_it_were_the_first(contents: list[bytes]) -> None:
    templates = RequestTemplates()

    for content in contents + contents:
        assert plain(templates.read(content)) == plain(read(pb.ModelInferRequest.FromString(content)))


def asked(values: np.ndarray[Any, Any]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=values.shape)
    request.raw_input_contents.append(values.astype("<f4").tobytes())
    return request


def test_a_request_that_begins_like_one_before_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    templates = RequestTemplates()
    first, second = (asked(np.full((1, 3), value)).SerializeToString() for value in (1, 2))
    templates.read(first)
    monkeypatch.setattr("thalweg.ops.serve.grpc_api.request_cache.read", lambda request: pytest.fail("it was parsed"))

    options, inputs, typed = templates.read(second)

    assert (options.model, options.freshness, typed) == ("m", CURRENT, False)
    assert inputs["x"].tolist() == [[2, 2, 2]]
    assert inputs["x"].flags.aligned


def test_fields_after_the_values_are_not_taken_for_values() -> None:
    content = asked(np.zeros((1, 8))).SerializeToString()
    named = content + pb.ModelInferRequest(id="late").SerializeToString()
    templates = RequestTemplates()

    for _ in range(2):
        options, inputs, _ = templates.read(named)
        assert options.id == "late"
        assert inputs["x"].tolist() == [[0] * 8]


def test_templates_that_are_never_seen_again_do_not_pile_up() -> None:
    templates = RequestTemplates()

    for size in range(1000):
        templates.read(asked(np.zeros((1, size))).SerializeToString())

    assert len(templates._known) <= 256


@pytest.mark.parametrize("content", [b"\xff", b"\x0a\x05ab", bytes(100)])
def test_what_is_no_request_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="not a ModelInferRequest"):
        RequestTemplates().read(content)


@pytest.mark.parametrize(
    ("name", "parameter", "wanted"),
    [
        ("as_of_version", pb.InferParameter(int64_param=3), Freshness(as_of=3)),
        ("min_state_version", pb.InferParameter(string_param="4"), Freshness(at_least=4)),
        ("min_state_version", pb.InferParameter(uint64_param=5), Freshness(at_least=5)),
        ("sequence_id", pb.InferParameter(int64_param=5), CURRENT),
    ],
)
def test_the_version_that_is_wanted_may_come_in_any_whole_number(
    name: str, parameter: pb.InferParameter, wanted: Freshness
) -> None:
    request = asked(np.zeros((1, 1)))
    request.parameters[name].CopyFrom(parameter)

    assert read(request)[0].freshness == wanted


@pytest.mark.parametrize("text", ["latest", "-1", "1.5", "٣", "9" * 30])
def test_a_version_that_is_no_number_is_refused(text: str) -> None:
    request = asked(np.zeros((1, 1)))
    request.model_version = text

    with pytest.raises(InputError, match="expected the version of a snapshot"):
        read(request)
