"""The recent window: columns of the latest events, in ring buffers that are overwritten in place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

Floats = NDArray[np.float64]


class RecentWindow:
    """The latest `size` events, and the lowest accuracy (column `correct`) that the full window ever had."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pushed = 0
        """Number of events pushed."""
        self.lowest = math.nan
        """The lowest accuracy; NaN until the window was full."""
        self._rings: dict[str, Floats] = {}
        self._hits = 0.0

    def __len__(self) -> int:
        return min(self.pushed, self.size)

    def push(self, columns: Mapping[str, Any], count: int) -> None:
        """Push values (N,), or one value for all, of N events; columns that are not named become NaN."""
        if "correct" in columns:
            self._note_lowest(columns["correct"])
        kept = min(count, self.size)
        start = (self.pushed + count - kept) % self.size
        until_end = min(kept, self.size - start)
        if new := columns.keys() - self._rings.keys():
            self._rings |= {name: np.full(self.size, np.nan) for name in new}
        for name, ring in self._rings.items():
            column = columns.get(name, math.nan)
            if isinstance(column, float):
                ring[start : start + until_end] = ring[: kept - until_end] = column
                continue
            newest = column[count - kept :] if count > kept else column
            ring[start : start + until_end] = newest[:until_end]
            if until_end < kept:
                ring[: kept - until_end] = newest[until_end:]
        self.pushed += count

    def columns(self) -> dict[str, Floats]:
        """Copies of all columns, (len,), in no particular order."""
        return {name: ring[: len(self)].copy() for name, ring in self._rings.items()}

    def column(self, name: str) -> Floats | None:
        """A view of one column, (len,); None if it does not exist."""
        ring = self._rings.get(name)
        return None if ring is None else ring[: len(self)]

    def without(self, beyond: Mapping[str, NDArray[np.bool_]]) -> RecentWindow:
        """This window where columns have no value in some rows, by column (len,); for reading only."""
        found = RecentWindow(self.size)
        found.pushed, found.lowest, found._hits = self.pushed, self.lowest, self._hits
        found._rings = dict(self._rings)
        for name, rows in beyond.items():
            found._rings[name] = self._rings[name].copy()
            found._rings[name][: len(self)][rows] = np.nan
        return found

    @property
    def share_right(self) -> float:
        """The accuracy in the window; NaN if it is empty."""
        return self._hits / len(self) if len(self) and "correct" in self._rings else math.nan

    def share_right_after(self, coming: Sequence[NDArray[np.bool_]]) -> float | None:
        """What `share_right` would be after such columns `correct` were pushed, in order, (N,) each; None if events
        in the window have no such column.
        """
        left, hits = self.size, 0.0
        for correct in reversed(coming):
            newest = correct[max(0, len(correct) - left) :]
            hits, left = hits + int(np.count_nonzero(newest)), left - len(newest)
            if not left:
                return hits / self.size
        if earlier := min(len(self), left):
            ring, end = self._rings.get("correct"), self.pushed % self.size
            if ring is None:
                return None
            hits += float(ring[max(0, end - earlier) : end].sum())
            if earlier > end:
                hits += float(ring[end - earlier :].sum())
        events = self.size - left + earlier
        return None if math.isnan(hits) or not events else hits / events

    def _note_lowest(self, correct: NDArray[np.bool_]) -> None:
        """Update the lowest accuracy event by event, before these events are pushed."""
        count, size, earlier = len(correct), self.size, self.pushed
        change = correct.astype(np.float64)
        leaving = min(count, size) - max(0, size - earlier)  # earlier events that leave the window
        if leaving > 0:
            ring, start = self._rings["correct"], max(0, earlier - size) % size
            at = max(0, size - earlier)  # the first of the new events at which one leaves
            until_end = min(leaving, size - start)
            change[at : at + until_end] -= ring[start : start + until_end]
            change[at + until_end : at + leaving] -= ring[: leaving - until_end]
        if count > size:
            change[size:] -= correct[: count - size]
        hits = self._hits + change.cumsum()
        self._hits = float(hits[-1])
        if earlier + count >= size:
            lowest = float(hits[max(0, size - 1 - earlier) :].min()) / size
            self.lowest = lowest if math.isnan(self.lowest) else min(self.lowest, lowest)

    def tensors(self) -> dict[str, Array]:
        """Tensors for a snapshot."""
        return {f"recent.{name}": ring for name, ring in self._rings.items()}

    def restore(self, tensors: Mapping[str, Array], pushed: int, lowest: float) -> None:
        """Restore a window of this size from the result of `tensors()`."""
        found = {name.removeprefix("recent."): ring for name, ring in tensors.items() if name.startswith("recent.")}
        self._rings = {name: ring.copy() for name, ring in found.items()}
        self.pushed, self.lowest = pushed, lowest
        self._hits = float(np.nansum(self._rings["correct"])) if "correct" in self._rings else 0.0
