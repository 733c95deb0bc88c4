"""A bounded table of learned rows by id: a new id gets a row, the least recently used one loses its row.

Rows contain parameters and the sums of their squared gradients, so that the parameters of a row and its learning rate
are created and evicted together. Which id has which row is known to the processor; the rows may be on a device, where a
step reads and writes those of its ids and no others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.memory.torch_setup import Tensor, torch
from thalweg.proto.schema import Array

_FIRST_ROWS = 256
_EPSILON = 1e-8
Places = NDArray[np.int64]


class IdTable:
    """(n, 2, width) float32 rows: parameters, and the sum of their squared gradients.

    Args:
        width: Numbers per row.
        capacity: Most rows.
        seed: New parameters are drawn from it, of width `spread`, and from the number of rows assigned before.
        spread: Standard deviation of new parameters.
        device: Where the rows are; None: with the processor.
    """

    def __init__(
        self, width: int, capacity: int, seed: tuple[int, ...], spread: float, device: Device | None = None
    ) -> None:
        self._width, self._capacity, self._seed, self._spread = width, capacity, seed, spread
        self._rows: Rows = HostRows(width) if device is None or device.is_processor else DeviceRows(width, device)
        self._row_of: OrderedDict[int, int] = OrderedDict()  # from the least recently used
        self._sorted: tuple[NDArray[np.int64], Places] | None = None  # ids ascending, and their rows
        self._given = 0
        self.evicted = 0
        """Number of ids evicted so far."""

    def __len__(self) -> int:
        return len(self._row_of)

    def places(self, ids: NDArray[np.int64]) -> Places:
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

    def leaf(self, places: Places) -> Tensor:
        """Parameters (n, width) of rows (n,), a leaf for autograd."""
        return self._rows.parameters(places).requires_grad_()

    def step(self, places: Places, gradient: Tensor, rate: float) -> None:
        """One step of Adagrad on rows (n,), distinct, by the gradients (n, width) of their parameters."""
        self._rows.step(places, gradient, rate)

    def mix(self, ids: NDArray[np.int64], parameters: Array, share: NDArray[np.float64]) -> None:
        """Move the parameters of the ids that have a row to a weighted mean with others; the others get none.

        Args:
            ids: (n,) distinct.
            parameters: (n, width) of the others.
            share: (n,) of these in the mean, 0 … 1.
        """
        known = np.fromiter((number in self._row_of for number in ids.tolist()), dtype=np.bool_, count=len(ids))
        if known.any():
            at = np.fromiter((self._row_of[n] for n in ids[known].tolist()), dtype=np.int64, count=int(known.sum()))
            self._rows.mix(at, parameters[known].astype(np.float64), share[known])

    def _give_rows(self, new: int) -> None:
        """Assign rows to the last ids without one; those of the least recently used ids when the table is full."""
        drawn = np.random.Generator(np.random.PCG64([*self._seed, self._given])).standard_normal((new, self._width))
        self._given += new
        self._sorted = None
        waiting = [number for number, row in self._row_of.items() if row < 0] if new > 8 else self._newest_without(new)
        taken, given = len(self._row_of) - new, np.empty(new, dtype=np.int64)
        for at, number in enumerate(waiting):
            if taken < self._capacity:
                place, taken = taken, taken + 1
            else:
                _, place = self._row_of.popitem(last=False)
                self.evicted += 1
            given[at] = self._row_of[number] = place
        if taken > len(self._rows):
            while (size := len(self._rows)) < taken:
                self._rows.grow(min(self._capacity, max(_FIRST_ROWS, 2 * size)) - size)
        self._rows.begin(given, (drawn * self._spread).astype(np.float32))

    def _newest_without(self, new: int) -> list[int]:
        found = []
        for number in reversed(self._row_of):
            if self._row_of[number] < 0:
                found.append(number)
                if len(found) == new:
                    break
        return found[::-1]

    def frozen(self) -> FrozenTable:
        """What prediction needs, copied."""
        if self._sorted is None:
            ids, places = self._used()
            order = np.argsort(ids)
            self._sorted = ids[order], places[order]
        ids, places = self._sorted
        return FrozenTable(ids, self._rows.frozen(places))

    def _used(self) -> tuple[NDArray[np.int64], Places]:
        """Ids and their rows, from the least recently used on."""
        ids = np.fromiter(self._row_of.keys(), dtype=np.int64, count=len(self._row_of))
        return ids, np.fromiter(self._row_of.values(), dtype=np.int64, count=len(ids))

    def tensors(self) -> dict[str, Array]:
        """Everything, from the least recently used row on."""
        ids, places = self._used()
        counts = np.array([self._given, self.evicted], dtype=np.int64)
        return {"ids": ids, "rows": self._rows.taken(places), "counts": counts}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the table whose `tensors()` these are."""
        self._rows.restore(tensors["rows"])
        self._row_of = OrderedDict((number, row) for row, number in enumerate(tensors["ids"].tolist()))
        self._sorted = None
        self._given, self.evicted = map(int, tensors["counts"])


