"""A bounded memory of entries in columns: a ring buffer whose slots are overwritten in place and never moved.

Entry `seq` (0, 1, 2 … since the memory was created) is in slot `seq mod slots`. A reader has a `Window`: the entries
that were live when it was taken. There are more slots than live entries, so a window stays complete while as many new
entries as that difference are written; after that, a reader drops the entries that were overwritten. It never sees
a partial entry: the writer first reserves the slots it will write, and the reader checks last.

Several processes may share one ring in a mapped file (`place`): one writes, the others read.
"""

from __future__ import annotations

import mmap
import os
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from thalweg.proto.schema import Array

Seqs: TypeAlias = NDArray[np.int64]
Columns: TypeAlias = Mapping[str, tuple[DTypeLike, tuple[int, ...]]]
"""Name → dtype and shape of one entry."""

NEVER = np.iinfo(np.int64).max
_DIED = "died_at"
_ALIGN = 64
_MOST_OPENED = 16
_FRONT_BYTES = 64  # the number reserved by the writer, and the number of slots


@dataclass(frozen=True, slots=True)
class Limits:
    """Why an entry expires, besides the capacity: the oldest first."""

    ttl_seconds: float = 0.0
    """Maximum age of entries, relative to the newest time seen; 0: no limit. Uses the column `time`."""

    per_key: int = 0
    """Most entries with the same number in the column `key`; 0: any number."""


def entry_bytes(columns: Columns) -> int:
    """Bytes per entry in a ring with these columns."""
    own = sum(np.dtype(dtype).itemsize * int(np.prod(shape, dtype=int)) for dtype, shape in columns.values())
    return own + np.dtype(np.int64).itemsize


def capacity_for(budget_bytes: int, columns: Columns, slack: float = 0.125) -> int:
    """How many entries fit into a budget, including slack slots.

    Raises:
        ValueError: Not even one fits.
    """
    size = entry_bytes(columns)
    slots = budget_bytes // size
    capacity = int(slots / (1 + slack))
    if capacity < 1:
        raise ValueError(f"expected at least {_slots(1, slack) * size} bytes, room for one entry, got {budget_bytes}")
    return capacity


def _slots(capacity: int, slack: float) -> int:
    return capacity + max(1, int(capacity * slack))


