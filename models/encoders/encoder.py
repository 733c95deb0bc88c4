"""Frozen encoders, whose features a learner takes as input: float32 (N, F), named `features`.

An encoder is in eval mode, without gradients, on one thread; it is part of a model's identity (`sha256`). An event
is encoded once, even if several models of a process use the same encoder.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import structlog

from thalweg.memory.devices.names import CPU
from thalweg.models.contract.learner import ParamsError
from thalweg.models.encoders.kinds import Rows, find_kind
from thalweg.models.encoders.probing import as_features, check_rows, probe, shown_inputs
from thalweg.models.encoders.spec import RANDOM, EncoderSpec, spec_of
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, InputError, Inputs, TensorSpec

log = structlog.get_logger(__name__)

FEATURES = "features"
_ROWS = 8  # full tiles: the bits of a row do not depend on the other rows
_AT_ONCE = 64
_FEW_ALONE = 3  # rows that are encoded by themselves rather than in a tile filled with copies
_GPU_TILE = 16
"""On a GPU the bits of a row depend on the number of rows, so it is always this."""
_CACHED_BYTES = 64 << 20  # of features kept per encoder


class EncoderFailed(RuntimeError):
    """A user's encoder raised, or gave something else than features; the message names it."""


class Encoder:
    """An encoder for inputs of given names, shapes and dtypes. Thread-safe.

    Args:
        encoder: Its specification; or its name: `random_features`, `random_convolution`, each also with `:SIZE`,
            `onnx:FILE`, or a user's: `module:name`, `timm:NAME`, `hf:FOLDER`.
        weights: Safetensors file for a torch module, if only the name is given.
        inputs: Its inputs; the random encoders take one.
        seed: Seed of the random encoders.
        device: Where a torch module computes.

    Raises:
        ParamsError: Keys `encoder`, `weights`, `encoder_arguments`, `inputs`.
        DeviceFailed: The device is not there, or has no room for it.
    """

    def __init__(
        self,
        encoder: EncoderSpec | str,
        weights: str,
        inputs: Mapping[str, TensorSpec],
        seed: int,
        device: str = CPU,
    ) -> None:
        spec = spec_of(encoder, weights)
        self.name = spec.name
        if any(length < 1 for one in inputs.values() for length in one.shape) or not inputs:
            raise ParamsError({"inputs": f"expected inputs of fixed shape for encoder {spec.name!r}"})
        self.inputs_taken = dict(inputs)
        """The inputs by name."""
        self._dtypes = {name: np.dtype(object if one.dtype == "bytes" else one.dtype) for name, one in inputs.items()}
        self._encode, self.notes, self._is_users = find_kind(spec, inputs, seed, device)
        self._by_itself, self._is_slow = False, spec.kind not in RANDOM
        self.computed_on = _described(device)
        """The kind of GPU and its software, on which the bits of features depend; empty on the processor."""
        self._tile, self._at_once = (_ROWS, _AT_ONCE) if device == CPU else (_GPU_TILE, _GPU_TILE)
        rows = probe(inputs, _ROWS)
        try:
            found = np.asarray(self._encode(rows))
        except ParamsError:
            raise
        except Exception as error:  # a user's code may raise anything
            what = "" if isinstance(error, (RuntimeError, ValueError)) else f"{type(error).__name__}: "
            text = f"{spec.name!r} cannot take inputs of {shown_inputs(inputs)}: {what}{error}"
            raise ParamsError({"encoder": text}) from error
        if found.ndim != 2 or len(found) != _ROWS or not found.shape[1]:
            text = f"expected features (N, F) from {spec.name!r}, for {_ROWS} rows ({_ROWS}, F), got {found.shape}"
            raise ParamsError({"encoder": text})
        self.specs = {FEATURES: TensorSpec(FEATURES, "float32", (int(found.shape[1]),))}
        """The learner's input, the features."""
        if self._is_users:
            tried = check_rows(spec.name, self._encode, inputs, _ROWS, found)
            self.notes, self._by_itself = [*self.notes, *tried.notes], tried.by_itself and device == CPU
        self.sha256 = spec.sha256(seed)
        self._cached: OrderedDict[bytes, Rows] = OrderedDict()
        self._lock = threading.Lock()

    def inputs(self, inputs: Inputs) -> Inputs:
        """The features of inputs.

        Raises:
            InputError: An input is missing, unknown, or of another shape or dtype.
            EncoderFailed: The encoder raised, or gave something else than features.
        """
        if self._is_slow:  # a request is validated, answered and explained
            return {FEATURES: self.cached_features(inputs)}
        return {FEATURES: self.features(*self._checked(inputs))}

    def batch(self, batch: Batch) -> Batch:
        """The batch with features as inputs; recently encoded rows are taken from a cache. Raises as `inputs`."""
        return replace(batch, inputs={FEATURES: self.cached_features(batch.inputs)})

    def features(self, inputs: Inputs, count: int) -> Rows:
        """The features (count, F) of valid inputs."""
        found = np.empty((count, self.specs[FEATURES].shape[0]), dtype=np.float32)
        for start, end in self._parts(count):
            filled = 0 if end - start == 1 and self._by_itself else -(end - start) % self._tile
            rows = np.minimum(np.arange(start, end + filled), end - 1)  # the last row fills the tile
            given = {name: array[rows] for name, array in inputs.items()}
            found[start:end] = self._encoded(given, len(rows))[: end - start]
        return found

    def _parts(self, count: int) -> Iterator[tuple[int, int]]:
        """First row and end of each call; the last few rows by themselves, if that gives the same bits."""
        alone = count % self._tile if self._by_itself and count % self._tile <= _FEW_ALONE else 0
        for start in range(0, count - alone, self._at_once):
            yield start, min(count - alone, start + self._at_once)
        for row in range(count - alone, count):
            yield row, row + 1

    def cached_features(self, inputs: Inputs) -> Rows:
        """The features (N, F) of inputs; those of recently encoded rows are taken from a cache. Raises as `inputs`."""
        checked, count = self._checked(inputs)
        # by content: the same id may have other inputs in another topic, or after the deduplication window
        keys = _content_keys(checked.values(), count)
        with self._lock:
            known = {key: self._cached[key] for key in keys if key in self._cached}
        missing = {key: row for row, key in enumerate(keys) if key not in known}
        rows = list(missing.values())
        fresh = self.features({name: array[rows] for name, array in checked.items()}, len(rows))
        known.update(zip(missing, fresh))
        found = np.empty((count, self.specs[FEATURES].shape[0]), dtype=np.float32)
        for row, key in enumerate(keys):
            found[row] = known[key]
        with self._lock:
            for key, features in zip(missing, fresh):
                self._cached[key] = features.copy()
            while len(self._cached) * fresh.shape[1] * fresh.itemsize > _CACHED_BYTES:
                self._cached.popitem(last=False)
        return found

    def _encoded(self, inputs: Inputs, count: int) -> Array:
        """What the encoder gives, float32. Raises EncoderFailed where it is a user's."""
        if not self._is_users:
            return self._encode(inputs)
        try:
            found = np.asarray(self._encode(inputs))
        except Exception as error:
            raise EncoderFailed(f"encoder {self.name!r} raised {type(error).__name__}: {error}") from error
        expected = (count, *self.specs[FEATURES].shape)
        if found.shape != expected:
            raise EncoderFailed(f"encoder {self.name!r}: expected features {expected}, got {found.shape}")
        return as_features(found)

    def _checked(self, inputs: Inputs) -> tuple[Inputs, int]:
        """The inputs in the encoder's order, and the number of rows."""
        if unknown := sorted(inputs.keys() - self.inputs_taken.keys()):
            raise InputError(f"input {unknown[0]!r}: unknown; expected {', '.join(map(repr, self.inputs_taken))}")
        found: dict[str, Array] = {}
        for name, spec in self.inputs_taken.items():
            array, dtype = inputs.get(name), self._dtypes[name]
            shape = f"({', '.join(['N', *map(str, spec.shape)])})"
            if array is None:
                raise InputError(f"input {name!r}: missing; expected {shape} {spec.dtype}")
            if array.ndim != len(spec.shape) + 1 or array.shape[1:] != tuple(spec.shape):
                raise InputError(f"input {name!r}: expected {shape}, got {array.shape}")
            if array.dtype != dtype:
                raise InputError(f"input {name!r}: expected {spec.dtype}, got {array.dtype}")
            found[name] = array
        counts = {name: len(array) for name, array in found.items()}
        if len(set(counts.values())) > 1:
            raise InputError(f"inputs differ in their number of rows: {counts}")
        return found, next(iter(counts.values()))


