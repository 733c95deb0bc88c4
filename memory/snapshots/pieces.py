"""Large arrays on disk in pieces, so that a snapshot writes only what changed.

A piece is a range of an array's bytes in its own file. A piece that did not change since the previous version is not
written again: the new version has a hard link to the same file. So every version is complete, can be copied and deleted
on its own, and a memory of which 1 % changed costs 1 %.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.memory.files import write_durably
from thalweg.memory.snapshots.state import DamagedFile, State
from thalweg.proto.schema import Array

LARGE_BYTES = 4 << 20
"""Arrays of this size or larger are saved in pieces."""
PIECE_BYTES = 1 << 20

Index = dict[str, list[Any]]
"""Array name → dtype, shape, number of pieces."""


def split(state: State) -> tuple[State, dict[str, Array]]:
    """The state without its large arrays, and these arrays."""
    large = {name: array for name, array in state.tensors.items() if array.nbytes >= LARGE_BYTES}
    if not large:
        return state, {}
    return State({name: array for name, array in state.tensors.items() if name not in large}, state.meta), large


def write_pieces(
    part: str, arrays: Mapping[str, Array], folder: Path, before: Path | None, known: Mapping[str, str]
) -> tuple[Index, dict[str, str]]:
    """Save arrays in pieces.

    Args:
        part: Part of the state, for the file names.
        arrays: By name.
        folder: The target folder.
        before: The folder of the previous version, if there is one.
        known: SHA-256 by file name of the previous version.

    Returns:
        What `read_pieces` needs, and SHA-256 by file name.

    Raises:
        OSError: The disk is full or the folder read-only.
    """
    index: Index = {}
    hashes: dict[str, str] = {}
    for name, array in arrays.items():
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        count = -(-len(flat) // PIECE_BYTES)
        index[name] = [array.dtype.str, list(array.shape), count]
        for number in range(count):
            piece = flat[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
            file = _name(part, name, number)
            hashes[file] = hashlib.sha256(piece.data).hexdigest()
            if before is not None and known.get(file) == hashes[file] and _linked(before / file, folder / file):
                continue
            write_durably(folder / file, piece.data)
    return index, hashes


def read_pieces(part: str, index: Index, folder: Path) -> dict[str, Array]:
    """The arrays, read-only. Raises DamagedFile when a piece is missing or too short."""
    found = {}
    for name, (dtype, shape, count) in index.items():
        array = np.empty(shape, dtype=np.dtype(dtype))
        flat = array.reshape(-1).view(np.uint8)
        for number in range(count):
            piece = flat[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
            path = folder / _name(part, name, number)
            try:
                with path.open("rb") as file:
                    got = file.readinto(piece.data)
            except FileNotFoundError as error:
                raise DamagedFile(f"{path}: missing") from error
            if got != len(piece):
                raise DamagedFile(f"{path}: expected {len(piece)} bytes, got {got}")
        array.flags.writeable = False
        found[name] = array
    return found


def _name(part: str, array: str, number: int) -> str:
    return f"{part}.{array}.{number:05}.piece"


def _linked(old: Path, new: Path) -> bool:
    """Whether the file could be hard-linked; file systems without hard links write it again."""
    try:
        os.link(old, new)
    except OSError:
        return False
    return True
