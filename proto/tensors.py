"""Open Inference Protocol tensors to NumPy arrays and back.

Raw contents are little-endian values in row-major order and are not copied; each string (BYTES) has a 4-byte length
prefix. Every error names the tensor, what was expected and what came.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.proto.bounds.counted import counted
from thalweg.proto.schema import Array, InputError, TensorSpec

if TYPE_CHECKING:
    from thalweg.proto.inference_pb2 import InferTensorContents, ModelInferRequest

    InputTensor = ModelInferRequest.InferInputTensor

MAX_ELEMENTS = 1 << 28
"""Tensors with more elements are rejected before anything is allocated."""

MAX_DIMENSIONS = 32
"""Shapes with more dimensions are rejected; NumPy's limit is 64."""

_AT_ONCE = 4096  # values that are Python's objects
_LENGTH = struct.Struct("<I").unpack_from
_NAMES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bytes": "BYTES",
}
_BY_KIND = {name: dtype for dtype, name in _NAMES.items()}
_DTYPES = {name: np.dtype(dtype).newbyteorder("<") for dtype, name in _NAMES.items() if dtype != "bytes"}

_TYPED: Mapping[str, tuple[str, Callable[[InferTensorContents], Any]]] = {
    "BOOL": ("bool_contents", lambda c: c.bool_contents),
    "INT8": ("int_contents", lambda c: c.int_contents),
    "INT16": ("int_contents", lambda c: c.int_contents),
    "INT32": ("int_contents", lambda c: c.int_contents),
    "INT64": ("int64_contents", lambda c: c.int64_contents),
    "UINT8": ("uint_contents", lambda c: c.uint_contents),
    "UINT16": ("uint_contents", lambda c: c.uint_contents),
    "UINT32": ("uint_contents", lambda c: c.uint_contents),
    "UINT64": ("uint64_contents", lambda c: c.uint64_contents),
    "FP32": ("fp32_contents", lambda c: c.fp32_contents),
    "FP64": ("fp64_contents", lambda c: c.fp64_contents),
    "BYTES": ("bytes_contents", lambda c: c.bytes_contents),
}


def datatype(dtype: str) -> str:
    """The protocol's name of a NumPy dtype name (or `bytes`), such as `FP32` for `float32`."""
    return _NAMES[dtype]


def raw_dtype(kind: str) -> np.dtype[Any] | None:
    """The dtype of raw contents of one of the protocol's datatypes; None for BYTES and unknown ones."""
    return _DTYPES.get(kind)


def numpy_name(kind: Any, name: str) -> str:
    """The NumPy dtype name (or `bytes`) of one of the protocol's datatypes. Raises InputError that names the input."""
    if not isinstance(kind, str) or kind not in _BY_KIND:
        raise InputError(f"input {name!r:.80}: unknown datatype {kind!r:.80}; known: {', '.join(sorted(_BY_KIND))}")
    return _BY_KIND[kind]


def read_tensors(tensors: Sequence[InputTensor], raw: Sequence[bytes]) -> dict[str, Array]:
    """Arrays by name from the input tensors of a request or event.

    Args:
        tensors: Names, datatypes and shapes; and values, unless they are in `raw`.
        raw: Raw values, one entry per tensor in order; or none at all.

    Raises:
        InputError: A tensor does not fit; the message names it.
    """
    if raw and len(raw) != len(tensors):
        raise InputError(f"raw contents: expected one entry for each of {len(tensors)} inputs, got {len(raw)}")
    arrays: dict[str, Array] = {}
    for place, tensor in enumerate(tensors):
        name = tensor.name
        if name in arrays:
            raise InputError(f"input {name!r:.80}: given twice")
        if raw:
            if tensor.HasField("contents"):
                raise InputError(f"input {name!r:.80}: has both typed and raw contents; send one of them")
            arrays[name] = from_raw(name, tensor.datatype, tensor.shape, raw[place])
        else:
            arrays[name] = _from_typed(tensor)
    return arrays


def from_raw(name: str, kind: str, shape: Sequence[int], content: bytes) -> Array:
    """The array of one tensor's raw content; a read-only view of it, except for strings."""
    if kind == "BYTES":
        return _strings(name, shape, content)
    dtype = _DTYPES.get(kind)
    if dtype is None:
        raise InputError(f"input {name!r:.80}: unknown datatype {kind!r:.80}; known: {', '.join(sorted(_TYPED))}")
    count = _elements(name, shape)
    if len(content) != count * dtype.itemsize:
        raise InputError(
            f"input {name!r:.80}: expected {count * dtype.itemsize} bytes for shape {list(shape)} of {kind}, "
            f"got {len(content)}"
        )
    return np.frombuffer(content, dtype).reshape(tuple(shape))


def to_raw(array: Array) -> bytes:
    """Raw content of an array; strings (dtype object, of bytes) are length-prefixed."""
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(text)) + text for text in array.reshape(-1))
    return array.tobytes()


