"""A bounded memory of entries in columns: a ring buffer whose slots are overwritten in place and never moved.

Entry `seq` (0, 1, 2 … since the memory was created) is in slot `seq mod slots`. A reader has a `Window`: the entries
that were live when it was taken. There are more slots than live entries, so a window stays complete while as many new
entries as that difference are written; after that, a reader drops the entries that were overwritten. It never sees
a partial entry: the writer first reserves the slots it will write, and the reader checks last.

Several processes may share one ring in a mapped file (`place`): one writes, the others read.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thalweg.memory.vectors.slots import Columns, Seqs, SlotTable
from thalweg.memory.vectors.window import DIED, NEVER, Window
from thalweg.proto.schema import Array


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
        self._table = SlotTable.create({**columns, DIED: (np.int64, ())}, _slots(capacity, slack), place)
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
        table.columns[DIED][slots] = NEVER
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
        died = self._table.columns[DIED]
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
        dead = int((self._table.columns[DIED][slots] != NEVER).sum()) if self._holes else 0
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
        alive = table.columns[DIED][seqs % slots] == NEVER
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
