"""Which classes came at the same time, and which of those away would be taken for one that still comes.

How often two classes are asked for is known from the stream where both came at the same time. Where one had gone before
the other came, the stream says nothing about it, and both count alike.
State: 12 C² bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

Counts = NDArray[np.int32]
Mask = NDArray[np.bool_]
Codes = NDArray[np.int32]
BLOCK = 32
"""Events that came at the same time."""
MIXED = 0.5
"""Two classes were mixed if both came in this share of the blocks in which the rarer one came, while both came."""
FEW = 2
"""Blocks added to those of the rarer one: one class ends in the block in which the next begins."""
HELD = 512
"""Events that wait to be counted, at most."""
FADE = 0.98
"""Weight of an event's predecessor of the same class in the share that was taken for another."""
REPLACED = 0.7
"""One that comes has replaced one that is away if that takes more than this many times the events that it keeps …"""
LEAST = 0.1
"""… and more than this share of them: some twenty events."""


class Pairs:
    """What is known of pairs of C classes; the same however the log is cut, for `add`."""

    def __init__(self) -> None:
        self._together: Counts = np.zeros((0, 0), np.int32)  # (C, C): blocks in which both came; diagonal: one class
        self._until: Counts = np.zeros((0, 0), np.int32)  # (C, C): blocks of the column's class, until the row's last
        self._taken: NDArray[np.float32] = np.zeros((0, 0), np.float32)  # (C, C): of the row's, taken for the column's
        self._codes: Codes = np.zeros(HELD, np.int32)  # of events that wait to be counted: many cost as much as one
        self._held = 0

    def grow(self, columns: int) -> None:
        """Add classes up to `columns`."""
        if (more := columns - len(self._taken)) > 0:
            self._together = np.pad(self._together, (0, more))
            self._until = np.pad(self._until, (0, more))
            self._taken = np.pad(self._taken, (0, more))

    def add(self, codes: Codes) -> None:
        """Count n events."""
        if self._held + len(codes) > HELD:
            self._count(np.concatenate([self._codes[: self._held], codes]))
        else:
            self._codes[self._held : self._held + len(codes)] = codes
            self._held += len(codes)

    def _count(self, codes: Codes) -> None:
        """Count the complete blocks of these events, and hold the rest."""
        blocks, columns = len(codes) // BLOCK, len(self._taken)
        self._held = len(codes) - blocks * BLOCK
        self._codes[: self._held] = codes[blocks * BLOCK :]
        if not blocks:
            return
        places = np.repeat(np.arange(blocks) * columns, BLOCK) + codes[: blocks * BLOCK]
        came = np.bincount(places, minlength=blocks * columns).reshape(blocks, columns) > 0
        classes = np.flatnonzero(came.any(axis=0))
        before, mine = self._together.diagonal().copy(), came[:, classes].astype(np.float64)
        self._together[classes[:, None], classes] += (mine.T @ mine).astype(np.int32)
        last = blocks - 1 - came[::-1, classes].argmax(axis=0)
        self._until[classes] = before + np.cumsum(came, axis=0)[last]

    def take(self, codes: Codes, predicted: NDArray[np.intp], away: Mask) -> None:
        """Count for which class n events would have been taken before they were learned.

        Args:
            codes: Their classes (n,).
            predicted: By the head of all that is known (n,).
            away: The classes that were away, (C',), C' ≤ C.
        """
        counted = away[predicted] | (predicted == codes)
        if len(codes) == 1:  # as below
            self._taken[codes[0]] *= FADE
            if counted[0]:
                self._taken[codes[0], predicted[0]] += 1.0 - FADE
            return
        for code in np.unique(codes).tolist():
            mine = np.flatnonzero(codes == code)
            weights = (1.0 - FADE) * FADE ** np.arange(len(mine) - 1, -1, -1)
            self._taken[code] *= FADE ** len(mine)
            np.add.at(self._taken[code], predicted[mine][counted[mine]], weights[counted[mine]])

    def priced(self, away: Mask) -> Mask:
        """For each class that is away and each that is not, (A, P), whether recalling the first has a price.

        It has where they were mixed, or where the second has replaced the first.
        """
        self._count(self._codes[: self._held].copy())
        count = len(away)
        together, taken = self._together[:count, :count], self._taken[:count, :count]
        there, here = np.flatnonzero(away), np.flatnonzero(~away)
        rarer = np.minimum(together.diagonal()[there][:, None], self._until[np.ix_(there, here)])
        mixed = together[np.ix_(there, here)] >= MIXED * (rarer + FEW)
        lost, kept = taken[np.ix_(here, there)].T, taken.diagonal()[here]
        return np.asarray(mixed | ((lost > REPLACED * kept) & (lost > LEAST)))

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`."""
        held = self._codes[: self._held]
        return {"together": self._together, "until": self._until, "taken": self._taken, "held": held}

    def restore(self, tensors: Mapping[str, Array], columns: int) -> None:
        """Restore from `tensors()`; copies. Without them all of `columns` classes count as mixed."""
        self._held = 0
        if "together" in tensors:
            self._together, self._until = np.array(tensors["together"]), np.array(tensors["until"])
            self._taken = np.array(tensors["taken"])
            self._held = len(tensors["held"])
            self._codes[: self._held] = tensors["held"]
        else:
            self._together = np.full((columns, columns), FEW, np.int32)
            self._until, self._taken = self._together.copy(), np.zeros((columns, columns), np.float32)
