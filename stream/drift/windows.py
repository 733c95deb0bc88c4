"""Windows of recent rows compared with a reference, many at once: what is found depends on none of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

from thalweg.stream.drift.reference import Reference

Floats = NDArray[np.float64]

_TOLD = 10


@dataclass(frozen=True, slots=True)
class Moved:
    """The distribution of the columns has changed."""

    test: str
    score: float
    """Logarithm of the p-value in units of that of the level: above 1."""
    rows: int
    """How many rows the watch had seen at that test."""
    since: int
    """Estimated number of rows before the change, to 64 rows."""
    distance: float
    """Largest Kolmogorov-Smirnov distance of a column, within [0, 1]."""
    columns: tuple[tuple[str, float], ...]
    """The columns that drifted most, with their distances."""
    news: bool = True
    """Whether a column moved that had been calm; else all of them have been moving for a while."""


class Windows:
    """W windows of as many rows each, compared with one reference.

    Args:
        base: The reference.
        share: Of bins, (W, F, 32).
        mean: Mean embeddings, (W, 64).
        effective: The effective size of a window and the reference.
    """

    def __init__(self, base: Reference, share: NDArray[np.float32], mean: Floats, effective: float) -> None:
        self.base, self._share, self._mean, self._effective = base, share, mean, effective
        self.distances = base.distances(share)
        """(W, F)."""
        self._near = np.flatnonzero(base.near(self.distances, share, mean, effective)).tolist()
        self._place = {number: place for place, number in enumerate(self._near)}  # of those that may have moved

    def moving(self, number: int) -> NDArray[np.bool_] | None:
        """Which columns of a window moved, (F + 1,), the last: all together; None: none, the usual case."""
        place = self._place.get(number)
        return None if place is None or not self._any[place] else self._moving[place]

    def scores(self, number: int) -> tuple[Mapping[str, Floats], float]:
        """As `Reference.scores`, of one window."""
        place = self._place.get(number)
        if place is not None:
            columns, joint = self._scores
        else:  # nothing moved: computed where it is asked for
            place, part = 0, slice(number, number + 1)
            columns, joint = self.base.scores(
                self.distances[part], self._share[part], self._mean[part], self._effective
            )
        return {name: column[place] for name, column in columns.items()}, float(joint[place])

    def told(self, number: int) -> tuple[tuple[int, float], ...]:
        """The columns of a window that moved, which drifted most, with their distances, as Benjamini and Hochberg
        choose them.
        """
        columns, distances, counts = self._told
        place = self._place[number]
        many = counts[place]
        return tuple(zip(columns[place][:many], [round(distance, 4) for distance in distances[place][:many]]))

    def strongest(self, number: int) -> str:
        """The test of columns with the highest score in a window that moved."""
        return self._strongest[self._place[number]]

    @cached_property
    def _scores(self) -> tuple[dict[str, Floats], Floats]:
        near = self._near
        return self.base.scores(self.distances[near], self._share[near], self._mean[near], self._effective)

    @cached_property
    def _moving(self) -> NDArray[np.bool_]:
        columns, joint = self._scores
        found = np.zeros((len(self._near), self.distances.shape[1] + 1), dtype=np.bool_)
        for column in columns.values():
            found[:, :-1] |= column > 1.0
        found[:, -1] = joint > 1.0
        return found

    @cached_property
    def _any(self) -> list[bool]:
        found: list[bool] = self._moving.any(axis=1).tolist()  # type: ignore[assignment]
        return found

    @cached_property
    def _told(self) -> tuple[list[list[int]], list[list[float]], list[int]]:
        return _farthest(self.distances[self._near], self._effective)

    @cached_property
    def _strongest(self) -> list[str]:
        columns, _ = self._scores
        names = list(columns)
        if not names:
            return ["mmd"] * len(self._near)
        highest = np.array([column.max(axis=1, initial=0.0) for column in columns.values()])
        return [names[place] for place in highest.argmax(axis=0).tolist()]


def told(distances: Floats, effective: float) -> tuple[tuple[int, float], ...]:
    """The columns that drifted most, with their distances (F,), at a level of 0.01."""
    columns, found, counts = _farthest(distances[None], effective)
    return tuple((column, round(one, 4)) for column, one in zip(columns[0][: counts[0]], found[0]))


def _farthest(distances: Floats, effective: float) -> tuple[list[list[int]], list[list[float]], list[int]]:
    """By window, the columns farthest from the reference, with their distances (W, F), and how many are significant by
    the procedure of Benjamini and Hochberg.
    """
    p = np.sort(kolmogorov(np.sqrt(effective) * distances), axis=1)  # the farther, the smaller: in the same order
    rank = np.arange(1, p.shape[1] + 1)
    counts = ((p <= 0.01 * rank / max(1, p.shape[1])) * rank).max(axis=1, initial=0)
    order = np.argsort(-distances, axis=1, kind="stable")[:, :_TOLD]
    return order.tolist(), np.take_along_axis(distances, order, axis=1).tolist(), np.minimum(counts, _TOLD).tolist()
