"""What a challenger lost on the champion's events: found by place and offset, whatever the cut of blocks.

Each model reads each partition in the order of its offsets, but goes through the partitions as it likes. A challenger
is waited for until it has consumed the champion's records. Whatever it then has no loss for, it gave no answer to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.comparison.block_losses import BY_ID, BlockLosses
from thalweg.stream.comparison.pairing_by_id import PairsById

MOST_EVENTS = 4 << 20
"""Losses of a challenger in memory at most; further ones, of partitions that it reads far ahead, are not compared."""


@dataclass(frozen=True, slots=True)
class _Run:
    """The losses of one block in one place: everything above `before` up to `last` was consumed."""

    before: int
    last: int
    offsets: NDArray[np.int64]
    losses: NDArray[np.float64]


class Pairs:
    """A challenger's losses that wait for the champion's. Not thread-safe.

    `most_events`: losses in memory at most.
    """

    def __init__(self, most_events: int = MOST_EVENTS) -> None:
        self._most_events = most_events
        self._runs: dict[str, deque[_Run]] = {}
        self._reached: dict[str, int] = {}
        self.events = 0
        """Losses that wait."""
        self.by_id = PairsById()
        """Those of events with late labels."""

    def add(self, block: BlockLosses, done: Mapping[str, int]) -> None:
        """The losses of the challenger's next block; what is `done` already, by place, is left out."""
        self.by_id.add(block)
        for place, (before, last) in block.spans.items():
            if place.startswith(BY_ID):
                continue
            reached = max(self._reached.get(place, -1), done.get(place, -1))
            if last <= reached:
                continue  # written again
            mine = np.zeros(0, dtype=np.intp)
            if place in block.places:
                mine = np.flatnonzero((block.which == block.places.index(place)) & (block.offsets > reached))
            self._reached[place] = last
            if self.events + len(mine) <= self._most_events:
                run = _Run(max(before, reached), last, block.offsets[mine], block.losses[mine])
                self._runs.setdefault(place, deque()).append(run)
                self.events += len(mine)

    def behind(self, spans: Mapping[str, tuple[int, int]], done: Mapping[str, int]) -> bool:
        """Whether the challenger has not consumed all records of these spans that are not `done`."""
        return any(
            last > max(self._reached.get(place, -1), done.get(place, -1))
            for place, (_, last) in spans.items()
            if not place.startswith(BY_ID)
        )

    def losses_at(self, place: str, offsets: NDArray[np.int64]) -> NDArray[np.float64]:
        """The challenger's losses at these offsets (N,) of one place, rising, with equal ones for one record.

        Returns:
            (N,): infinite where it consumed the record and has no loss; NaN where nobody knows what it lost, or where
            it found another number of labelled events in the record.
        """
        found = np.full(len(offsets), np.nan)
        for run in self._runs.get(place, ()):
            inside = np.flatnonzero((offsets > run.before) & (offsets <= run.last))
            if len(inside):
                found[inside] = _in_record(offsets[inside], run)
        return found

    def drop(self, done: Mapping[str, int]) -> None:
        """Forget what is not above these offsets by place."""
        for place, runs in self._runs.items():
            last = done.get(place, -1)
            while runs and runs[0].last <= last:
                self.events -= len(runs.popleft().losses)


def _in_record(wanted: NDArray[np.int64], run: _Run) -> NDArray[np.float64]:
    """The losses at these offsets, which all are in the run: the n-th of a record is paired with its n-th."""
    records, begins, counts = np.unique(wanted, return_index=True, return_counts=True)
    left = np.searchsorted(run.offsets, records, side="left")
    there = np.searchsorted(run.offsets, records, side="right") - left
    record = np.searchsorted(records, wanted)  # (N,) which of `records`
    nth = np.arange(len(wanted)) - begins[record]
    found = np.full(len(wanted), np.nan)
    found[there[record] == 0] = np.inf
    same = (counts == there)[record]
    worst = np.isnan(run.losses[(left[record] + nth)[same]])
    found[same] = np.where(worst, np.inf, run.losses[(left[record] + nth)[same]])
    return found
