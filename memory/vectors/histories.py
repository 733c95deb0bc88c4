"""The latest events of many keys, with bounded numbers of keys and of events per key.

A key is identified by 63 bits of its hash, so a long key costs no more than a short one. When there are too many keys,
the one that was silent longest is evicted. Each key also stores until when it is known to have been silent, so that
silence can be learned in turn. Readers of an older state (`frozen`) keep what they saw: before a key's events change,
their copies get the old events.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

_FIRST_KEYS = 256
_AT_ONCE = 8192
_COLUMNS = ("times", "types", "counts", "used", "hashes", "silent", "visits")


class Histories(NamedTuple):
    """Events of N keys, oldest first; values beyond a row's length are undefined."""

    times: NDArray[np.float64]
    """(N, W), Unix seconds or any other clock."""
    types: NDArray[np.int16]
    """(N, W)."""
    lengths: NDArray[np.int64]
    """(N,); 0 for an unknown key."""

    def take(self, rows: Array) -> Histories:
        """The events of these rows."""
        return Histories(self.times[rows], self.types[rows], self.lengths[rows])


def hash_key(key: str | bytes) -> int:
    """63 bits of a key's hash, the same on every machine."""
    raw = key.encode() if isinstance(key, str) else key
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little") >> 1


class KeyedHistories:
    """One thread writes; any number of threads may read `frozen` copies meanwhile.

    Args:
        window: Events stored per key, W.
        capacity: Keys stored.
    """

    def __init__(self, window: int, capacity: int) -> None:
        self._window, self._capacity = window, capacity
        self._times = np.zeros((0, window))
        self._types = np.zeros((0, window), dtype=np.int16)
        self._counts = np.zeros(0, dtype=np.int64)  # number of events of each slot's key so far
        self._used = np.zeros(0, dtype=np.int64)  # when each slot was last written, counted in writes
        self._hashes = np.zeros(0, dtype=np.int64)
        self._silent = np.zeros(0)  # until when each key is known to have been silent
        self._visits = np.zeros(0, dtype=np.int64)  # when that was last updated, counted in writes
        self._slots: OrderedDict[int, int] = OrderedDict()  # from the least recently used
        self._quiet: OrderedDict[int, None] = OrderedDict()  # the same keys, in the order of their turn
        self._writes = 0
        self.evicted = 0
        """Number of keys evicted."""
        self._readers: weakref.WeakSet[FrozenHistories] = weakref.WeakSet()

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(getattr(self, f"_{name}").nbytes for name in _COLUMNS)

    def last(self, key: int) -> tuple[float, int] | None:
        """Time and type of a key's newest event; None if the key is unknown or has no event."""
        slot = self._slots.get(key)
        if slot is None or not self._counts[slot]:
            return None
        at = (int(self._counts[slot]) - 1) % self._window
        return float(self._times[slot, at]), int(self._types[slot, at])

    def oldest(self) -> int | None:
        """The key with the oldest last write; None if there are no keys."""
        return next(iter(self._slots), None)

    def silent_since(self, key: int) -> float:
        """Time of a key's newest event."""
        last = self.last(key)
        assert last is not None
        return last[0]

    def leaving(self, key: int) -> int | None:
        """The key that would be evicted by an event of this one; None if there is room."""
        return self.oldest() if key not in self._slots and len(self._slots) >= self._capacity else None

    def push(self, key: int, time: float, type: int) -> None:
        """Add an event."""
        if (oldest := self.leaving(key)) is not None:
            self.drop(oldest)
        self._tell(key)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = len(self._slots)
            if slot >= len(self._counts):
                self._grow()
            self._counts[slot], self._hashes[slot] = 0, key
            self._times[slot], self._types[slot] = 0.0, 0  # clear the data of the slot's previous key
        at = int(self._counts[slot]) % self._window
        self._times[slot, at], self._types[slot, at] = time, type
        self._counts[slot] += 1
        self._slots.move_to_end(key)
        self._used[slot] = self._writes + 1
        self._turn(key, slot, time)

    def take_back(self, key: int, later_than: float) -> None:
        """Remove a key's newest events, those later than this; the key stays, even without events, until a `push`."""
        self._tell(key)
        slot, past = self._slots[key], self.read([key])
        times, types = past.times[0, : past.lengths[0]], past.types[0, : past.lengths[0]]
        kept = times <= later_than
        count = int(np.count_nonzero(kept))
        self._times[slot], self._types[slot] = 0.0, 0
        self._times[slot, :count], self._types[slot, :count] = times[kept], types[kept]
        self._counts[slot] = count
        self._silent[slot] = times[kept][-1] if count else later_than

    def drop(self, key: int) -> None:
        """Remove a key."""
        self._tell(key)
        slot, last = self._slots.pop(key), len(self._slots)
        del self._quiet[key]
        if slot != last:  # fill the hole with the last slot
            for name in _COLUMNS:
                column = getattr(self, f"_{name}")
                column[slot] = column[last]
            self._slots[int(self._hashes[slot])] = slot
        self.evicted += 1

    def quietest(self) -> tuple[int, float] | None:
        """The key not written or visited for the longest time, and until when it is known to have been silent."""
        key = next(iter(self._quiet), None)
        return None if key is None else (key, float(self._silent[self._slots[key]]))

    def silent_until(self, key: int) -> float:
        """Until when a key is known to have been silent since its last event."""
        return float(self._silent[self._slots[key]])

    def note_silence(self, key: int, until: float) -> None:
        """Record that a key had no event until now."""
        self._turn(key, self._slots[key], until)

    def _turn(self, key: int, slot: int, until: float) -> None:
        self._writes += 1
        self._silent[slot], self._visits[slot] = until, self._writes
        self._quiet[key] = None
        self._quiet.move_to_end(key)

    def _grow(self) -> None:
        more = min(self._capacity, max(_FIRST_KEYS, 2 * len(self._counts))) - len(self._counts)
        for name in _COLUMNS:
            column = getattr(self, f"_{name}")
            setattr(self, f"_{name}", np.concatenate([column, np.zeros((more, *column.shape[1:]), column.dtype)]))

    def read(self, keys: Sequence[int]) -> Histories:
        """Current events of keys, copied."""
        slots = np.array([self._slots.get(key, -1) for key in keys], dtype=np.int64)
        if not len(self._counts):
            return empty(len(slots), self._window)
        counts = np.where(slots >= 0, self._counts[slots], 0)
        lengths = np.minimum(counts, self._window)
        at = (counts[:, None] - lengths[:, None] + np.arange(self._window)) % self._window
        return Histories(self._times[slots[:, None], at], self._types[slots[:, None], at], lengths)

    def frozen(self) -> FrozenHistories:
        """A frozen copy; later events do not show in it."""
        reader = FrozenHistories(self)
        self._readers.add(reader)
        return reader

    def _tell(self, key: int) -> None:
        """Give readers a copy of a key's events before they change."""
        for reader in self._readers:
            if key not in reader.kept:
                reader.kept[key] = self.read([key])

    def tensors(self) -> dict[str, Array]:
        """All arrays, not copied."""
        count = len(self._slots)
        columns: dict[str, Array] = {name: getattr(self, f"_{name}")[:count] for name in _COLUMNS}
        return columns | {"totals": np.array([self._writes, self.evicted], dtype=np.int64)}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` these are; readers of the previous content keep it."""
        for reader in self._readers:
            reader.detach()
        self._readers.clear()
        for name in _COLUMNS:
            setattr(self, f"_{name}", np.array(tensors[name]))
        self._slots = OrderedDict((int(self._hashes[slot]), int(slot)) for slot in np.argsort(self._used))
        self._quiet = OrderedDict((int(self._hashes[slot]), None) for slot in np.argsort(self._visits))
        self._writes, self.evicted = map(int, tensors["totals"])


class FrozenHistories:
    """Histories at one moment; any number of threads may read while the writer does not write."""

    def __init__(self, live: KeyedHistories) -> None:
        self._live: KeyedHistories | None = live
        self.kept: dict[int, Histories] = {}
        """Keys whose events have changed since then."""
        self._window = live._window

    def read(self, keys: Sequence[int]) -> Histories:
        """Events of keys."""
        assert self._live is not None
        found = self._live.read(keys)
        for row, key in enumerate(keys):
            if (old := self.kept.get(key)) is not None:
                found.times[row], found.types[row], found.lengths[row] = old.times[0], old.types[0], old.lengths[0]
        return found

    def detach(self) -> None:
        """Copy everything: the live histories become something else."""
        assert self._live is not None
        copy = KeyedHistories(self._window, self._live._capacity)
        copy.restore({name: array.copy() for name, array in self._live.tensors().items()})
        self._live = copy

    def tensors(self) -> dict[str, Array]:
        """For a published version, copied: hashes ascending, and the events of each, zeros beyond its length."""
        assert self._live is not None
        live = self._live.tensors()["hashes"]
        same = live[~np.isin(live, list(self.kept))] if self.kept else live
        known = {key: old for key, old in self.kept.items() if old.lengths[0]}
        hashes = np.concatenate([same, np.array(list(known), dtype=np.int64)])
        order = np.argsort(hashes)
        found = empty(len(hashes), self._window)
        for start in range(0, len(hashes), _AT_ONCE):
            part = order[start : start + _AT_ONCE]
            ours = part < len(same)
            rows = slice(start, start + len(part))
            read = self._live.read(hashes[part[ours]].tolist())
            for name in Histories._fields:
                getattr(found, name)[rows][ours] = getattr(read, name)
            for row in np.flatnonzero(~ours).tolist():
                for name in Histories._fields:
                    getattr(found, name)[start + row] = getattr(known[int(hashes[part[row]])], name)[0]
        beyond = np.arange(self._window) >= found.lengths[:, None]
        found.times[beyond], found.types[beyond] = 0.0, 0
        return {"hashes": hashes[order], **found._asdict()}


class PublishedHistories:
    """Reads what `FrozenHistories.tensors` returned, in place."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = tensors

    def read(self, keys: Sequence[int]) -> Histories:
        """Events of keys."""
        hashes, asked = self._tensors["hashes"], np.array(keys, dtype=np.int64)
        if not len(hashes):
            return empty(len(keys), self._tensors["times"].shape[1])
        at = np.minimum(np.searchsorted(hashes, asked), len(hashes) - 1)
        lengths = np.where(hashes[at] == asked, self._tensors["lengths"][at], 0)
        return Histories(self._tensors["times"][at], self._tensors["types"][at], lengths)

    def tensors(self) -> dict[str, Array]:
        """Hashes of keys, in the order given."""
        return dict(self._tensors)


def empty(rows: int, window: int) -> Histories:
    """Events of unknown keys."""
    return Histories(np.zeros((rows, window)), np.zeros((rows, window), np.int16), np.zeros(rows, np.int64))
