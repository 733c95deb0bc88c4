"""Frozen encoders in front of a learner, which learns from their features: float32 (N, F), named `features`.

An encoder is in eval mode, without gradients, on one thread; it is part of a model's identity (`sha256`). An event is
encoded once, also when several models of a process use the same encoder.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Forgetting, Learner, ParamsError, Predictor
from thalweg.models.contract.registry import find
from thalweg.models.parts.input_columns import InputColumns
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec

IDENTITY = "identity"
_FEATURES = "features"
_ROWS = 8  # whole tiles: a row has the same bits whatever rows stand beside it
_AT_ONCE = 64
_CACHED_BYTES = 64 << 20  # of features kept per encoder
_RANDOM = {"random_features": 1024, "random_convolution": 2048}

Rows = NDArray[np.float32]


class Encode(Protocol):
    """From inputs (N, …) float32 to features (N, F) float32; N is a multiple of 8."""

    def __call__(self, x: Rows) -> Rows: ...


class Encoder:
    """One encoder for inputs of one shape; any number of threads may use it.

    Args:
        name: `random_features`, `random_convolution`, each also with `:SIZE`, `module:factory` of a torch module, or
            `onnx:FILE`, whose first input and output count.
        weights: Safetensors file for a torch module.
        inputs: The one input that it takes.
        seed: Of the random ones.

    Raises:
        ParamsError: Keys `encoder`, `weights`, `inputs`.
    """

    def __init__(self, name: str, weights: str, inputs: Mapping[str, TensorSpec], seed: int) -> None:
        if len(inputs) != 1:
            raise ParamsError({"inputs": f"expected one input for encoder {name!r}, got {list(inputs)}"})
        self.columns = InputColumns(inputs)
        (spec,) = inputs.values()
        self._shape = tuple(spec.shape)
        self._encode = _find(name, weights, self._shape, seed)
        try:
            probe = self._encode(np.zeros((_ROWS, *self._shape), dtype=np.float32))
        except (RuntimeError, ValueError, IndexError) as error:
            shape = list(self._shape)
            raise ParamsError({"encoder": f"{name!r} cannot take inputs of shape {shape}: {error}"}) from error
        if probe.ndim != 2 or len(probe) != _ROWS:
            raise ParamsError({"encoder": f"expected features (N, F) from {name!r}, got {list(probe.shape)}"})
        self.specs = {_FEATURES: TensorSpec(_FEATURES, "float32", (int(probe.shape[1]),))}
        """What the learner behind it takes."""
        self.sha256 = encoder_sha256(name, weights, seed)
        self._cached: OrderedDict[bytes, Rows] = OrderedDict()
        self._lock = threading.Lock()

    def inputs(self, inputs: Inputs) -> Inputs:
        """Features of inputs. Raises InputError where these do not fit."""
        rows = self.columns.gather(inputs)
        x = np.ascontiguousarray(rows, dtype=np.float32).reshape((len(rows), *self._shape))
        width = self.specs[_FEATURES].shape[0]
        found = np.empty((len(x), width), dtype=np.float32)
        for start in range(0, len(x), _AT_ONCE):
            part = x[start : start + _AT_ONCE]
            padded = np.concatenate([part, np.zeros((-len(part) % _ROWS, *self._shape), dtype=np.float32)])
            found[start : start + len(part)] = self._encode(padded)[: len(part)]
        return {_FEATURES: found}

    def batch(self, batch: Batch) -> Batch:
        """A batch with features for inputs; what was encoded lately is not encoded again."""
        inputs = self._remembered(batch.inputs)
        return Batch(inputs, batch.labels, batch.weights, batch.times, batch.ids, batch.keys, batch.places)

    def _remembered(self, inputs: Inputs) -> Inputs:
        rows = self.columns.gather(inputs)
        # by content: an id may stand for other inputs in another topic, or after the window of duplicates
        keys = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
        with self._lock:
            known = {key: self._cached[key] for key in keys if key in self._cached}
        missing = np.array([row for row, key in enumerate(keys) if key not in known], dtype=np.int64)
        fresh = self.inputs({name: column[missing] for name, column in inputs.items()})[_FEATURES]
        found = np.empty((len(keys), fresh.shape[1]), dtype=np.float32)
        found[missing] = fresh
        for row, key in enumerate(keys):
            if key in known:
                found[row] = known[key]
        with self._lock:
            for place, row in enumerate(missing.tolist()):
                self._cached[keys[row]] = fresh[place].copy()
            while len(self._cached) * fresh.shape[1] * fresh.itemsize > _CACHED_BYTES:
                self._cached.popitem(last=False)
        return {_FEATURES: found}


_encoders: dict[tuple[Any, ...], Encoder] = {}
_making = threading.Lock()


def shared_encoder(name: str, weights: str, inputs: Mapping[str, TensorSpec], seed: int) -> Encoder:
    """The encoder of these settings, one for the whole process. Raises ParamsError."""
    shapes = tuple((key, spec.dtype, tuple(spec.shape)) for key, spec in inputs.items())
    with _making:
        key = (name, encoder_sha256(name, weights, seed), shapes)
        if key not in _encoders:
            _encoders[key] = Encoder(name, weights, inputs, seed)
        return _encoders[key]


def encoder_sha256(name: str, weights: str, seed: int) -> str:
    """What makes an encoder what it is: its name, its weights, the seed of a random one."""
    if name == IDENTITY:
        return ""
    digest = hashlib.sha256(name.encode())
    digest.update(str(seed).encode() if name.partition(":")[0] in _RANDOM else b"")
    kind, _, path = name.partition(":")
    for key, file in (("weights", weights), ("encoder", path if kind == "onnx" else "")):
        try:
            digest.update(Path(file).read_bytes() if file else b"")
        except OSError as error:
            raise ParamsError({key: f"{file} cannot be read: {error.strerror}"}) from error
    return digest.hexdigest()


def make_learner(
    name: str, inputs: Mapping[str, TensorSpec], params: Mapping[str, Any], seed: int, encoder: str, weights: str = ""
) -> Learner:
    """A new learner, behind its encoder if it has one. Raises ParamsError, UnknownLearner."""
    factory = find(name)
    if encoder == IDENTITY:
        return factory(inputs=inputs, params=params, seed=seed)
    front = shared_encoder(encoder, weights, inputs, seed)
    return EncodedLearner(factory(inputs=front.specs, params=params, seed=seed), front)


class EncodedLearner:
    """A learner that sees features for inputs. Its state is that of the one behind the encoder."""

    def __init__(self, learner: Learner, encoder: Encoder) -> None:
        self._learner, self._encoder = learner, encoder
        self._wrapped: EncodedPredictor | None = None
        if isinstance(learner, Forgetting):  # an attribute only then: whoever asks sees what the learner can do
            self.raise_forgetting = learner.raise_forgetting

    @property
    def schema(self) -> Schema:
        inner = self._learner.schema
        return Schema(self._encoder.columns.specs, inner.label, inner.label_width)

    def learn(self, batch: Batch) -> None:
        self._learner.learn(self._encoder.batch(batch))

    def predictor(self) -> EncodedPredictor:
        inner = self._learner.predictor()
        if self._wrapped is None or self._wrapped.inner is not inner:
            self._wrapped = EncodedPredictor(inner, self._encoder)
        return self._wrapped

    def state(self) -> State:
        return self._learner.state()

    def restore(self, state: State) -> None:
        self._learner.restore(state)

    def gauges(self) -> Mapping[str, float]:
        return self._learner.gauges()


class EncodedPredictor:
    """A predictor that is asked with an encoder's inputs."""

    def __init__(self, inner: Predictor, encoder: Encoder) -> None:
        self.inner, self._encoder = inner, encoder

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._encoder.columns.specs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self.inner.outputs

    @property
    def classes(self) -> tuple[str, ...]:
        return self.inner.classes

    @property
    def properties(self) -> Mapping[str, str]:
        return {**self.inner.properties, "encoder_sha256": self._encoder.sha256}

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return self.inner.predict(self._encoder.inputs(inputs))

    def predict_events(self, batch: Batch) -> Mapping[str, Array]:
        """The answers to a batch; what is encoded here is not encoded again when it is learned."""
        return self.inner.predict(self._encoder.batch(batch).inputs)

    def with_history_of(self, newer: Predictor) -> EncodedPredictor:
        """Itself: it answers from inputs alone."""
        return self

    def state(self) -> State:
        return self.inner.state()


