"""Which classes came at the same time, and which of those away would be taken for one that still comes.

How often two classes are asked for is known from the stream where both came at the same time. Where one had gone before
the other came, the stream says nothing about it, and both count alike.
State: 16 C² bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Codes = NDArray[np.int32]
BLOCK = 32
"""Events that came at the same time."""
MIXED = 0.5
"""Two classes are mixed if both came in this share of the blocks in which the rarer one came."""
FADE = 0.98
"""Weight of an event's predecessor of the same class in the share that was taken for another."""
REPLACED = 0.4
"""A class that takes more than this share of the events of one that still comes has been replaced by it."""


class Pairs:
    """What is known of pairs of C classes; the same however the log is cut, for `add`."""

    def __init__(self) -> None:
        self._together: NDArray[np.int64] = np.zeros((0, 0), np.int64)  # (C, C): blocks; diagonal: of one class
        self._taken: Floats = np.zeros((0, 0))  # (C, C): recent share of events of the row that the column took
        self._block: Mask = np.zeros(0, bool)  # (C,): classes of the block that is not complete

    def grow(self, columns: int) -> None:
        """Add classes up to `columns`."""
        if (more := columns - len(self._block)) > 0:
            self._together = np.pad(self._together, (0, more))
            self._taken = np.pad(self._taken, (0, more))
            self._block = np.pad(self._block, (0, more))

    def add(self, codes: Codes, start: int) -> None:
        """Count n events, of which the first has this number."""
        n = len(codes)
        if n == 1:  # as below
            self._block[codes[0]] = True
            if (start + 1) % BLOCK == 0:
                self._close(np.flatnonzero(self._block))
            return
        blocks = (start % BLOCK + np.arange(n)) // BLOCK
        classes, at = np.unique(codes, return_inverse=True)
        came: Floats = np.zeros((int(blocks[-1]) + 1, len(classes)))
        came[blocks, at] = 1.0
        complete = (start + n) // BLOCK - start // BLOCK
        if complete:
            self._block[classes[came[0] > 0]] = True
            self._close(np.flatnonzero(self._block))
            several = came[1:complete]
            self._together[np.ix_(classes, classes)] += (several.T @ several).astype(np.int64)
        if complete < len(came):
            self._block[classes[came[complete] > 0]] = True

    def _close(self, classes: NDArray[np.intp]) -> None:
        self._together[np.ix_(classes, classes)] += 1
        self._block[:] = False

    def take(self, codes: Codes, predicted: NDArray[np.intp], away: Mask) -> None:
        """Count for which class n events would have been taken before they were learned.

        Args:
            codes: Their classes (n,).
            predicted: By the head of all that is known (n,).
            away: The classes that were away, (C',), C' ≤ C.
        """
        taken = away[predicted]
        for code in np.unique(codes).tolist():
            mine = np.flatnonzero(codes == code)
            weights = (1.0 - FADE) * FADE ** np.arange(len(mine) - 1, -1, -1)
            self._taken[code] *= FADE ** len(mine)
            np.add.at(self._taken[code], predicted[mine][taken[mine]], weights[taken[mine]])

    def priced(self, away: Mask) -> Mask:
        """For each class that is away and each that is not, (A, P), whether recalling the first has a price.

        It has where they were mixed, or where the second has replaced the first.
        """
        count = len(away)
        together, taken = self._together[:count, :count], self._taken[:count, :count]
        there, here = np.flatnonzero(away), np.flatnonzero(~away)
        own = together.diagonal()
        rarer = np.maximum(np.minimum(own[there][:, None], own[here]), 1)
        mixed = together[np.ix_(there, here)] >= MIXED * rarer
        return np.asarray(mixed | (taken[np.ix_(here, there)].T > REPLACED))

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`."""
        return {"together": self._together, "taken": self._taken, "block": self._block}

    def restore(self, tensors: Mapping[str, Array], columns: int) -> None:
        """Restore from `tensors()`; copies. Without them all of `columns` classes count as mixed."""
        if "together" in tensors:
            self._together, self._taken = np.array(tensors["together"]), np.array(tensors["taken"])
            self._block = np.array(tensors["block"])
        else:
            self._together, self._taken = np.ones((columns, columns), np.int64), np.zeros((columns, columns))
            self._block = np.zeros(columns, bool)
