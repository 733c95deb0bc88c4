"""What a reader sees of a ring: the entries that were live when the window was taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.slots import Columns, Seqs, SlotTable
from thalweg.proto.schema import Array

DIED = "died_at"
"""The column that each ring adds: which of its deaths an entry was, `NEVER` while it lives."""
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Window:
    """What a reader sees: entries `first` … `end` - 1 without expired ones; immutable."""

    table: SlotTable
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
            standing &= self.take(DIED, seqs) >= self.deaths
        standing &= seqs >= self.table.reserved() - self.table.slots  # checked last
        return standing

    def alive(self, part: slice) -> NDArray[np.bool_] | None:
        """Which entries of a run of slots had not expired; None: all."""
        if not self.deaths:
            return None
        alive: NDArray[np.bool_] = self.table.columns[DIED][part] >= self.deaths
        return alive

    def tensors(self) -> dict[str, Array]:
        """The live entries of the window, oldest first, copied; without the expiry marks of others."""
        seqs = self._live()
        return {name: self.take(name, seqs) for name in self.table.columns if name != DIED}

    def rank(self, seqs: Seqs) -> Seqs:
        """For each entry number, how many entries `tensors()` has before it: its number in the window of those."""
        return np.searchsorted(self._live(), seqs)

    def _live(self) -> Seqs:
        live = np.arange(self.first, self.end)
        return live[self.take(DIED, live) >= self.deaths] if self.deaths else live

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Window:
        """A window over what `tensors` returned, used in place; entries are numbered from 0."""
        count = len(next(iter(tensors.values())))
        return cls(SlotTable(dict(tensors), max(1, count), np.array([count]), None), 0, count, 0)

    def reference(self) -> dict[str, Any]:
        """Where another process finds it, JSON-able; only for a ring in a file."""
        if self.table.path is None:
            raise ValueError("the ring is in plain memory: no other process can read it")
        return {"path": str(self.table.path), "first": self.first, "end": self.end, "deaths": self.deaths}

    @classmethod
    def at(cls, reference: Mapping[str, Any], columns: Columns) -> Window:
        """The window of a `reference`. Raises `FileNotFoundError` when its ring is gone."""
        table = SlotTable.open(Path(reference["path"]), {**columns, DIED: (np.int64, ())})
        return cls(table, reference["first"], reference["end"], reference["deaths"])