def _find(name: str, weights: str, shape: tuple[int, ...], seed: int) -> Encode:
    kind, _, size = name.partition(":")
    if kind in _RANDOM:
        if size and not (size.isdigit() and int(size)):
            raise ParamsError({"encoder": f"expected {kind}:SIZE, a whole number above 0, got {name!r}"})
        width = int(size or _RANDOM[kind])
        return (
            _random_features(shape, width, seed) if kind == "random_features" else _random_filters(shape, width, seed)
        )
    if kind == "onnx":
        return _onnx(size)
    return _torch_module(name, weights)


def _random_features(shape: tuple[int, ...], width: int, seed: int) -> Encode:
    """Random Fourier features (Rahimi and Recht, NeurIPS 2007), for inputs of about unit spread."""
    generator = np.random.Generator(np.random.PCG64([seed, 0x726666]))
    inputs = int(np.prod(shape))
    directions = (generator.standard_normal((inputs, width)) / np.sqrt(inputs)).astype(np.float32)
    phases = generator.uniform(0, 2 * np.pi, width).astype(np.float32)

    def encode(x: Rows) -> Rows:
        with np.errstate(invalid="ignore", over="ignore"):  # what is no number is none in the features, either
            found: Rows = np.cos(x.reshape(len(x), -1) @ directions + phases)
        return found

    return encode


def _random_filters(shape: tuple[int, ...], width: int, seed: int) -> Encode:
    """Random filters of 5 × 5 on pictures (C, H, W), rectified, averaged over a grid of 4 × 4; 16 features a filter."""
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
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # bits must not depend on the cores
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own kinds, of a missing and of a damaged file
        raise ParamsError({"encoder": f"{path} cannot be read as ONNX: {error}"}) from error
    given, told = session.get_inputs()[0].name, session.get_outputs()[0].name

    def encode(x: Rows) -> Rows:
        try:
            found: Rows = np.asarray(session.run([told], {given: x})[0], dtype=np.float32)
        except Exception as error:
            raise ValueError(str(error)) from error
        return found

    return encode


def _torch_module(name: str, weights: str) -> Encode:
    from thalweg.models.parts.torch_models import build
    from thalweg.models.parts.torch_setup import torch

    try:
        module = build(name, weights)
    except ParamsError as error:  # of an encoder the factory is the encoder itself
        raise ParamsError(
            {"encoder" if key == "model" else key: text for key, text in error.mistakes.items()}
        ) from error

    def encode(x: Rows) -> Rows:
        with torch.no_grad():
            found: Rows = module(torch.from_numpy(x)).float().numpy()
        return found

    return encode