class HostRows:
    """Rows with the processor."""

    def __init__(self, width: int) -> None:
        self._rows: NDArray[np.float32] = np.zeros((0, 2, width), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def grow(self, more: int) -> None:
        """Add rows of zeros."""
        self._rows = np.concatenate([self._rows, np.zeros((more, *self._rows.shape[1:]), dtype=np.float32)])

    def begin(self, places: Places, parameters: NDArray[np.float32]) -> None:
        """Begin rows (n,) with these parameters (n, width) and no gradients."""
        self._rows[places] = 0.0
        self._rows[places, 0] = parameters

    def parameters(self, places: Places) -> Tensor:
        """A copy (n, width)."""
        return torch.from_numpy(self._rows[places, 0])

    def step(self, places: Places, gradient: Tensor, rate: float) -> None:
        """As of `IdTable`."""
        slope, rows = gradient.numpy(), self._rows
        rows[places, 1] += slope * slope
        rows[places, 0] -= rate * slope / (np.sqrt(rows[places, 1]) + _EPSILON)

    def mix(self, places: Places, parameters: NDArray[np.float64], share: NDArray[np.float64]) -> None:
        """Move the parameters of rows (n,) towards others (n, width), by this share (n,) of the way."""
        mine = self._rows[places, 0].astype(np.float64)
        self._rows[places, 0] = mine + share[:, None] * (parameters - mine)

    def frozen(self, places: Places) -> NDArray[np.float32]:
        """Parameters (n + 1, width), copied; the last row is of zeros."""
        found = np.zeros((len(places) + 1, self._rows.shape[2]), dtype=np.float32)
        found[:-1] = self._rows[places, 0]
        return found

    def taken(self, places: Places) -> Array:
        """A copy (n, 2, width)."""
        return self._rows[places]

    def restore(self, rows: Array) -> None:
        """Become these (n, 2, width)."""
        self._rows = np.array(rows)


class DeviceRows:
    """Rows on a device. They are not copied when the table grows into them: room is made in advance, twice as much."""

    def __init__(self, width: int, device: Device) -> None:
        self._device = device
        self._rows = device.zeros(0, 2, width)

    def __len__(self) -> int:
        return len(self._rows)

    def grow(self, more: int) -> None:
        """Add rows of zeros. Raises DeviceFailed if there is no room for them."""
        wider = self._device.zeros(len(self._rows) + more, *self._rows.shape[1:])
        wider[: len(self._rows)] = self._rows
        self._device.reserve(-self._rows.nbytes)
        self._rows = wider

    def begin(self, places: Places, parameters: NDArray[np.float32]) -> None:
        """As of `HostRows`."""
        begun = np.stack([parameters, np.zeros_like(parameters)], axis=1)
        self._rows.index_copy_(0, self._device.put(places), self._device.put(begun))

    def parameters(self, places: Places) -> Tensor:
        """As of `HostRows`."""
        return self._rows[:, 0].index_select(0, self._device.put(places))

    def step(self, places: Places, gradient: Tensor, rate: float) -> None:
        """As of `HostRows`."""
        at = self._device.put(places)
        parameters, squares = self._rows.index_select(0, at).unbind(1)
        squares = squares + gradient * gradient
        parameters = parameters - rate * gradient / (squares.sqrt() + _EPSILON)
        self._rows.index_copy_(0, at, torch.stack([parameters, squares], dim=1))

    def mix(self, places: Places, parameters: NDArray[np.float64], share: NDArray[np.float64]) -> None:
        """As of `HostRows`."""
        found = self.taken(places)
        mine = found[:, 0].astype(np.float64)
        found[:, 0] = mine + share[:, None] * (parameters - mine)
        self._rows.index_copy_(0, self._device.put(places), self._device.put(found))

    def frozen(self, places: Places) -> Tensor:
        """As of `HostRows`, there."""
        found = torch.zeros(len(places) + 1, self._rows.shape[2], device=self._rows.device)
        found[:-1] = self._rows[:, 0].index_select(0, self._device.put(places))
        return found

    def taken(self, places: Places) -> Array:
        """As of `HostRows`, brought back."""
        return self._device.fetch(self._rows.index_select(0, self._device.put(places)))

    def restore(self, rows: Array) -> None:
        """As of `HostRows`."""
        self._device.reserve(-self._rows.nbytes)
        self._rows = self._device.keep(rows)


Rows = HostRows | DeviceRows


class FrozenTable:
    """Parameters by id, to read.

    Args:
        ids: (n,) ascending.
        rows: (n + 1, width); the last for ids that are unknown. An array, or a tensor on a device.
    """

    __slots__ = ("ids", "rows")

    def __init__(self, ids: NDArray[np.int64], rows: NDArray[np.float32] | Tensor) -> None:
        self.ids, self.rows = ids, rows

    def __getitem__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows (n, width) of ids (n,), of a table with the processor; zeros for ids never learned."""
        assert isinstance(self.rows, np.ndarray)
        found: NDArray[np.float32] = self.rows[self.places(ids)]
        return found

    def places(self, ids: NDArray[np.int64]) -> Places:
        """Row numbers of ids (n,)."""
        if not len(self.ids):
            return np.zeros(len(ids), dtype=np.int64)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, at, len(self.ids))

    def tensors(self, device: Device) -> dict[str, Array]:
        """For a published version; `device`: where the rows are."""
        return {"ids": self.ids, "rows": self.rows if isinstance(self.rows, np.ndarray) else device.fetch(self.rows)}
