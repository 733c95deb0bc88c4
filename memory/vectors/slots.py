"""Slots of entries in columns, in plain memory or in a mapped file that several processes read."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from thalweg.memory.files import reserve
from thalweg.proto.schema import Array

Seqs: TypeAlias = NDArray[np.int64]
"""Numbers of entries."""
Columns: TypeAlias = Mapping[str, tuple[DTypeLike, tuple[int, ...]]]
"""Name → dtype and shape of one entry."""

_ALIGN = 64
_MOST_OPENED = 16
_FRONT_BYTES = 64  # the number reserved by the writer, and the number of slots


class SlotTable:
    """Slots in columns, and the number that the writer has reserved; in plain memory or in a mapped file."""

    __slots__ = ("_reserved", "columns", "path", "slots")

    def __init__(self, columns: dict[str, Array], slots: int, reserved: Seqs, path: Path | None) -> None:
        self.columns = columns
        self.slots = slots
        self.path = path
        self._reserved = reserved

    @classmethod
    def create(cls, columns: Columns, slots: int, path: Path | None) -> SlotTable:
        size = _FRONT_BYTES + _layout(columns, slots)[1]
        if path is None:
            whole = np.zeros(size, dtype=np.uint8)  # pages are allocated on first write
        else:
            with path.open("xb+") as file:
                try:
                    reserve(file.fileno(), size)
                except OSError:
                    path.unlink()
                    raise
                whole = np.frombuffer(mmap.mmap(file.fileno(), size), dtype=np.uint8)
        return cls._over(whole, columns, slots, path)

    @classmethod
    def open(cls, path: Path, columns: Columns) -> SlotTable:
        with path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            known = _opened.get(path)
            if known is not None and known[0] == inode and known[1].columns.keys() == columns.keys():
                return known[1]  # a new mapping would look up every page again
            whole = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
        slots = int(whole[8:16].view(np.int64)[0])
        table = cls._over(whole, columns, slots, path)
        while len(_opened) >= _MOST_OPENED:
            _opened.pop(next(iter(_opened)), None)
        _opened[path] = inode, table
        return table

    @classmethod
    def _over(cls, whole: Array, columns: Columns, slots: int, path: Path | None) -> SlotTable:
        front = whole[:_FRONT_BYTES].view(np.int64)
        if whole.flags.writeable:
            front[1] = slots
        found = {}
        for name, (start, dtype, shape) in _layout(columns, slots)[0].items():
            size = slots * dtype.itemsize * int(np.prod(shape, dtype=int))
            part = whole[_FRONT_BYTES + start : _FRONT_BYTES + start + size]
            found[name] = part.view(dtype).reshape(slots, *shape)
        return cls(found, slots, front[:1], path)

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.columns.values())

    def anew(self) -> SlotTable:
        """A new table of the same size, empty: readers of this one keep it."""
        columns = {name: (column.dtype, column.shape[1:]) for name, column in self.columns.items()}
        return SlotTable.create(columns, self.slots, self.path and _next_path(self.path))

    def reserve(self, end: int) -> None:
        """Announce that slots of entries below `end` may be written from now on."""
        self._reserved[0] = end

    def reserved(self) -> int:
        return int(self._reserved[0])


_opened: dict[Path, tuple[int, SlotTable]] = {}
"""Rings in files that this process reads, by path, with their inode."""


def _layout(columns: Columns, slots: int) -> tuple[dict[str, tuple[int, np.dtype[Any], tuple[int, ...]]], int]:
    """Offset of each column, and the total bytes."""
    places, at = {}, 0
    for name, (dtype, shape) in columns.items():
        kind = np.dtype(dtype)
        places[name] = (at, kind, shape)
        at += slots * kind.itemsize * int(np.prod(shape, dtype=int))
        at += -at % _ALIGN
    return places, at


def _next_path(path: Path) -> Path:
    """`ring-4.slots` after `ring-3.slots`."""
    stem, _, number = path.stem.rpartition("-")
    return path.with_name(f"{stem}-{int(number) + 1}{path.suffix}")
