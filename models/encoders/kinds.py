"""The kinds of encoders: random layers, a user's torch module, an ONNX file."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import ParamsError

RANDOM = {"random_features": 1024, "random_convolution": 2048}
"""Random layers, and their default number of features."""
KINDS = (*RANDOM, "onnx")
"""All kinds but the torch modules, which have a user's name."""

Rows = NDArray[np.float32]

_NEAR = 0.8  # similarity of a misspelt kind; a module's name is usually farther from all of them


class Encode(Protocol):
    """From inputs (N, …) float32 to features (N, F) float32; N is a multiple of 8."""

    def __call__(self, x: Rows) -> Rows: ...


def find_kind(name: str, weights: str, shape: tuple[int, ...], seed: int) -> Encode:
    """The function of the encoder of this name, for inputs of this shape without N. Raises ParamsError."""
    kind, _, size = name.partition(":")
    if kind in RANDOM:
        if size and not (size.isdigit() and int(size)):
            raise ParamsError({"encoder": f"expected {kind}:SIZE, a whole number above 0, got {name!r}"})
        width = int(size or RANDOM[kind])
        return (
            _random_features(shape, width, seed) if kind == "random_features" else _random_filters(shape, width, seed)
        )
    if kind == "onnx":
        return _onnx(size)
    return _torch_module(name, weights)


def needs_torch(name: str) -> bool:
    """Whether the encoder of this name (`identity` and none included) computes with torch."""
    kind = name.partition(":")[0]
    return kind not in ("", "identity", "random_features", "onnx")


def _random_features(shape: tuple[int, ...], width: int, seed: int) -> Encode:
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


def _random_filters(shape: tuple[int, ...], width: int, seed: int) -> Encode:
    """Random 5 × 5 filters on images (C, H, W), rectified, averaged over a 4 × 4 grid; 16 features per filter."""
    if len(shape) != 3 or width % 16:
        what = f"shape {list(shape)}" if len(shape) != 3 else f"size {width}"
        raise ParamsError({"encoder": f"random_convolution takes [C, H, W] and a multiple of 16 features, got {what}"})
    from thalweg.models.parts.torch_setup import functional, torch

    generator = np.random.Generator(np.random.PCG64([seed, 0x72636F]))
    filters = generator.standard_normal((width // 16, shape[0], 5, 5))
    filters -= filters.mean(axis=(1, 2, 3), keepdims=True)
    kernel = torch.from_numpy((filters / np.sqrt(25 * shape[0])).astype(np.float32))
    offsets = torch.from_numpy(generator.uniform(-0.1, 0.1, width // 16).astype(np.float32))

    def encode(x: Rows) -> Rows:
        with torch.no_grad():
            seen = functional.relu(functional.conv2d(torch.from_numpy(x), kernel, offsets, padding=2))
            found: Rows = functional.adaptive_avg_pool2d(seen, 4).flatten(1).numpy()
        return found

    return encode


def _onnx(path: str) -> Encode:
    try:
        import onnxruntime
    except ImportError:
        raise ParamsError({"encoder": "an ONNX file needs onnxruntime: pip install 'thalweg[onnx]'"}) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # bits must not depend on the number of cores
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exception types, for a missing and a damaged file
        raise ParamsError({"encoder": f"{path} cannot be read as ONNX: {error}"}) from error
    input_name, output_name = session.get_inputs()[0].name, session.get_outputs()[0].name

    def encode(x: Rows) -> Rows:
        try:
            found: Rows = np.asarray(session.run([output_name], {input_name: x})[0], dtype=np.float32)
        except Exception as error:
            raise ValueError(str(error)) from error
        return found

    return encode


def _torch_module(name: str, weights: str) -> Encode:
    from thalweg.models.parts.torch_models import build
    from thalweg.models.parts.torch_setup import torch

    try:
        module = build(name, weights)
    except ParamsError as error:  # the factory is the encoder itself
        near = get_close_matches(name.partition(":")[0], ("identity", *KINDS), n=1, cutoff=_NEAR)
        hint = f"; did you mean {near[0]}?" if near else ""
        found = {"encoder" if key == "model" else key: text for key, text in error.mistakes.items()}
        raise ParamsError({key: text + hint if key == "encoder" else text for key, text in found.items()}) from error

    def encode(x: Rows) -> Rows:
        with torch.no_grad():
            found: Rows = module(torch.from_numpy(x)).float().numpy()
        return found

    return encode
