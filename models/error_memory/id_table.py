"""A bounded table of learned rows by id: a new id gets a row, the least recently used one loses its row.

Rows contain parameters and the sums of their squared gradients, so that the parameters of a row and its learning rate
are created and evicted together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

_FIRST_ROWS = 256


class IdTable:
    """(n, 2, width) float32 rows: parameters, and the sum of their squared gradients.

    Args:
        width: Numbers per row.
        capacity: Most rows.
        seed: New parameters are drawn from it, of width `spread`, and from the number of rows assigned before.
    """

    def __init__(self, width: int, capacity: int, seed: tuple[int, ...], spread: float) -> None:
        self._width, self._capacity, self._seed, self._spread = width, capacity, seed, spread
        self.rows: NDArray[np.float32] = np.zeros((0, 2, width), dtype=np.float32)
        self._row_of: OrderedDict[int, int] = OrderedDict()  # from the least recently used
        self._given = 0
        self.evicted = 0
        """Number of ids evicted so far."""

    def __len__(self) -> int:
        return len(self._row_of)

    def places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row numbers of ids (n,), distinct and at most the capacity; unknown ids get a new row."""
        new = 0
        for number in ids.tolist():
            if number in self._row_of:
                self._row_of.move_to_end(number)
            else:
                self._row_of[number] = -1
                new += 1
        if new:
            self._give_rows(new)
        return np.fromiter((self._row_of[number] for number in ids.tolist()), dtype=np.int64, count=len(ids))

    def _give_rows(self, new: int) -> None:
        """Assign rows to the last ids without one; those of the least recently used ids when the table is full."""
        drawn = np.random.Generator(np.random.PCG64([*self._seed, self._given])).standard_normal((new, self._width))
        self._given += new
        waiting = [number for number, row in self._row_of.items() if row < 0] if new > 8 else self._newest_without(new)
        taken = len(self._row_of) - new
        for number, parameters in zip(waiting, drawn):
            if taken < self._capacity:
                place, taken = taken, taken + 1
                if place >= len(self.rows):
                    self._grow()
            else:
                _, place = self._row_of.popitem(last=False)
                self.evicted += 1
            self.rows[place] = 0.0
            self.rows[place, 0] = parameters * self._spread
            self._row_of[number] = place

    def _newest_without(self, new: int) -> list[int]:
        found = []
        for number in reversed(self._row_of):
            if self._row_of[number] < 0:
                found.append(number)
                if len(found) == new:
                    break
        return found[::-1]

    def _grow(self) -> None:
        more = min(self._capacity, max(_FIRST_ROWS, 2 * len(self.rows))) - len(self.rows)
        self.rows = np.concatenate([self.rows, np.zeros((more, *self.rows.shape[1:]), dtype=np.float32)])

    def frozen(self) -> FrozenTable:
        """What prediction needs, copied."""
        ids = np.fromiter(self._row_of.keys(), dtype=np.int64, count=len(self._row_of))
        places = np.fromiter(self._row_of.values(), dtype=np.int64, count=len(ids))
        order = np.argsort(ids)
        rows = np.zeros((len(ids) + 1, self._width), dtype=np.float32)
        rows[:-1] = self.rows[places[order], 0]
        return FrozenTable(ids[order], rows)

    def tensors(self) -> dict[str, Array]:
        """Everything, from the least recently used row on."""
        ids = np.fromiter(self._row_of.keys(), dtype=np.int64, count=len(self._row_of))
        places = np.fromiter(self._row_of.values(), dtype=np.int64, count=len(ids))
        return {"ids": ids, "rows": self.rows[places], "counts": np.array([self._given, self.evicted], dtype=np.int64)}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the table whose `tensors()` these are."""
        self.rows = np.array(tensors["rows"])
        self._row_of = OrderedDict((number, row) for row, number in enumerate(tensors["ids"].tolist()))
        self._given, self.evicted = map(int, tensors["counts"])


class FrozenTable:
    """Parameters by id, to read.

    Args:
        ids: (n,) ascending.
        rows: (n + 1, width); the last for ids that are unknown.
    """

    __slots__ = ("ids", "rows")

    def __init__(self, ids: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
        self.ids, self.rows = ids, rows

    def __getitem__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows (n, width) of ids (n,); zeros for ids never learned."""
        if not len(self.ids):
            return self.rows[np.zeros(len(ids), dtype=np.int64)]
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return self.rows[np.where(self.ids[at] == ids, at, len(self.ids))]

    def tensors(self) -> dict[str, Array]:
        """For a published version."""
        return {"ids": self.ids, "rows": self.rows}
