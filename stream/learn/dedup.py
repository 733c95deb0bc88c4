"""Deduplication: recognises redelivered events by id, within a bounded window of the newest ids.

Producers that retry deliver some events twice. The window is part of the state, so the dropped events depend on the
log alone, and a restart drops the same ones.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State

_HASHED = "\0\0"
_LONGEST = 64  # characters; longer ids are kept as hashes, so that the window is bounded in bytes


class RecentIds:
    """The last `window` distinct ids; about 150 bytes each, of long ids their hash. Events without an id are never
    dropped.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._order: deque[str] = deque()
        self._known: set[str] = set()

    def __len__(self) -> int:
        return len(self._order)

    def fresh(self, ids: Sequence[str | None]) -> NDArray[np.bool_] | None:
        """Add the ids and return which of them were new, (N,); None if all were."""
        known, order = self._known, self._order
        distinct = set(ids)
        if len(distinct) == len(ids) and None not in distinct and known.isdisjoint(distinct):  # the usual case
            names = [name for name in ids if name is not None]
            if max(map(len, names), default=0) <= _LONGEST:
                known.update(names)
                order.extend(names)
                for _ in range(len(order) - self._window):
                    known.discard(order.popleft())
                return None
        repeated: list[int] = []
        for row, name in enumerate(ids):
            if name is None:
                continue
            if len(name) > _LONGEST:
                name = _short(name)
            if name in known:
                repeated.append(row)
            else:
                known.add(name)
                order.append(name)
                if len(order) > self._window:
                    known.discard(order.popleft())
        if not repeated:
            return None
        fresh = np.ones(len(ids), dtype=np.bool_)
        fresh[repeated] = False
        return fresh

    def state(self) -> State:
        """All ids, oldest first, as one array of UTF-8 bytes and an array of lengths."""
        order, names = self._order, "".join(self._order)
        sizes = map(len, order if names.isascii() else (name.encode("utf-8", "surrogatepass") for name in order))
        return State(
            {
                "lengths": np.fromiter(sizes, dtype=np.int64, count=len(order)),
                "bytes": np.frombuffer(names.encode("utf-8", "surrogatepass"), dtype=np.uint8),
            }
        )

    def restore(self, state: State) -> None:
        """Restore the window from `state()`; the oldest ids are dropped if this window is smaller."""
        blob = state.tensors["bytes"].tobytes()
        ends = np.cumsum(state.tensors["lengths"]).tolist()
        names = [blob[start:end].decode("utf-8", "surrogatepass") for start, end in zip([0, *ends], ends)]
        names = [_short(name) if len(name) > _LONGEST else name for name in names]  # of versions that kept them whole
        self._order = deque(names[-self._window :] if self._window else [])
        self._known = set(self._order)


def _short(name: str) -> str:
    """A hash of a long id, of at most `_LONGEST` characters; no id of a record begins as it does."""
    return _HASHED + hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()
