"""Of a long stream, a sample of the rows is watched: every row at first, then every second, then every fourth.

A test compares a fixed number of rows, so a change is found after twice or four times as many events, of a stream that
is so much longer, at a half or a quarter of the cost. Which rows are watched follows from their numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.drift.inputs import ColumnsWatch
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.drift.windows import Moved

Floats = NDArray[np.float64]

EVERY: tuple[tuple[int, int], ...] = ((65_536, 2), (131_072, 4))
"""After so many events, one row in so many is watched."""
STOP = 4096
"""Events after which it may change which rows are watched."""


class SampledColumns:
    """A watch of columns that is fed by numbers of events; what it finds has the numbers of events, too.

    While seasons are taken out of the columns every row is watched: a season is told from a shift by its rows.
    """

    def __init__(self, watch: ColumnsWatch) -> None:
        self._watch = watch
        self._one_in = 1
        self._taken: NDArray[np.int64] = np.zeros(0, np.int64)  # numbers of the events of the last part that was fed
        self._before = 0  # rows before it
        self._trail: list[tuple[int, Floats]] = []  # of the last call: events of tests, and distances (F,)

    def feed(
        self, rows: NDArray[np.float32], first: int, worse: Sequence[int] = (), times: Floats | None = None
    ) -> list[Moved]:
        """As `ColumnsWatch.feed`.

        Args:
            rows: (N, F), of the events from number `first` on.
            first: Numbers begin with 1.
            worse: Numbers of events, in order, at which the predictions were found worse.
            times: Of the rows (N,).
        """
        found: list[Moved] = []
        start, last, self._trail = first, first + len(rows) - 1, []
        while start <= last:
            end = min(last, (start + STOP - 1) // STOP * STOP) if last > EVERY[0][0] else last
            part = slice(start - first, end + 1 - first)
            some = [event for event in worse if start <= event <= end]
            found += self._feed(rows[part], start, some, None if times is None else times[part])
            if end % STOP == 0:
                self._choose(end)
            start = end + 1
        return found

    def _choose(self, events: int) -> None:
        """How many rows are watched after so many events."""
        due = [every for after, every in EVERY if events >= after]
        self._one_in = due[-1] if due and not self._watch.seasonal else 1

    def _feed(self, rows: NDArray[np.float32], first: int, worse: Sequence[int], times: Floats | None) -> list[Moved]:
        self._before, self._taken = self._watch.rows, np.arange(first, first + len(rows))
        if self._one_in > 1:
            places = slice(-first % self._one_in, None, self._one_in)
            self._taken, rows, times = self._taken[places], rows[places], None if times is None else times[places]
        at = np.searchsorted(self._taken, worse, side="left") + 1 + self._before
        found = [self._numbered(one) for one in self._watch.feed(rows, at.tolist(), times)]
        for tested, distances in self._watch.trail:
            self._trail.append((int(self._taken[tested - self._before - 1]) if tested else first - 1, distances))
        return found

    def _numbered(self, one: Moved) -> Moved:
        at = self._taken
        place = one.rows - self._before - 1
        since = place - (one.rows - one.since)
        before = int(at[since]) if since >= 0 else int(at[0]) + since * self._one_in
        return replace(one, rows=int(at[place]), since=max(0, before))

    def most_moved(self, event: int) -> tuple[tuple[str, float], ...]:
        """The columns farthest from the reference at an event of the last call of `feed`, with their distances."""
        known = [distances for tested, distances in self._trail if tested <= event]
        return self._watch.farthest(known[-1]) if known else ()

    def scores(self) -> dict[str, float]:
        """As of the watch."""
        return self._watch.scores()

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For a snapshot."""
        one_in = {} if self._one_in == 1 else {"one_in": np.array([self._one_in])}
        return {**self._watch.tensors(), **one_in}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """As of the watch."""
        self._watch.restore(tensors)
        self._one_in = int(tensors["one_in"][0]) if "one_in" in tensors else 1

    def begin_after(self, events: int) -> None:
        """Begin with an empty reference, after this many events that are not read."""
        self._watch.begin_after(events)


def columns_watch(params: DriftParams, names: Sequence[str], categorical: NDArray[np.bool_]) -> ColumnsWatch:
    """A watch of these columns as configured."""
    return ColumnsWatch(
        names,
        categorical,
        params.inputs,
        reference_rows=params.reference_events,
        false_alarms=params.false_alarms / 2,  # shared by inputs and predictions
        calm_rows=params.calm_events,
        follow_rows=params.follow_events,
    )
