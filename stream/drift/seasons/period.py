"""One period, such as a day: what a column does in each part of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FIRST_TIME = 1e8
"""Smaller times are no times: events of a file without a column of times are numbered."""
_BELIEVED, _DOUBTED = 0.5, 0.9  # shares of the variance between cells that the profile leaves
_LEAST_ROWS = 64  # of a passage; shorter periods average out within the tested windows
_LEAST_CELLS = 3


class Period:
    """One period: its profile, and the passage that is being seen."""

    def __init__(self, seconds: float, cells: int, memory: int, columns: int) -> None:
        self.seconds, self._cells, self._memory = seconds, cells, memory
        self.origin: float | None = None
        self._passage = 0
        shape = (cells, columns)
        self._sums, self._weights = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        self._profile, self._seen = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        self._left: NDArray[np.float64] = np.zeros((2, columns))  # between cells: without the profile, and with it
        self.believed: NDArray[np.bool_] = np.zeros(columns, dtype=np.bool_)
        self.adopted: Floats | None = None
        """(cells, M), what is explained; None: nothing."""
        self._rows = 0.0  # of a passage, at most, lately …
        self.rows = 0.0
        """… and when `adopted` was learned."""

    def learn(self, times: NDArray[np.float64], sums: Floats, numbers: Floats) -> bool:
        """Learn from sums of deviations from the usual level over so many rows (N, M), at times (N,).

        Returns whether a passage has ended.
        """
        order = np.sort(times)
        late = float(order[(len(order) * 9 - 1) // 10])  # the newest may be wrong
        if late - order[len(order) // 10] > self.seconds / 2:
            return False
        if self.origin is None:
            self.origin = float(order[0])
        newest = int(np.floor((late - self.origin) / self.seconds))
        ended = newest != self._passage
        if ended:
            self._end()
            self._passage = newest
        begins = self.origin + newest * self.seconds
        if order[0] < begins or order[-1] >= begins + self.seconds:
            belong = (times >= begins) & (times < begins + self.seconds)
            times, sums, numbers = times[belong], sums[belong], numbers[belong]
        shares = self._hats(times)
        self._sums += shares.T @ sums
        self._weights += shares.T @ numbers
        return ended

    def recenter(self, moved: Floats) -> None:
        """Deviations are measured from a level that is higher by so much (M,)."""
        self._sums -= self._weights * moved

    def break_passage(self) -> None:
        """What follows has another level."""
        if self._seen.any():  # else there is nothing yet that both parts could be compared with
            self._end()

    def differs(self, usual: Floats) -> bool:
        """Whether what was learned differs from what is adopted, for any column, by a tenth of its deviation (M,)."""
        now, before = self._trusted(), self.adopted
        if before is None:
            return bool(now.any())
        gap = np.sqrt(((now - before).astype(np.float64) ** 2).mean(axis=0))
        return bool((gap > 0.1 * usual).any())

    def adopt(self) -> Floats | None:
        """Explain by what was learned. Returns the change (cells, M), None if there is none."""
        now, before = self._trusted(), self.adopted
        self.rows = self._rows
        if before is None:
            self.adopted = now if now.any() else None
            return self.adopted
        self.adopted = now
        return now - before

    def give(self, shorter: Period) -> None:
        """Let a shorter period have what this profile does each time that one passes: the mean over a whole passage
        is free of what the longer period does in the few passages that the shorter one remembers.
        """
        times = round(self.seconds / shorter.seconds)
        per = self._cells // times
        may = (self._seen > 0).all(axis=0) & shorter.believed
        if shorter.adopted is None or not may.any():
            return
        each = np.where(may, self._profile.reshape(times, per, -1).mean(axis=0), np.float32(0.0))
        given = _hats(shorter._centers(), shorter.seconds, per) @ each
        shorter._profile += given
        self._profile -= shorter._hats(self._centers()) @ given

    def leave(self, shorter: Period, change: Floats, *, first: bool) -> None:
        """A shorter period now explains this (cells, M) more: take it out of the present passage.

        `first`: it explained nothing before, so that earlier passages hold it, too.
        """
        if shorter.seconds >= self.seconds / self._cells:  # else it has averaged out within a cell
            more = shorter._hats(self._centers()) @ change
            self._sums -= self._weights * more
            if first:
                self._profile -= np.where(self._seen > 0, more, np.float32(0.0))

    def explained(self, times: NDArray[np.float64]) -> Floats | None:
        """(N, M), or (1, M) for all; None for nothing."""
        if self.adopted is None:
            return None
        sound = times >= FIRST_TIME
        if sound.all():
            return self._hats(times) @ self.adopted
        found = np.zeros((len(times), self.adopted.shape[1]), dtype=np.float32)
        if sound.any():
            found[sound] = self._hats(times[sound]) @ self.adopted
        return found

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For a snapshot."""
        at = np.array([np.nan if self.origin is None else self.origin, self._passage, self._rows, self.rows])
        nothing = np.zeros((0, self._sums.shape[1]), dtype=np.float32)
        return {
            "at": at,
            "sums": self._sums,
            "weights": self._weights,
            "profile": self._profile,
            "seen": self._seen,
            "left": self._left,
            "believed": self.believed.astype(np.uint8),
            "adopted": nothing if self.adopted is None else self.adopted,
        }

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Become the one whose `tensors()` these are."""
        origin, passage, self._rows, self.rows = tensors["at"].tolist()
        self.origin, self._passage = None if np.isnan(origin) else origin, int(passage)
        self._sums, self._weights = tensors["sums"].copy(), tensors["weights"].copy()
        self._profile, self._seen = tensors["profile"].copy(), tensors["seen"].copy()
        self._left, self.believed = tensors["left"].copy(), tensors["believed"].astype(np.bool_)
        self.adopted = tensors["adopted"].copy() if len(tensors["adopted"]) else None

    def _hats(self, times: NDArray[np.float64]) -> Floats:
        return _hats(times, self.seconds, self._cells)

    def _centers(self) -> NDArray[np.float64]:
        return np.asarray((np.arange(self._cells) + 0.5) * (self.seconds / self._cells))

    def _trusted(self) -> Floats:
        return np.where(self.believed & (self._seen >= 2), self._profile, np.float32(0.0))

    def _end(self) -> None:
        """The passage is over: judge the profile by it, and learn from it."""
        weights = self._weights.astype(np.float64)
        seen = weights >= 0.5
        rows = float(weights.sum(axis=0).max(initial=0.0))
        self._rows = max(rows, 0.75 * self._rows)
        if rows >= _LEAST_ROWS and seen.any(axis=1).sum() >= _LEAST_CELLS:
            means = np.where(seen, self._sums / np.maximum(weights, 0.5), 0.0)
            both = np.where(self._seen > 0, weights, 0.0) * seen
            total = both.sum(axis=0)
            old = self._profile.astype(np.float64)
            comparable = total >= _LEAST_ROWS / 2
            level = _mean(means, np.where(comparable, both, weights * seen))
            rest_level = np.where(comparable, _mean(means - old, both), level)
            if comparable.any():
                left = np.stack([_spread(means, level, both), _spread(means - old, rest_level, both)])
                self._left = np.where(comparable, (1.0 - 1.0 / self._memory) * self._left + left, self._left)
                ratio = self._left[1] / np.maximum(self._left[0], 1e-300)
                self.believed = np.where(self.believed, ratio < _DOUBTED, ratio < _BELIEVED) & (self._left[0] > 0)
            self._seen = np.minimum(self._seen + seen, self._memory).astype(np.float32)
            rate = seen / np.maximum(self._seen, 1.0)
            self._profile += (rate * (means - rest_level - old)).astype(np.float32)
        self._sums, self._weights = np.zeros_like(self._sums), np.zeros_like(self._weights)


def _hats(times: NDArray[np.float64], seconds: float, cells: int) -> Floats:
    """The share of each cell of a period at times (N,), by linear interpolation: (N, cells)."""
    place = times * (cells / seconds) - 0.5
    lower = np.floor(place)
    share = (place - lower).astype(np.float32)
    first = lower.astype(np.int64) % cells
    found = np.zeros((len(times), cells), dtype=np.float32)
    rows = np.arange(len(times))
    found[rows, first] = 1.0 - share
    found[rows, (first + 1) % cells] = share
    return found


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total = weights.sum(axis=0)
    return np.asarray((values * weights).sum(axis=0) / np.where(total > 0, total, 1.0))


def _spread(values: NDArray[np.float64], level: NDArray[np.float64], weights: NDArray[np.float64]) -> Any:
    with np.errstate(over="ignore"):
        return (weights * (values - level) ** 2).sum(axis=0)
