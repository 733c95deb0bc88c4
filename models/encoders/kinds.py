"""The kinds of encoders: random layers, an ONNX file, a user's function or torch module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.names import CPU
from thalweg.memory.started_folder import placed
from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.models.encoders.spec import RANDOM, EncoderSpec
from thalweg.proto.schema import Array, Inputs, TensorSpec

Rows = NDArray[np.float32]

_ONNX_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


Encode: TypeAlias = Callable[[Inputs], Array]
"""From inputs, each (N, …) in its own dtype, to features (N, F) of numbers; N is a multiple of 8, or 1."""


class Made(NamedTuple):
    """An encoder that was made."""

    encode: Encode
    notes: list[str]
    """What to tell of it, such as tensors that were left out."""
    is_users: bool
    """Whether it is a user's code, which may do anything."""


def find_kind(spec: EncoderSpec, inputs: Mapping[str, TensorSpec], seed: int, device: str = CPU) -> Made:
    """The function of an encoder, for inputs of these shapes without N.

    Raises:
        ParamsError: Its settings are invalid.
        DeviceFailed: The device is not there, or has no room for it.
    """
    kind, _, size = spec.name.partition(":")
    if kind in RANDOM:
        if size and not (size.isdigit() and int(size)):
            raise ParamsError({"encoder": f"expected {kind}:SIZE, a whole number above 0, got {spec.name!r}"})
        shape = _single_shape(spec.name, inputs)
        width = int(size or RANDOM[kind])
        return Made(
            _of_floats(
                _random_features(shape, width, seed)
                if kind == "random_features"
                else _random_filters(shape, width, seed, device)
            ),
            [],
            is_users=False,
        )
    if kind == "onnx":
        return Made(_onnx(size, list(inputs)), [], is_users=False)
    from thalweg.memory.devices.device import Device
    from thalweg.models.encoders.users import users_encoder

    return Made(*users_encoder(spec, inputs, Device.open(device)), is_users=True)


def _single_shape(name: str, inputs: Mapping[str, TensorSpec]) -> tuple[int, ...]:
    if len(inputs) != 1:
        raise ParamsError({"inputs": f"expected one input for encoder {name!r}, got {list(inputs)}"})
    (one,) = inputs.values()
    if one.dtype == "bytes":
        raise ParamsError({"inputs": f"expected numbers for encoder {name!r}, got texts in {one.name!r}"})
    return tuple(one.shape)


def _of_floats(encode: Callable[[Rows], Rows]) -> Encode:
    """Of the single input, as float32."""

    def of_floats(inputs: Inputs) -> Array:
        (x,) = inputs.values()
        return encode(np.ascontiguousarray(x, dtype=np.float32))

    return of_floats


def needs_torch(name: str) -> bool:
    """Whether the encoder of this name (`identity` and none included) computes with torch."""
    kind = name.partition(":")[0]
    return kind not in ("", "identity", "random_features", "onnx")


def encoder_device(spec: EncoderSpec, context: LearnerContext) -> str:
    """The device on which the encoder of a model computes: the model's if it computes with torch; a network of the
    user's own takes a spare GPU.
    """
    if not needs_torch(spec.name):
        return CPU
    return context.spare_gpu or context.device if spec.kind not in RANDOM else context.device


def _random_features(shape: tuple[int, ...], width: int, seed: int) -> Callable[[Rows], Rows]:
    """Random Fourier features (Rahimi and Recht, NeurIPS 2007), for inputs of about unit standard deviation."""
    generator = np.random.Generator(np.random.PCG64([seed, 0x726666]))
    inputs = int(np.prod(shape))
    directions = (generator.standard_normal((inputs, width)) / np.sqrt(inputs)).astype(np.float32)
    phases = generator.uniform(0, 2 * np.pi, width).astype(np.float32)

    def encode(x: Rows) -> Rows:
        with np.errstate(invalid="ignore", over="ignore"):  # NaN inputs give NaN features
            found: Rows = np.cos(x.reshape(len(x), -1) @ directions + phases)
        return found

    return encode


def _random_filters(shape: tuple[int, ...], width: int, seed: int, device: str) -> Callable[[Rows], Rows]:
    """Random 5 × 5 filters on images (C, H, W), rectified, averaged over a 4 × 4 grid; 16 features per filter."""
    if len(shape) != 3 or width % 16:
        what = f"shape {list(shape)}" if len(shape) != 3 else f"size {width}"
        raise ParamsError({"encoder": f"random_convolution takes [C, H, W] and a multiple of 16 features, got {what}"})
    from thalweg.memory.devices.device import Device
    from thalweg.models.parts.torch_setup import functional, torch

    there = Device.open(device)
    generator = np.random.Generator(np.random.PCG64([seed, 0x72636F]))
    filters = generator.standard_normal((width // 16, shape[0], 5, 5))
    filters -= filters.mean(axis=(1, 2, 3), keepdims=True)
    kernel = there.put((filters / np.sqrt(25 * shape[0])).astype(np.float32))
    offsets = there.put(generator.uniform(-0.1, 0.1, width // 16).astype(np.float32))

    def encode(x: Rows) -> Rows:
        with torch.no_grad():
            seen = functional.relu(functional.conv2d(there.put(x), kernel, offsets, padding=2))
            found: Rows = there.fetch(functional.adaptive_avg_pool2d(seen, 4).flatten(1))
        return found

    return encode


def _onnx(path: str, names: list[str]) -> Encode:
    """Its inputs by name if there are several, its first one if there is one; its first output."""
    try:
        import onnxruntime
    except ImportError:
        raise ParamsError({"encoder": "an ONNX file needs onnxruntime: pip install 'thalweg[onnx]'"}) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # bits must not depend on the number of cores
    try:
        session = onnxruntime.InferenceSession(str(placed(path)), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exception types, for a missing and a damaged file
        raise ParamsError({"encoder": f"{path} cannot be read as ONNX: {error}"}) from error
    types = {one.name: one.type for one in session.get_inputs()}
    if len(names) > 1 and set(names) - set(types):
        raise ParamsError({"encoder": f"expected {path} to take {', '.join(names)}, it takes {', '.join(types)}"})
    own = names if len(names) > 1 else [next(iter(types))]
    output_name = session.get_outputs()[0].name

    def encode(inputs: Inputs) -> Array:
        feed = {}
        for name, array in zip(own, inputs.values()):
            kind = _ONNX_TYPES.get(types[name])
            texts = types[name] == "tensor(string)"
            if texts:
                array = np.array([one.decode() for one in array.reshape(-1).tolist()], dtype=object).reshape(
                    array.shape
                )
            feed[name] = array if texts or kind is None else np.ascontiguousarray(array, dtype=kind)
        try:
            return np.asarray(session.run([output_name], feed)[0])
        except Exception as error:
            raise ValueError(str(error)) from error

    return encode