def to_typed(array: Array, contents: InferTensorContents) -> None:
    """Put an array into typed contents."""
    kind = "BYTES" if array.dtype == object else datatype(array.dtype.name)
    _TYPED[kind][1](contents).extend(array.reshape(-1).tolist())


def _from_typed(tensor: InputTensor) -> Array:
    name, kind = tensor.name, tensor.datatype
    typed = _TYPED.get(kind)
    if typed is None:
        if kind in _DTYPES:
            raise InputError(f"input {name!r:.80}: {kind} has no typed contents; send raw contents")
        raise InputError(f"input {name!r:.80}: unknown datatype {kind!r:.80}; known: {', '.join(sorted(_TYPED))}")
    count = _elements(name, tensor.shape)
    values = typed[1](tensor.contents)
    if len(values) != count:
        raise InputError(
            f"input {name!r:.80}: expected {counted(count, 'value')} in {typed[0]} for shape {list(tensor.shape)}, "
            f"got {len(values)}"
        )
    if kind == "BYTES":
        return _objects(list(values), tensor.shape)
    dtype = _DTYPES[kind]
    wide = np.int64 if dtype.kind in "iu" and dtype.itemsize < 8 else dtype
    array = np.empty(count, wide)
    for start in range(0, count, _AT_ONCE):  # in pieces: as Python's objects they take eight times as much
        array[start : start + _AT_ONCE] = values[start : start + _AT_ONCE]
    if array.dtype != dtype:
        limits = np.iinfo(dtype)
        if count and (array.min() < limits.min or array.max() > limits.max):
            raise InputError(f"input {name!r:.80}: expected {kind} values, got {array.min()} to {array.max()}")
        array = array.astype(dtype)
    return array.reshape(tuple(tensor.shape))


def _elements(name: str, shape: Sequence[int]) -> int:
    if len(shape) > MAX_DIMENSIONS:
        raise InputError(
            f"input {name!r:.80}: expected a shape of at most {MAX_DIMENSIONS} dimensions, got {len(shape)}"
        )
    count = prod(shape)
    # a size of 0 must not hide the others: NumPy multiplies them, too
    if min(shape, default=0) < 0:
        raise InputError(f"input {name!r:.80}: expected no negative size in its shape, got {list(shape)}")
    if (count or prod(size or 1 for size in shape)) > MAX_ELEMENTS:
        raise InputError(f"input {name!r:.80}: shape {list(shape)} is larger than {MAX_ELEMENTS} elements")
    return count


def _strings(name: str, shape: Sequence[int], content: bytes) -> Array:
    texts: list[bytes] = []
    count, size, at = _elements(name, shape), len(content), 0
    try:
        while at < size and len(texts) <= count:
            start = at + 4
            end = start + _LENGTH(content, at)[0]
            texts.append(content[start:end])
            at = end
    except struct.error:  # not even its length is there
        at += 4 + int.from_bytes(content[at:], "little")
    if at > size:
        raise InputError(f"input {name!r:.80}: a string ends at byte {at}, the raw content at {size}")
    if len(texts) != count:
        got = f"more than {count}" if len(texts) > count else len(texts)
        raise InputError(f"input {name!r:.80}: expected {count} strings for shape {list(shape)}, got {got}")
    return _objects(texts, shape)


def _objects(values: Sequence[bytes], shape: Sequence[int]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(tuple(shape))


def check_inputs(specs: Mapping[str, TensorSpec], inputs: Mapping[str, Array]) -> int:
    """Validate named arrays (N, ...) against the specs; returns N.

    Raises:
        InputError: One is missing, unknown, of another dtype or shape, or their N differ.
    """
    rows = -1
    for name, spec in specs.items():
        array = inputs.get(name)
        if array is None:
            raise InputError(f"input {name!r:.80}: missing; got {', '.join(map(repr, inputs))[:200] or 'no inputs'}")
        shape, texts = array.shape, spec.dtype == "bytes"
        of_dtype = f"input {name!r:.80}: expected {datatype(spec.dtype)}, got {_NAMES.get(array.dtype.name, 'BYTES')}"
        if texts != (array.dtype == object):
            raise InputError(of_dtype)
        if len(shape) != len(spec.shape) + 1 or any(want not in (-1, got) for want, got in zip(spec.shape, shape[1:])):
            wanted = ", ".join(["N", *("any" if size == -1 else str(size) for size in spec.shape)])
            raise InputError(f"input {name!r:.80}: expected shape ({wanted}), got {shape}")
        if not texts and array.dtype != spec.dtype:  # after the shape: where that is right, other numbers are converted
            raise InputError(of_dtype)
        if rows not in (-1, shape[0]):
            raise InputError(
                f"input {name!r:.80}: expected {counted(rows, 'row')} as in the input before, got {shape[0]}"
            )
        rows = shape[0]
    if len(inputs) > len(specs):
        unknown = next(name for name in inputs if name not in specs)
        raise InputError(f"input {unknown!r:.80}: no such input; known: {', '.join(map(repr, specs))}")
    return rows