def _described(device: str) -> str:
    if device == CPU:
        return ""
    from thalweg.memory.devices.device import Device

    return Device.open(device).described()


def _content_keys(arrays: Iterable[Array], count: int) -> list[bytes]:
    """A hash of each row's content."""
    digests = [hashlib.blake2b(digest_size=16) for _ in range(count)]
    for array in arrays:
        for digest, row in zip(digests, array):
            for part in _parts(row) if array.dtype == object else (row.tobytes(),):
                digest.update(part)
    return [digest.digest() for digest in digests]


def _parts(row: Any) -> Sequence[bytes]:
    """The texts of a row, each with its length, so that no two rows have the same parts."""
    texts = row.reshape(-1).tolist() if isinstance(row, np.ndarray) else [row]
    if any(type(one) is not bytes for one in texts):
        raise InputError(
            f"expected UTF-8 bytes, got {type(next(one for one in texts if type(one) is not bytes)).__name__}"
        )
    return [part for one in texts for part in (len(one).to_bytes(8, "little"), one)]


_encoders: dict[tuple[Any, ...], Encoder] = {}
_making = threading.Lock()


def shared_encoder(
    encoder: EncoderSpec | str, weights: str, inputs: Mapping[str, TensorSpec], seed: int, device: str = CPU
) -> Encoder:
    """The encoder of these settings, one for the whole process. Raises ParamsError, DeviceFailed."""
    spec = spec_of(encoder, weights)
    shapes = tuple((key, one.dtype, tuple(one.shape), one.optional, one.ids) for key, one in inputs.items())
    with _making:
        key = (spec.name, spec.sha256(seed), shapes, device)
        if key not in _encoders:
            _encoders[key] = made = Encoder(spec, weights, inputs, seed, device)
            for note in made.notes:
                log.warning("an encoder does not fit in everything", encoder=spec.name, problem=note)
        return _encoders[key]
