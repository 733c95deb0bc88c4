"""Frozen encoders, whose features a learner takes as input: float32 (N, F), named `features`.

An encoder is in eval mode, without gradients, on one thread; it is part of a model's identity (`sha256`). An event
is encoded once, even if several models of a process use the same encoder.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.models.contract.learner import ParamsError
from thalweg.models.encoders.kinds import KINDS, RANDOM, Rows, find_kind
from thalweg.models.parts.input_columns import InputColumns
from thalweg.proto.event import Batch
from thalweg.proto.schema import Inputs, TensorSpec

IDENTITY = "identity"
_FEATURES = "features"
_ROWS = 8  # full tiles: the bits of a row do not depend on the other rows
_AT_ONCE = 64
_CACHED_BYTES = 64 << 20  # of features kept per encoder


class Encoder:
    """An encoder for inputs of one shape. Thread-safe.

    Args:
        name: `random_features`, `random_convolution`, each also with `:SIZE`, `module:factory` of a torch module, or
            `onnx:FILE`, whose first input and output are used.
        weights: Safetensors file for a torch module.
        inputs: Its single input.
        seed: Seed of the random encoders.

    Raises:
        ParamsError: Keys `encoder`, `weights`, `inputs`.
    """

    def __init__(self, name: str, weights: str, inputs: Mapping[str, TensorSpec], seed: int) -> None:
        if len(inputs) != 1:
            raise ParamsError({"inputs": f"expected one input for encoder {name!r}, got {list(inputs)}"})
        self.columns = InputColumns(inputs)
        (spec,) = inputs.values()
        self._shape = tuple(spec.shape)
        self._encode = find_kind(name, weights, self._shape, seed)
        try:
            probe = self._encode(np.zeros((_ROWS, *self._shape), dtype=np.float32))
        except (RuntimeError, ValueError, IndexError) as error:
            shape = list(self._shape)
            raise ParamsError({"encoder": f"{name!r} cannot take inputs of shape {shape}: {error}"}) from error
        if probe.ndim != 2 or len(probe) != _ROWS:
            raise ParamsError({"encoder": f"expected features (N, F) from {name!r}, got {list(probe.shape)}"})
        self.specs = {_FEATURES: TensorSpec(_FEATURES, "float32", (int(probe.shape[1]),))}
        """The learner's input, the features."""
        self.sha256 = encoder_sha256(name, weights, seed)
        self._cached: OrderedDict[bytes, Rows] = OrderedDict()
        self._lock = threading.Lock()

    def inputs(self, inputs: Inputs) -> Inputs:
        """The features of inputs. Raises InputError if they are invalid."""
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
        """The batch with features as inputs; recently encoded rows are taken from a cache."""
        return replace(batch, inputs=self._remembered(batch.inputs))

    def _remembered(self, inputs: Inputs) -> Inputs:
        rows = self.columns.gather(inputs)
        # by content: the same id may have other inputs in another topic, or after the deduplication window
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


def takes_weights(name: str) -> bool:
    """Whether an encoder takes a file of weights: only a torch module does."""
    return name.partition(":")[0] not in (IDENTITY, *KINDS)


def encoder_sha256(name: str, weights: str, seed: int) -> str:
    """Hash of an encoder's identity: its name, its weights, the seed of a random one."""
    if name == IDENTITY:
        return ""
    digest = hashlib.sha256(name.encode())
    digest.update(str(seed).encode() if name.partition(":")[0] in RANDOM else b"")
    kind, _, path = name.partition(":")
    for key, file in (("weights", weights), ("encoder", path if kind == "onnx" else "")):
        try:
            digest.update(Path(file).read_bytes() if file else b"")
        except OSError as error:
            raise ParamsError({key: f"{file} cannot be read: {error.strerror}"}) from error
    return digest.hexdigest()
