"""A ring's vectors on a device: written once, overwritten in place as the ring is, and never copied for a search.

The largest products of a query are among the blocks with the largest maxima: products in blocks, the best blocks by
their maxima, then the best within them. That is exact, and reads all products once. What is found are candidates, as of
every other backend: `neighbours.nearest` ranks them by exact products with the processor.
Bytes: 4 for each number of each slot of the ring, and for a search 4 for each product of a group of queries.
"""

from __future__ import annotations

import threading
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.memory.torch_setup import Tensor, torch
from thalweg.memory.vectors.slots import Seqs, SlotTable
from thalweg.memory.vectors.window import Window
from thalweg.proto.schema import Array

BLOCK = 2000
"""Products whose maximum is compared with those of other blocks."""
_PRODUCTS = 1 << 28  # held at once: 1 GB
_SENT_ROWS = 1 << 16  # rows of one copy


class ResidentVectors:
    """The column of vectors of one ring, on a device. One thread follows the ring; any may search what was followed.

    Args:
        device: The device.
        column: Name of the column, (d,) float32 each.
    """

    def __init__(self, device: Device, column: str) -> None:
        self._device, self._column = device, column
        self._table: SlotTable | None = None
        self._vectors: Tensor | None = None  # (slots, d)
        self._end = 0  # entries below this have been sent, as far as they live

    def follow(self, window: Window) -> None:
        """Send what was written since the last call, so that this window can be searched.

        Raises:
            DeviceFailed: There is no room for the ring.
        """
        table = window.table
        if table is not self._table or self._vectors is None:
            self._forget()
            width = table.columns[self._column].shape[1]
            self._vectors, self._table, self._end = self._device.zeros(table.slots, width), table, window.first
        start = max(self._end, window.first)
        while start < window.end:
            slot = start % table.slots
            count = min(window.end - start, table.slots - slot, _SENT_ROWS)
            rows = table.columns[self._column][slot : slot + count]
            self._vectors[slot : slot + count] = self._device.put(np.array(rows))
            start += count
        self._end = max(self._end, window.end)

    def _forget(self) -> None:
        if self._vectors is not None:
            self._device.reserve(-self._vectors.nbytes)
        self._vectors = self._table = None

    def top(
        self, part: slice, alive: NDArray[np.bool_] | None, queries: NDArray[np.float32], count: int
    ) -> tuple[Array, Seqs]:
        """Largest products (B, count) with a run of slots, unordered, and their indices in it; -inf and -1 where there
        are fewer vectors.

        Args:
            part: The run, of a window that is followed.
            alive: Which of them count; None: all.
            queries: (B, d).
            count: How many.
        """
        assert self._vectors is not None
        vectors = self._vectors[part]
        found = min(count, len(vectors))
        best = np.full((len(queries), count), -np.inf, dtype=np.float32)
        places = np.full((len(queries), count), -1, dtype=np.int64)
        if not found or not len(queries):
            return best, places
        asked = self._device.put(queries)
        dead = None if alive is None else self._device.put(np.flatnonzero(~alive))
        group = max(1, _PRODUCTS // len(vectors))
        for start in range(0, len(queries), group):
            some = slice(start, start + group)
            values, at = _largest(asked[some] @ vectors.T, dead, found)
            best[some, :found], places[some, :found] = self._device.fetch(values), self._device.fetch(at)
        places[best == -np.inf] = -1
        return best, places


_SHARED: WeakValueDictionary[tuple[int, str], ResidentVectors] = WeakValueDictionary()
"""By the table, which its vectors keep alive, and the column."""
_sharing = threading.Lock()


def shared_vectors(device: Device, window: Window, column: str) -> ResidentVectors:
    """The vectors of a window's ring, one copy for all its windows, with those of this one sent: for servers, whose
    versions have a window each.

    Raises:
        DeviceFailed: There is no room for the ring.
    """
    with _sharing:
        found = _SHARED.get((id(window.table), column))
        if found is None or found._table is not window.table:
            found = ResidentVectors(device, column)
        found.follow(window)
        _SHARED[id(window.table), column] = found
        return found


def _largest(products: Tensor, dead: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """The largest of each row (B, n), and where they are; `dead`: columns that do not count."""
    if dead is not None:
        products.index_fill_(1, dead, -torch.inf)
    rows, n = products.shape
    whole = n // BLOCK * BLOCK
    blocks = n // BLOCK
    if blocks <= count:
        values, places = torch.topk(products, count, dim=1)
        return values, places
    within = products[:, :whole].view(rows, blocks, BLOCK)
    chosen = torch.topk(within.amax(dim=2), count, dim=1).indices  # (B, count) blocks
    near = within.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
    values = torch.cat([near, products[:, whole:]], dim=1)
    inside = torch.arange(BLOCK, device=products.device)
    rest = torch.arange(whole, n, device=products.device).expand(rows, -1)
    places = torch.cat([(chosen[:, :, None] * BLOCK + inside).flatten(1), rest], dim=1)
    values, order = torch.topk(values, count, dim=1)
    return values, places.gather(1, order)
