"""A watch that rests while labels come: of confidence and of predictions, which are news only without labels.

While labels come, the loss tells what confidence and predictions could only suggest, and the newest rows are held. When
labels have been missing for `LABELS_MISSING` events, a new watch is given what is held, and goes on from there. So it
compares with the last rows for which the loss was known, not with the first ones of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.drift.detectors import Fired, SignalWatch
from thalweg.stream.drift.inputs import ColumnsWatch
from thalweg.stream.drift.seasons.rows import TimedRows
from thalweg.stream.drift.windows import Moved

W = TypeVar("W")
F = TypeVar("F")

LABELS_MISSING = 1000
"""Events without a label after which confidence and predictions are watched instead of the loss."""


class Rested(Generic[W, F]):
    """Holds rows, and watches them where labels are missing.

    Args:
        width: Numbers per row.
        before: Rows held from before labels were missing.
        make: Gives a watch that begins after so many events.
        feed: Feeds it rows of the events from this number on, at some of which the predictions became worse; what it
            finds.
    """

    def __init__(
        self,
        width: int,
        before: int,
        make: Callable[[int], W],
        feed: Callable[[W, TimedRows, int, Sequence[int]], list[F]],
    ) -> None:
        self._most = before + LABELS_MISSING
        self._make, self._feed = make, feed
        self.held = TimedRows.none(width)
        """The newest rows."""
        self.watch: W | None = None
        """None: it rests."""

    def feed(self, rows: TimedRows, first: int, parts: Sequence[tuple[slice, bool]], worse: Sequence[int]) -> list[F]:
        """Feed the rows of the events from number `first` on; what was found where labels are missing.

        `parts`: as `parts_without_labels` gives them.
        """
        found: list[F] = []
        for part, missing in parts:
            some, number = rows.part(part.start, part.stop - part.start), first + part.start
            if not missing:
                self.watch = None
            else:
                if self.watch is None:
                    begin = number - self.held.count
                    self.watch = self._make(begin - 1)
                    self._feed(self.watch, self.held, begin, ())  # what happened then, the loss has told
                found += self._feed(self.watch, some, number, worse)
            self._hold(some)
        return found

    def awake(self, events: int) -> W:
        """The watch, awake without rows, after so many events; to be restored."""
        self.watch = self._make(events)
        return self.watch

    def _hold(self, rows: TimedRows) -> None:
        kept = max(0, self._most - rows.count)
        earlier = self.held.split(self.held.count - kept)[1] if self.held.count > kept else self.held
        newest = rows.newest(self._most)
        self.held = TimedRows(
            np.concatenate([earlier.times, newest.times]), np.concatenate([earlier.values, newest.values])
        )


def resting_signal(before: int, make: Callable[[], SignalWatch]) -> Rested[SignalWatch, Fired]:
    """Of one signal, float32; `before` and `make` as of `Rested`."""

    def feed(watch: SignalWatch, rows: TimedRows, first: int, _: Sequence[int]) -> list[Fired]:
        return watch.feed(rows.values[:, 0].astype(np.float64), np.arange(first, first + rows.count))

    return Rested(1, before, lambda _: make(), feed)


def resting_columns(width: int, before: int, make: Callable[[], ColumnsWatch]) -> Rested[ColumnsWatch, Moved]:
    """Of columns; as of `Rested`."""

    def begun(events: int) -> ColumnsWatch:
        watch = make()
        watch.begin_after(events)
        return watch

    def feed(watch: ColumnsWatch, rows: TimedRows, first: int, worse: Sequence[int]) -> list[Moved]:
        return watch.feed(rows.values, [event for event in worse if event >= first], rows.times)

    return Rested(width, before, begun, feed)


def parts_without_labels(graded: NDArray[np.bool_], before: int) -> list[tuple[slice, bool]]:
    """Consecutive parts of N events, and whether labels are missing in each.

    Args:
        graded: (N,), N > 0.
        before: Events before them since the last graded one.
    """
    count = len(graded)
    if before + count < LABELS_MISSING:
        return [(slice(0, count), False)]
    place = np.arange(count)
    last = np.maximum.accumulate(np.where(graded, place, -1))
    missing = np.where(last >= 0, place - last, before + place + 1) >= LABELS_MISSING
    starts = [0, *(np.flatnonzero(missing[1:] != missing[:-1]) + 1).tolist()]
    return [(slice(start, stop), bool(missing[start])) for start, stop in zip(starts, [*starts[1:], count])]