class Ring:
    """The writer. One thread writes; any number of windows may be read meanwhile.

    Args:
        columns: What an entry holds.
        capacity: Most entries; older ones are evicted.
        limits: Further limits.
        slack: Slots beyond the capacity, as a share of it: how far a reader may lag without losing entries.
        place: A file for the ring, mapped, so that other processes can read it, named `…-1.slots` (a ring restored is a
            new file, of the next number); None: plain memory.

    Raises:
        OSError: The file exists already, or there is no space for it.
    """

    def __init__(
        self,
        columns: Columns,
        capacity: int,
        limits: Limits = Limits(),
        *,
        slack: float = 0.125,
        place: Path | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: expected 1 or more entries, got {capacity}")
        self.capacity = capacity
        self.limits = limits
        self._slack = slack
        self._table = _Table.create({**columns, _DIED: (np.int64, ())}, _slots(capacity, slack), place)
        self._end = 0
        self._first = 0
        self._deaths = 0
        self._holes = 0  # entries of the live range that expired out of order
        self._evicted = 0
        self._newest_time = -np.inf
        self._of_key: dict[int, deque[int]] = defaultdict(deque)
        self._left: list[Path] = []  # previous files of this ring

    @property
    def end(self) -> int:
        """Entries written since the ring was created; the next one gets this number."""
        return self._end

    @property
    def entries(self) -> int:
        """Live entries."""
        return self._end - self._first - self._holes

    @property
    def evicted(self) -> int:
        """Entries evicted so far, for any reason."""
        return self._evicted

    @property
    def nbytes(self) -> int:
        """Bytes of all slots; constant."""
        return self._table.nbytes

    @property
    def path(self) -> Path | None:
        """The file that contains it."""
        return self._table.path

    def append(self, rows: Mapping[str, Array]) -> None:
        """Write entries, oldest first; entries that they evict are gone for windows taken from now on.

        Args:
            rows: All columns, each (n, …).
        """
        count = len(next(iter(rows.values())))
        step = self._table.slots - self.capacity
        for start in range(0, count, step):  # in parts, so that no window is overtaken by one write
            self._append({name: column[start : start + step] for name, column in rows.items()})

    def _append(self, rows: Mapping[str, Array]) -> None:
        count = len(next(iter(rows.values())))
        table, seqs = self._table, np.arange(self._end, self._end + count)
        table.reserve(self._end + count)
        slots = seqs % table.slots
        for name, column in rows.items():
            table.columns[name][slots] = column
        table.columns[_DIED][slots] = NEVER
        self._end += count
        if self.limits.per_key:
            for key, seq in zip(rows["key"].tolist(), seqs.tolist()):
                self._of_key[key].append(seq)
                if len(self._of_key[key]) > self.limits.per_key:
                    self._kill(self._of_key[key].popleft())
        self._move_first(max(self._first, self._end - self.capacity))
        if self.limits.ttl_seconds:
            self._newest_time = max(self._newest_time, float(np.max(rows["time"])))
            self._expire(self._newest_time - self.limits.ttl_seconds)

    def _expire(self, before: float) -> None:
        times = self._table.columns["time"]
        first = self._first
        while first < self._end and times[first % self._table.slots] < before:
            first += 1
        self._move_first(first)

    def forget(self, seqs: Seqs) -> int:
        """Remove these entries; returns how many were present."""
        alive = [seq for seq in seqs.tolist() if self._kill(seq)]
        return len(alive)

    def _kill(self, seq: int) -> bool:
        died = self._table.columns[_DIED]
        slot = seq % self._table.slots
        if not self._first <= seq < self._end or died[slot] != NEVER:
            return False
        died[slot] = self._deaths  # windows taken before still have it
        self._deaths += 1
        self._holes += 1
        self._evicted += 1
        if self.limits.per_key:
            mine = self._of_key[int(self._table.columns["key"][slot])]
            if seq in mine:
                mine.remove(seq)
        return True

    def _move_first(self, first: int) -> None:
        if first <= self._first:
            return
        gone = np.arange(self._first, first)
        slots = gone % self._table.slots
        dead = int((self._table.columns[_DIED][slots] != NEVER).sum()) if self._holes else 0
        self._holes -= dead
        self._evicted += len(gone) - dead
        if self.limits.per_key:
            for key in set(self._table.columns["key"][slots].tolist()):
                mine = self._of_key[key]
                while mine and mine[0] < first:
                    mine.popleft()
                if not mine:
                    del self._of_key[key]
        self._first = first

    def clear(self) -> None:
        """Remove every entry; they do not count as evicted. Numbering continues."""
        evicted = self._evicted
        self._move_first(self._end)
        self._evicted = evicted
        self._newest_time = -np.inf

    def window(self) -> Window:
        """The live entries, for a reader."""
        return Window(self._table, self._first, self._end, self._deaths if self._holes else 0)

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot: the slots in use in storage order, not copied; unchanged slots stay in place."""
        used = min(self._end, self._table.slots)
        found = {name: column[:used] for name, column in self._table.columns.items()}
        counters = [self._first, self._end, self._deaths, self._evicted, self._table.slots]
        found["counters"] = np.array(counters, dtype=np.int64)
        found["newest_time"] = np.array([self._newest_time] if self._newest_time > -np.inf else [])
        return found

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the ring whose `tensors()` these are; readers of the previous content keep it.

        Raises:
            ValueError: It has another number of slots.
        """
        first, end, deaths, evicted, slots = map(int, tensors["counters"])
        if slots != self._table.slots:
            raise ValueError(f"memory: expected a snapshot of {self._table.slots} slots, got one of {slots}")
        used = min(end, slots)
        untouched, self._end = self._end == 0, end
        self._first, self._deaths, self._evicted = first, deaths, evicted
        self._newest_time = float(tensors["newest_time"].max(initial=-np.inf))
        self._retire(0 if untouched else 1)
        self._table = table = self._table.anew()
        table.reserve(end)
        for name, column in table.columns.items():
            column[:used] = tensors[name]
        seqs = np.arange(first, end)
        alive = table.columns[_DIED][seqs % slots] == NEVER
        self._holes = len(seqs) - int(alive.sum())
        self._of_key.clear()
        if self.limits.per_key:
            seqs = seqs[alive]
            for key, seq in zip(table.columns["key"][seqs % slots].tolist(), seqs.tolist()):
                self._of_key[key].append(seq)

    def _retire(self, keep: int) -> None:
        """Delete all but the newest of the files that this ring used: readers may still use the last one."""
        if self._table.path is not None:
            self._left.append(self._table.path)
        while len(self._left) > keep:
            self._left.pop(0).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Window:
    """What a reader sees: entries `first` … `end` - 1 without expired ones; immutable."""

    table: _Table
    first: int
    end: int
    deaths: int
    """Entries with a `died_at` below this are expired; 0: there are none."""

    def __len__(self) -> int:
        return self.end - self.first

    def segments(self) -> list[tuple[int, slice]]:
        """At most two runs of slots that contain the window in order: number of the first entry, slots."""
        slots = self.table.slots
        start, stop = self.first % slots, self.first % slots + len(self)
        if not len(self):
            return []
        if stop <= slots:
            return [(self.first, slice(start, stop))]
        return [(self.first, slice(start, slots)), (self.first + slots - start, slice(0, stop - slots))]

    def column(self, name: str, part: slice) -> Array:
        """A run of slots of a column, not copied; the writer may overwrite it: check `standing` afterwards."""
        return self.table.columns[name][part]

    def take(self, name: str, seqs: Seqs) -> Array:
        """Values of these entries, copied; check `standing` afterwards."""
        taken: Array = self.table.columns[name][seqs % self.table.slots]
        return taken

    def standing(self, seqs: Seqs) -> NDArray[np.bool_]:
        """Which of these entries are in the window and not yet overwritten by the writer."""
        standing = (seqs >= self.first) & (seqs < self.end)
        if self.deaths:
            standing &= self.take(_DIED, seqs) >= self.deaths
        standing &= seqs >= self.table.reserved() - self.table.slots  # checked last
        return standing

    def alive(self, part: slice) -> NDArray[np.bool_] | None:
        """Which entries of a run of slots had not expired; None: all."""
        if not self.deaths:
            return None
        alive: NDArray[np.bool_] = self.table.columns[_DIED][part] >= self.deaths
        return alive

    def tensors(self) -> dict[str, Array]:
        """The live entries of the window, oldest first, copied; without the expiry marks of others."""
        seqs = np.arange(self.first, self.end)
        if self.deaths:
            seqs = seqs[self.take(_DIED, seqs) >= self.deaths]
        return {name: self.take(name, seqs) for name in self.table.columns if name != _DIED}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Window:
        """A window over what `tensors` returned, used in place; entries are numbered from 0."""
        count = len(next(iter(tensors.values())))
        return cls(_Table(dict(tensors), max(1, count), np.array([count]), None), 0, count, 0)

    def reference(self) -> dict[str, Any]:
        """Where another process finds it, JSON-able; only for a ring in a file."""
        if self.table.path is None:
            raise ValueError("the ring is in plain memory: no other process can read it")
        return {"path": str(self.table.path), "first": self.first, "end": self.end, "deaths": self.deaths}

    @classmethod
    def at(cls, reference: Mapping[str, Any], columns: Columns) -> Window:
        """The window of a `reference`. Raises `FileNotFoundError` when its ring is gone."""
        table = _Table.open(Path(reference["path"]), {**columns, _DIED: (np.int64, ())})
        return cls(table, reference["first"], reference["end"], reference["deaths"])


class _Table:
    """Slots in columns, and the number that the writer has reserved; in plain memory or in a mapped file."""

    __slots__ = ("_reserved", "columns", "path", "slots")

    def __init__(self, columns: dict[str, Array], slots: int, reserved: Seqs, path: Path | None) -> None:
        self.columns = columns
        self.slots = slots
        self.path = path
        self._reserved = reserved

    @classmethod
    def create(cls, columns: Columns, slots: int, path: Path | None) -> _Table:
        size = _FRONT_BYTES + _layout(columns, slots)[1]
        if path is None:
            whole = np.zeros(size, dtype=np.uint8)  # pages are allocated on first write
        else:
            with path.open("xb+") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)  # else a full memory folder kills the process
                except OSError:
                    path.unlink()
                    raise
                whole = np.frombuffer(mmap.mmap(file.fileno(), size), dtype=np.uint8)
        return cls._over(whole, columns, slots, path)

    @classmethod
    def open(cls, path: Path, columns: Columns) -> _Table:
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
    def _over(cls, whole: Array, columns: Columns, slots: int, path: Path | None) -> _Table:
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

    def anew(self) -> _Table:
        """A new table of the same size, empty: readers of this one keep it."""
        columns = {name: (column.dtype, column.shape[1:]) for name, column in self.columns.items()}
        return _Table.create(columns, self.slots, self.path and _next_path(self.path))

    def reserve(self, end: int) -> None:
        """Announce that slots of entries below `end` may be written from now on."""
        self._reserved[0] = end

    def reserved(self) -> int:
        return int(self._reserved[0])


_opened: dict[Path, tuple[int, _Table]] = {}
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
