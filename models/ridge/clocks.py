"""A clock for each class: what is known of a class is not forgotten while the class is away.

Sums that decay by the clock of the stream forget a class that no longer comes. Here a class's clock stops after `PAUSE`
events without one of it. Cross-moments and weights at these clocks differ from the common ones only by an excess, and
only the excess is stored: it is zero for a class that was never away.
State: 8 D C bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.strays import ONCE_OR_TWICE, strays
from thalweg.models.ridge.rescaled import Rescaling
from thalweg.models.ridge.statistics import TINY, Statistics, drops_denormals
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
PAUSE = 100
"""Events without an event of a class after which its clock stops."""
PATIENCE = 4.0
"""A class is away once this many of its usual gaps (at most PAUSE each), and PAUSE events, have passed without it."""
SURE = 7.0
"""It has gone for sure once such a gap, of a class that came as often as it did, is this unlikely, in nats."""
FOLDED = 100.0
"""The excess of a class is stored before its common sums have decayed by e to this power: they would underflow."""


class ClassClocks:
    """When each class came, and its sums at its own clock."""

    def __init__(self, size: int, decay: float) -> None:
        """Without events.

        Args:
            size: Features, D.
            decay: λ of the sums to which the excess belongs, < 1.
        """
        self._decay = decay
        self.events = 0
        self._excess: Floats = np.zeros((size, 0), order="F")  # (D, C)
        self._excess_weight: Floats = np.zeros(0)  # (C,)
        self._first: NDArray[np.int64] = np.zeros(0, np.int64)  # (C,): number of the first event, -1: none
        self._last: NDArray[np.int64] = np.zeros(0, np.int64)  # (C,): of the last; moved up when an excess is stored
        self._idle: NDArray[np.int64] = np.zeros(0, np.int64)  # (C,): events by which it was moved up
        self._count: NDArray[np.int64] = np.zeros(0, np.int64)  # (C,): events
        self._folded: NDArray[np.int64] = np.zeros(0, np.int64)  # (C,): of the idle ones, those without a return
        self._oldest = 0  # at most the least of _last: most calls need not look at it
        self._excessive = False  # whether any excess may differ from zero

    def grow(self, columns: int) -> None:
        """Add columns up to `columns`."""
        more = columns - len(self._last)
        if more <= 0:
            return
        self._excess = np.asfortranarray(np.pad(self._excess, ((0, 0), (0, more))))
        self._excess_weight = np.pad(self._excess_weight, (0, more))
        self._first = np.pad(self._first, (0, more), constant_values=-1)
        self._last, self._oldest = np.pad(self._last, (0, more)), 0
        self._idle, self._count = np.pad(self._idle, (0, more)), np.pad(self._count, (0, more))
        self._folded = np.pad(self._folded, (0, more))

    def stores(self, codes: NDArray[np.int32]) -> bool:
        """Whether `add` of these n events may look at the common sums, which must hold all earlier events then."""
        n, start = len(codes), self.events
        if start + n - self._oldest <= PAUSE:
            return False
        self._oldest = oldest = int(self._last.min(initial=start))
        if start + n - oldest <= PAUSE:
            return False
        if (start - oldest - PAUSE) * -math.log(self._decay) >= FOLDED:
            return True
        last = self._last[codes]
        return bool(((start + np.arange(n) - last > PAUSE) & (self._count[codes] > 0)).any())

    def add(self, codes: NDArray[np.int32], common: Statistics) -> None:
        """Count n events, before they are added to the common sums; none of a class more than PAUSE after another."""
        n, start = len(codes), self.events
        self.events += n
        if start + n - self._oldest > PAUSE:
            self._oldest = int(self._last.min(initial=start))
        if start + n - (oldest := self._oldest) > PAUSE:
            soon = codes[: max(0, PAUSE + 1 + oldest - start)]  # a class that is among these has made no pause
            if not np.bincount(soon, minlength=len(self._last)).all():
                self._store(codes, start, common)
        if self._excessive:
            self.fade(self._decay**n)
            if drops_denormals(self._decay, start, self.events):
                self._excess[np.abs(self._excess) < TINY] = 0.0
        if n == 1 and self._first[code := int(codes[0])] >= 0:  # as below
            self._last[code] = start
            self._count[code] += 1
            return
        places = start + np.arange(n)
        first = self._first[codes]
        if first.min(initial=0) < 0:
            backwards = np.flatnonzero(first < 0)[::-1]  # of several assignments the last one counts
            self._first[codes[backwards]] = places[backwards]
        self._last[codes] = places
        self._count += np.bincount(codes, minlength=len(self._count))

    def _store(self, codes: NDArray[np.int32], start: int, common: Statistics) -> None:
        """Store the excess of classes that come back, and of those whose common sums are about to vanish."""
        returned, at = np.unique(codes, return_index=True)
        still = np.maximum(start - self._last - PAUSE, 0)
        still[still * -math.log(self._decay) < FOLDED] = 0
        self._folded += still
        self._folded[returned] -= still[returned]
        still[returned] = np.maximum(start + at - self._last[returned] - PAUSE, 0)
        classes = np.flatnonzero((self._count > 0) & (still > 0))
        if not len(classes):
            return
        still = still[classes]
        more = self._decay ** -still.astype(np.float64) - 1.0
        self._excess[:, classes] += (common.cross[:, classes] + self._excess[:, classes]) * more
        self._excess_weight[classes] += (common.class_weight[classes] + self._excess_weight[classes]) * more
        self._excessive = True
        self._last[classes] += still
        self._idle[classes] += still

    def fade(self, share: float) -> None:
        """Multiply the weight of everything added so far by this factor."""
        self._excess *= share
        self._excess_weight *= share

    def rescale(self, common: Statistics, rescaling: Rescaling) -> None:
        """Re-express the common sums and the excess under a new scale."""
        more = rescaling.of_classes(common, *self.own(common))
        rescaling.apply(common, self._excess)
        if more is not None:
            self._excess += more / self._gain()
            self._excessive = True

    def move(self, rescaling: Rescaling, means: Floats) -> None:
        """Re-express the excess alone; the inputs have these means (F,)."""
        if self._excessive:
            rescaling.cross(self._excess, means)

    def own(self, common: Statistics) -> tuple[Floats, Floats]:
        """Cross-moments (D, C) and weights (C,) at the classes' own clocks."""
        gain = self._gain()
        return (common.cross + self._excess) * gain, (common.class_weight + self._excess_weight) * gain

    def _gain(self) -> Floats:
        """What sums at the common clock are multiplied with (C,) to stand at the classes' own."""
        still = np.maximum(self.events - 1 - self._last - PAUSE, 0).astype(np.float64)
        return np.asarray(np.where(self._count > 0, self._decay**-still, 1.0))

    def pausing(self) -> bool:
        """Whether the clock of any class may stand still now."""
        if self.events - 1 - self._oldest <= PAUSE:
            return False
        self._oldest = int(self._last.min(initial=self.events))
        return self.events - 1 - self._oldest > PAUSE

    def away(self) -> Mask:
        """The classes (C,) that no longer come, but for those that came so seldom that each may be a mistyped label."""
        age = np.maximum(self.events - self._first - self._idle, 1)
        usual = np.minimum(age / np.maximum(self._count, 1), PAUSE)
        known = (self._count > 0) & ~strays(self._count)
        return np.asarray(known & (self.events - 1 - self._last > PAUSE + PATIENCE * usual))

    def rates(self) -> Floats:
        """The share of all events, (C,), of a class that may only be making a pause, as one of an event in five hundred
        does; 1 for one that has gone. Of the few events of another it is known that none came before the first.
        """
        gap = self.events - 1 - self._last
        began = np.where(self._count > ONCE_OR_TWICE, self._first, 0)
        span = np.maximum(self._last - began - self._folded, 0) + 1
        gone = self._count * np.log1p(gap / span) > SURE
        return np.asarray(np.where(gone | (self._count == 0), 1.0, self._count / (span + gap)))

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`; `events` is saved separately."""
        clocks = np.array([self._first, self._last, self._idle, self._count, self._folded])
        return {"excess": self._excess.T, "excess_weight": self._excess_weight, "clocks": clocks}

    def restore(self, tensors: Mapping[str, Array], events: int) -> None:
        """Restore from `tensors()`; copies."""
        self.events = events
        self._excess = np.array(tensors["excess"], order="C").T
        self._excess_weight = np.array(tensors["excess_weight"])
        self._first, self._last, self._idle, self._count, *folded = np.array(tensors["clocks"])
        self._folded = folded[0] if folded else np.zeros_like(self._idle)  # an earlier version did not keep them
        self._oldest, self._excessive = 0, bool(self._excess.any())


def pauses_within(codes: NDArray[np.int32]) -> bool:
    """Whether one of these n events is the first of its class for more than PAUSE events, and not the first of all."""
    if len(codes) <= PAUSE:
        return False
    order = np.argsort(codes, kind="stable")
    same = codes[order][1:] == codes[order][:-1]
    return bool((np.diff(order)[same] > PAUSE).any())
