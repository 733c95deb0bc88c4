"""A ring of small entries in a mapped file: one process appends, others read what is new to them.

It carries what goes with published versions and is no part of them, beside the announcement in the live folder. A
reader that is too slow misses the oldest entries and sees so by their numbers.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from thalweg.memory.files import reserve

_HEAD = struct.Struct("<QQ")  # numbers of the first entry ever, and of the newest; 0: none
_NUMBER = struct.Struct("<Q")
_CHECK_BYTES = 4


class RingWriter:
    """Appends to the ring. One thread uses it.

    Args:
        path: The file; created if needed, also when it is deleted later. Its folder must exist.
        entry: The layout of an entry.
        entries: How many the file holds.
        clock: Unix seconds; numbers begin with it, so that those of a file that is created again go on.

    Raises:
        OSError: The file cannot be created.
    """

    def __init__(self, path: Path, entry: struct.Struct, entries: int, clock: Callable[[], float] = time.time) -> None:
        self._path, self._entry, self._entries, self._clock = path, entry, entries, clock
        self._map = self._open()

    def append(self, *values: object) -> None:
        """Append an entry. Raises OSError: the file was deleted and cannot be created again."""
        if self._inode != _inode(self._path):
            self._map.close()
            self._map = self._open()
        first, last = _HEAD.unpack_from(self._map)
        number = last + 1 if last else max(1, int(self._clock() * 1e6))
        body = _NUMBER.pack(number) + self._entry.pack(*values)
        at = _HEAD.size + number % self._entries * _place_bytes(self._entry)
        self._map[at : at + len(body) + _CHECK_BYTES] = body + zlib.crc32(body).to_bytes(_CHECK_BYTES, "little")
        _HEAD.pack_into(self._map, 0, first or number, number)  # last: who sees the number finds the entry

    def newest(self) -> tuple[object, ...] | None:
        """The newest entry, perhaps of an earlier process; None: there is none, or it is damaged."""
        _, last = _HEAD.unpack_from(self._map)
        return _entry(self._map, self._entry, self._entries, last) if last else None

    def close(self) -> None:
        """Close the file; its entries stay."""
        self._map.close()

    def _open(self) -> mmap.mmap:
        size = _HEAD.size + self._entries * _place_bytes(self._entry)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            reserve(handle, size)
            opened = mmap.mmap(handle, size)
            self._inode = os.fstat(handle).st_ino
        finally:
            os.close(handle)
        return opened


class RingReader:
    """Reads the ring. One thread uses it.

    Args:
        path: The file; it need not exist yet.
        entry: The layout of an entry.
        entries: How many the file holds.
    """

    def __init__(self, path: Path, entry: struct.Struct, entries: int) -> None:
        self._path, self._entry, self._entries = path, entry, entries
        self._map: mmap.mmap | None = None
        self._inode = -1

    def newer(self, than: int) -> Iterator[tuple[int, tuple[object, ...]]]:
        """The entries with a number above `than`, oldest first, each with its number; those overwritten are left out.

        Raises:
            OSError: The file cannot be read.
        """
        opened = self._opened()
        if opened is None:
            return
        first, last = _HEAD.unpack_from(opened)
        for number in range(max(than + 1, first, last - self._entries + 1), last + 1):
            if (found := _entry(opened, self._entry, self._entries, number)) is not None:
                yield number, found

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._map is not None:
            self._map.close()
            self._map = None

    def _opened(self) -> mmap.mmap | None:
        inode = _inode(self._path)
        if self._map is not None and inode == self._inode:
            return self._map
        self.close()
        if inode == -1:
            return None
        size = _HEAD.size + self._entries * _place_bytes(self._entry)
        with self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < size:
                return None  # it is being created
            self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
            self._inode = os.fstat(file.fileno()).st_ino
        return self._map


def _entry(opened: mmap.mmap, entry: struct.Struct, entries: int, number: int) -> tuple[object, ...] | None:
    """The entry of this number; None: it is damaged, or overwritten by another one."""
    at = _HEAD.size + number % entries * _place_bytes(entry)
    content = opened[at : at + _place_bytes(entry)]
    body, check = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
    sound = zlib.crc32(body) == int.from_bytes(check, "little") and _NUMBER.unpack_from(body)[0] == number
    return entry.unpack_from(body, _NUMBER.size) if sound else None


def _place_bytes(entry: struct.Struct) -> int:
    return _NUMBER.size + entry.size + _CHECK_BYTES


def _inode(path: Path) -> int:
    """The file's inode; -1: there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return -1
