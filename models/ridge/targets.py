"""Numeric targets: counted from an origin, and limited where one alone is far beyond all others.

The first target is the origin: sums hold differences from it, so that an offset of 1e9 costs no digits. A target
further from the running mean than `clip` deviations (more while events are few) is learned as if it were that far, so
that one broken reading does not spoil the head for as long as the sums remember it. The fifth such target in a row is
believed: that is a new level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.running_scale import RunningScale
from thalweg.models.ridge.statistics import Statistics
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
IN_A_ROW = 5
"""A target beyond the limit is believed if it is at least the fifth in a row."""
LEARNING = 30.0
"""The limit is wider by this many events' worth, as a share of the events seen."""
FEWEST = 4
"""Events before which nothing is limited."""


class Targets:
    """K targets per event, in order."""

    def __init__(self, targets: int, clip: float | None, *, centred: bool) -> None:
        """Without events.

        Args:
            targets: Numbers per label, K.
            clip: Deviations beyond which a target is limited; None: none is.
            centred: Whether there is an intercept, which can hold what the origin takes away.
        """
        self.origin: Floats = np.zeros(targets)
        """(K,): what sums count from."""
        self._clip, self._centred, self._started = clip, centred, False
        self._scale = RunningScale(targets) if clip is not None else None
        self._beyond = 0  # events in a row beyond the limit

    def stretches(self, events: int) -> Iterator[slice]:
        """Consecutive parts of the next events; `take` one before the next."""
        return self._scale.stretches(events) if self._scale else iter([slice(0, events)])

    def take(self, values: Floats) -> Floats:
        """Targets (n, K) as they are learned, from their origin."""
        if not self._started:
            self._started = True
            if self._centred:
                self.origin = values[0].copy()
        return self._limited(values) - self.origin

    def merge(self, other: Targets, sums: Statistics) -> None:
        """Re-express another worker's sums (D, K) in place, so that they count from this origin."""
        if not other._started:
            return
        if not self._started:
            self.origin, self._started = other.origin.copy(), True
        moved = other.origin - self.origin
        if moved.any():
            sums.cross += np.outer(sums.gram[:, -1], moved)  # the constant is the last feature

    def _limited(self, values: Floats) -> Floats:
        if self._scale is None or self._clip is None:
            return values
        s, seen = self._scale, self._scale.events + np.arange(len(values))[:, None]
        limit = np.where(seen < FEWEST, np.inf, self._clip * (1.0 + LEARNING / np.maximum(seen, 1)))
        room = np.where(s.constant, np.inf, limit / s.factor)
        shift = s.shift
        s.take(values, np.inf)
        beyond: NDArray[np.bool_] = np.asarray((np.abs(values - shift) > room).any(axis=1))
        if not beyond.any():
            self._beyond = 0
            return values
        row = np.arange(1, len(values) + 1)
        last_inside = np.maximum.accumulate(np.where(beyond, 0, row))
        in_a_row = np.where(last_inside > 0, row - last_inside, row + self._beyond)
        self._beyond = int(in_a_row[-1]) if beyond[-1] else 0
        limited = np.clip(values, shift - room, shift + room)
        return np.where((beyond & (in_a_row < IN_A_ROW))[:, None], limited, values)

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`."""
        found: dict[str, Array] = {"origin": self.origin}
        if self._scale is not None:
            found |= {f"scale.{name}": array for name, array in self._scale.tensors().items()}
        return found

    def meta(self) -> dict[str, Any]:
        """Counters for `state()`."""
        scale = [self._scale.events, self._scale.next_step] if self._scale else None
        return {"started": self._started, "beyond": self._beyond, "scale": scale}

    def restore(self, tensors: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
        """Restore from `tensors()` and `meta()`; copies."""
        self.origin = np.array(tensors["origin"])
        self._started, self._beyond = meta["started"], meta["beyond"]
        if self._scale is not None:
            scale = {name.removeprefix("scale."): array for name, array in tensors.items() if name != "origin"}
            self._scale.restore(scale, *meta["scale"])
