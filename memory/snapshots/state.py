"""Named arrays on disk: safetensors, never pickle. Snapshots and published versions use this format.

Files are written under a temporary name, flushed to disk, and renamed: a reader sees the old or the new one,
never a partial one. Reading maps the file without copying; a mapped file stays readable after it is unlinked.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c
from safetensors import SafetensorError
from safetensors.numpy import save_file

from thalweg.memory.files import flush_file, sync_folder
from thalweg.proto.schema import Array

_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
_CHECKSUM = "crc32c"
_NAMES = {dtype.str: name for name, dtype in _DTYPES.items()}


class DamagedFile(Exception):
    """A state file is truncated, altered or of another format; the message names the file and the problem."""


@dataclass(frozen=True, slots=True)
class State:
    """Named arrays and a small JSON-able record; the content of snapshots and published versions."""

    tensors: Mapping[str, Array]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def sha256(self) -> str:
        """Hash over names, dtypes, shapes, bytes and meta: equal exactly when the states are equal."""
        digest = hashlib.sha256(_canonical(self.meta))
        for name in sorted(self.tensors):
            tensor = np.ascontiguousarray(self.tensors[name])
            digest.update(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode())
            digest.update(tensor.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


def write_state(state: State, path: Path, *, durable: bool = True) -> None:
    """Write a state to a file under its final name, atomically.

    Args:
        state: Arrays of a dtype that safetensors supports; meta that JSON supports.
        path: The final name; its folder exists.
        durable: Flush to disk before the rename. False for memory-backed folders.

    Raises:
        OSError: The disk is full, the folder is missing or read-only; no partial file is left.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    tensors = {name: np.ascontiguousarray(array) for name, array in state.tensors.items()}
    for name, tensor in tensors.items():
        if tensor.dtype.str.replace("=", "<") not in _NAMES:
            raise TypeError(f"state tensor {name!r}: dtype {tensor.dtype} cannot be stored; known: {sorted(_NAMES)}")
    try:
        try:
            meta = _canonical(state.meta).decode()
            save_file(tensors, beside, {"meta": meta, _CHECKSUM: _checksum(tensors, meta)})
        except SafetensorError as error:  # how the library wraps a full disk or a read-only folder
            raise OSError(f"{beside}: {error}") from error
        if durable:
            flush_file(beside)
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def read_state(path: Path) -> State:
    """Map a state file: arrays are read-only views of the file, whose checksum is right.

    Files of older versions have none.

    Raises:
        DamagedFile: It is not a complete state file.
        FileNotFoundError: There is none.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a server opens hundreds a second, beside its callers
    try:
        size = os.fstat(handle).st_size
        if size < 8:
            raise DamagedFile(f"{path}: {size} bytes is too short for a state file")
        mapped = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(handle)
    header_end = 8 + int.from_bytes(mapped[:8], "little")
    if header_end > size:
        raise DamagedFile(f"{path}: header ends at byte {header_end}, the file at {size}")
    try:
        header = json.loads(mapped[8:header_end])
        extra = header.pop("__metadata__", {})
        tensors = {name: _view(mapped, header_end, entry) for name, entry in header.items()}
        text = extra.get("meta", "{}")
        state = State(tensors, json.loads(text))
        expected, got = extra.get(_CHECKSUM), _checksum(tensors, text)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise DamagedFile(f"{path}: {error}") from error
    if expected not in (None, got):
        raise DamagedFile(f"{path}: CRC-32C expected {expected}, got {got}")
    return state


def _view(mapped: mmap.mmap, header_end: int, entry: Mapping[str, Any]) -> Array:
    dtype = _DTYPES[entry["dtype"]]
    start, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    count = math.prod(shape)
    if start < 0 or end - start != count * dtype.itemsize:
        raise ValueError(f"{end - start} bytes for shape {shape} of {dtype}")
    return np.frombuffer(mapped, dtype, count, header_end + start).reshape(shape)


def _checksum(tensors: Mapping[str, Array], meta: str) -> str:
    """Over names, dtypes, shapes, bytes and meta, at several gigabytes a second; against damage only."""
    check = crc32c(meta.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        check = crc32c(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode(), check)
        check = crc32c(tensor.data, check)
    return f"{check:08x}"


def _canonical(meta: Mapping[str, Any]) -> bytes:
    return json.dumps(meta, sort_keys=True, separators=(",", ":")).encode()


def under(prefix: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors whose names begin so, without the prefix."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
