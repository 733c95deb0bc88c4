"""Which classes come now: those that are not away, and how often each came lately."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

PAUSE = 100
"""Events without one of a class after which it may be away."""
PATIENCE = 4.0
"""A class is away once this many of its usual gaps, and PAUSE events, have passed without it."""
FADE = 0.98
"""What remains of the recent events after each further one."""
LEAST_SHARE = 0.1
"""Of the class that came most often lately: no class is expected less often for having paused."""


class ClassTraffic:
    """When each of K classes came; independent of how events are cut into batches."""

    def __init__(self) -> None:
        self._events = 0
        self._first: NDArray[np.int64] = np.zeros(0, np.int64)  # (K,) number of the first event
        self._last: NDArray[np.int64] = np.zeros(0, np.int64)  # (K,)
        self._count: NDArray[np.int64] = np.zeros(0, np.int64)  # (K,)
        self._recent: Floats = np.zeros(0)  # (K,) weights, faded

    def grow(self, classes: int) -> None:
        """Room for this many classes, of which no event has come."""
        more = max(0, classes - len(self._last))
        for name in ("_first", "_last", "_count", "_recent"):
            setattr(self, name, np.pad(getattr(self, name), (0, more)))

    @property
    def known(self) -> Mask:
        """Classes of which an event has come, (K,)."""
        return self._count > 0

    @property
    def away(self) -> Mask:
        """Known classes that are away after the last event, (K,)."""
        return self.known & (self._events - 1 - self._last > self._reach())

    def _reach(self) -> Floats:
        """Events without one of a class, (K,), after which it is away."""
        usual = (self._last - self._first) / np.maximum(self._count - 1, 1)
        reach: Floats = np.maximum(PAUSE, PATIENCE * usual)
        return reach

    def seen(self, codes: NDArray[np.int32], weights: Floats) -> Mask:
        """Take note of events; which classes were present at each, (n, K): its own, and those that were not away."""
        last = np.where(self._count > 0, self._last, np.iinfo(np.int64).min // 2)
        reach = self._reach()
        present = np.empty((len(codes), len(last)), dtype=np.bool_)
        for row, (code, weight) in enumerate(zip(codes.tolist(), weights.tolist())):
            now = self._events + row
            if not self._count[code]:
                self._first[code] = now
            elif (gap := PATIENCE * (now - self._first[code]) / self._count[code]) > PAUSE:
                reach[code] = gap
            else:
                reach[code] = PAUSE
            self._count[code] += 1
            last[code] = now
            np.less_equal(now - last, reach, out=present[row])
            self._recent *= FADE
            self._recent[code] += weight
        self._events += len(codes)
        self._last = np.where(self._count > 0, last, 0)
        return present

    def log_shares(self) -> Floats:
        """(K,): logarithms of how often each class came lately, at least LEAST_SHARE of the most frequent one's."""
        shares = (self._recent + 0.5) / (self._recent + 0.5).sum()
        logs: Floats = np.log(np.maximum(shares, LEAST_SHARE * shares.max(initial=0.0)))
        return logs

    def tensors(self) -> dict[str, Array]:
        """For a state."""
        return {
            "traffic.first": self._first,
            "traffic.last": self._last,
            "traffic.count": self._count,
            "traffic.recent": self._recent,
        }

    def meta(self) -> dict[str, int]:
        """For a state."""
        return {"traffic_events": self._events}

    def restore(self, tensors: Mapping[str, Array], meta: Mapping[str, int]) -> None:
        """Restore from `tensors()` and `meta()`."""
        self._events = meta["traffic_events"]
        self._first, self._last = np.array(tensors["traffic.first"]), np.array(tensors["traffic.last"])
        self._count, self._recent = np.array(tensors["traffic.count"]), np.array(tensors["traffic.recent"])
