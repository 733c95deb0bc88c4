"""Open Inference Protocol tensors: there and back in every datatype, and refused by name when they do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thalweg.proto.inference_pb2 import ModelInferRequest
from thalweg.proto.schema import Array, InputError, TensorSpec
from thalweg.proto.tensors import (
    MAX_DIMENSIONS,
    MAX_ELEMENTS,
    check_inputs,
    datatype,
    from_raw,
    read_tensors,
    to_raw,
    to_typed,
)

DTYPES = ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16"]
DTYPES += ["float32", "float64"]
shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def request(*tensors: tuple[str, str, Sequence[int]], raw: Sequence[bytes] = ()) -> ModelInferRequest:
    message = ModelInferRequest(raw_input_contents=raw)
    for name, kind, shape in tensors:
        message.inputs.add(name=name, datatype=kind, shape=shape)
    return message


def read(message: ModelInferRequest) -> dict[str, Array]:
    return read_tensors(message.inputs, message.raw_input_contents)


@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_numbers_come_back_from_raw_contents_bit_for_bit(data: st.DataObject, dtype: str) -> None:
    array = data.draw(arrays.arrays(dtype, shapes))

    back = read(request(("a", datatype(dtype), array.shape), raw=[to_raw(array)]))["a"]

    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


@given(data=st.data(), dtype=st.sampled_from([name for name in DTYPES if name != "float16"]))
def test_numbers_come_back_from_typed_contents(data: st.DataObject, dtype: str) -> None:
    array = data.draw(arrays.arrays(dtype, shapes))
    message = request(("a", datatype(dtype), array.shape))
    to_typed(array, message.inputs[0].contents)

    back = read(ModelInferRequest.FromString(message.SerializeToString()))["a"]

    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@given(texts=st.lists(st.binary(max_size=6), max_size=6), raw=st.booleans())
def test_strings_come_back_whatever_bytes_they_hold(texts: list[bytes], raw: bool) -> None:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    message = request(("a", "BYTES", [len(texts)]), raw=[to_raw(array)] if raw else ())
    if not raw:
        to_typed(array, message.inputs[0].contents)

    assert read(message)["a"].tolist() == texts


def test_raw_numbers_are_not_copied() -> None:
    array = from_raw("a", "FP32", [2], bytes(8))

    assert not array.flags.owndata
    assert not array.flags.writeable


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (request(("a", "FP32", [2]), raw=[bytes(7)]), r"'a': expected 8 bytes for shape \[2\] of FP32, got 7"),
        (request(("a", "FP32", [2])), r"'a': expected 2 values in fp32_contents for shape \[2\], got 0"),
        (request(("a", "FP23", [1]), raw=[bytes(4)]), "'a': unknown datatype 'FP23'; known: BOOL"),
        (request(("a", "FP23", [1])), "'a': unknown datatype 'FP23'; known: BOOL"),
        (request(("a", "FP16", [1])), "'a': FP16 has no typed contents; send raw contents"),
        (request(("a", "FP32", [-1]), raw=[b""]), r"'a': expected no negative size in its shape, got \[-1\]"),
        (
            request(("a", "FP32", [-1, -1]), raw=[bytes(4)]),
            r"'a': expected no negative size in its shape, got \[-1, -1\]",
        ),
        (request(("a", "FP32", [MAX_ELEMENTS + 1]), raw=[b""]), "'a': shape .* larger than"),
        (request(("a", "FP32", [2**62, 0]), raw=[b""]), "'a': shape .* larger than"),
        (request(("a", "FP32", [2**63 - 1, 2**63 - 1, 0]), raw=[b""]), "'a': shape .* larger than"),
        (request(("a", "BYTES", [2**62, 0]), raw=[b""]), "'a': shape .* larger than"),
        (request(("a", "FP32", [1] * 33), raw=[bytes(4)]), "'a': expected a shape of at most 32 dimensions, got 33"),
        (request(("a", "BYTES", [1] * 65), raw=[bytes(4)]), "'a': expected a shape of at most 32 dimensions, got 65"),
        (request(("a", "FP32", [2**62] * 10_000), raw=[bytes(4)]), "'a': expected .* got 10000"),
        (request(("a", "FP32", [1]), ("a", "FP32", [1]), raw=[bytes(4)] * 2), "'a': given twice"),
        (request(("a", "FP32", [1]), raw=[bytes(4)] * 2), "expected one entry for each of 1 inputs, got 2"),
        (request(("a", "BYTES", [1]), raw=[b"\x05\x00\x00\x00abc"]), "'a': a string ends at byte 9, the raw .* at 7"),
        (request(("a", "BYTES", [1]), raw=[b"\x05\x00"]), "'a': a string ends"),
        (request(("a", "BYTES", [2]), raw=[bytes(4)]), r"'a': expected 2 strings for shape \[2\], got 1"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_by_name(message: ModelInferRequest, text: str) -> None:
    with pytest.raises(InputError, match=text):
        read(message)


def test_typed_contents_beside_raw_ones_are_refused() -> None:
    message = request(("a", "FP32", [1]), raw=[bytes(4)])
    message.inputs[0].contents.fp32_contents.append(1)

    with pytest.raises(InputError, match="'a': has both typed and raw contents; send one of them"):
        read(message)


def test_typed_integers_outside_of_their_datatype_are_refused() -> None:
    message = request(("a", "INT8", [2]))
    message.inputs[0].contents.int_contents.extend([1, 300])

    with pytest.raises(InputError, match="'a': expected INT8 values, got 1 to 300"):
        read(message)


@given(
    kind=st.sampled_from(["FP32", "BOOL", "BYTES", "INT64", "?"]),
    shape=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), max_size=MAX_DIMENSIONS + 2),
    content=st.binary(max_size=32) | st.none(),
)
def test_no_shape_and_no_content_raises_anything_but_input_errors(
    kind: str, shape: list[int], content: bytes | None
) -> None:
    message = request(("a", kind, shape), raw=[] if content is None else [content])

    with suppress(InputError):
        assert read(message)["a"].shape == tuple(shape)


def test_a_long_name_makes_no_long_message() -> None:
    with pytest.raises(InputError) as raised:
        read(request(("a" * 100_000, "FP32", [1]), raw=[b""]))

    assert len(str(raised.value)) < 300


SPECS = {
    "x": TensorSpec("x", "float32", (2,)),
    "t": TensorSpec("t", "float64", (-1,)),
    "s": TensorSpec("s", "bytes", ()),
}


def fitting() -> dict[str, Array]:
    return {"x": np.zeros((3, 2), np.float32), "t": np.zeros((3, 7)), "s": np.array([b""] * 3, dtype=object)}


def test_inputs_that_fit_are_counted() -> None:
    assert check_inputs(SPECS, fitting()) == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x": None}, "input 'x': missing; got 't', 's'"),
        ({"x": np.zeros((3, 2))}, "input 'x': expected FP32, got FP64"),
        ({"x": np.array([b""] * 3, dtype=object)}, "input 'x': expected FP32, got BYTES"),
        ({"x": np.zeros((3, 4), np.float32)}, r"input 'x': expected shape \(N, 2\), got \(3, 4\)"),
        ({"x": np.zeros((3, 4))}, r"input 'x': expected shape \(N, 2\), got \(3, 4\)"),
        ({"t": np.zeros(3)}, r"input 't': expected shape \(N, any\), got \(3,\)"),
        ({"t": np.zeros((2, 7))}, "input 't': expected 3 rows as in the input before, got 2"),
        ({"z": np.zeros(3)}, "input 'z': no such input; known: 'x', 't', 's'"),
    ],
)
def test_inputs_that_do_not_fit_the_schema_are_refused_by_name(change: dict[str, Array | None], text: str) -> None:
    inputs = {name: array for name, array in (fitting() | change).items() if array is not None}

    with pytest.raises(InputError, match=text):
        check_inputs(SPECS, inputs)
