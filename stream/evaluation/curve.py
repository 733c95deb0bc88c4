"""A bounded history of the main metric, of the model and its frozen baseline, for the page's chart."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State


class CurvePoint(NamedTuple):
    """One point of the curve, taken over the recent window."""

    events: int
    """Events seen."""
    time: float
    """Time of the newest event of the micro-batch, Unix seconds; NaN if it is not finite."""
    live: float
    frozen: float
    """NaN if the baseline has no value."""


class Curve:
    """A limited number of points, at first an eighth of the events apart, later evenly spaced. When it is full, every
    second point is removed and the spacing doubles. A point is taken at the end of a micro-batch.

    Args:
        most: Maximum number of points.
        every: The spacing in events, before it doubles.
        nearest: The smallest spacing, at the very beginning.
    """

    def __init__(self, most: int = 512, every: int = 4096, nearest: int = 64) -> None:
        self._most, self._first, self._nearest = most, every, nearest
        self._every, self._next = every, nearest
        self._points: list[CurvePoint] = []
        self.metric: str | None = None
        """The metric of the values; None before the first point."""

    @property
    def points(self) -> tuple[CurvePoint, ...]:
        """The points, oldest first; any thread may read them."""
        return tuple(self._points)

    def due(self, events: int) -> bool:
        """Whether a point is due."""
        return events >= self._next

    def add(self, metric: str, point: CurvePoint) -> None:
        """Add a point; a change of metric clears the curve."""
        if metric != self.metric:
            self._points, self._every, self.metric = [], self._first, metric
        self._points.append(point)
        if len(self._points) >= self._most:
            apart = (self._points[-1].events - self._points[0].events) // (len(self._points) - 1)
            self._points = self._points[1::2]
            self._every = 2 * max(self._every, apart)  # micro-batches may be larger than the spacing
        eighth = 1 << max(0, point.events.bit_length() - 4)
        spacing = max(self._nearest, min(self._every, eighth))
        self._next = (point.events // spacing + 1) * spacing

    def state(self) -> State:
        """The state that later points depend on."""
        rows = [(point.time, point.live, point.frozen) for point in self._points]
        tensors = {
            "events": np.array([point.events for point in self._points], dtype=np.int64),
            "points": np.array(rows, dtype=np.float64).reshape(len(rows), 3),
        }
        return State(tensors, {"metric": self.metric, "every": self._every, "next": self._next})

    def restore(self, state: State) -> None:
        """Restore from `state()`."""
        numbers = state.tensors["events"].tolist()
        rows = state.tensors["points"].tolist()
        self._points = [CurvePoint(events, *row) for events, row in zip(numbers, rows)]
        self.metric, self._every, self._next = (state.meta[name] for name in ("metric", "every", "next"))


def newest_time(times: NDArray[np.float64]) -> float:
    """The time of the newest event of a micro-batch; NaN if there is none, or if it is not finite."""
    newest = float(times.max()) if len(times) else math.nan
    return newest if math.isfinite(newest) else math.nan
