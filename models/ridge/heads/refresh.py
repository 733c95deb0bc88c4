"""When and how to solve for new heads: a function of counts and sizes, never of a clock.

Costs are counted in multiply-adds. A symmetric rank-n update runs at about the speed of a Cholesky factorisation, so
counts compare directly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.models.ridge.heads.pseudo_features import rows_needed
from thalweg.models.ridge.heads.recursion import lasts
from thalweg.models.ridge.params import Params

Floats = NDArray[np.float64]

FREE = 3_000_000
"""Multiply-adds allowed for solving after each micro-batch of any size: a tenth of a millisecond."""
SHARE = 0.15
"""The cost of solving as a fraction of accumulating."""
PAID = 4
"""Micro-batches that Woodbury steps must last for at least: an inverse costs three times what a solve costs."""
GROWTH = 0.25
"""While events are few, heads are solved each time their number has grown by this fraction."""


def solve_cost(size: int, columns: int, pseudo_rows: int = 0, width: int = 0) -> float:
    """Multiply-adds of one solve of D features and C columns, balanced by this many pseudo-inputs of F numbers."""
    return size**3 / 6 + size**2 * columns + pseudo_rows * (size**2 / 2 + size * (width + 1))


def event_cost(size: int, columns: int) -> float:
    """Multiply-adds of accumulating one event."""
    return size**2 / 2 + size * columns


def interval(setting: int | str, seen: int, solve: float, event: float) -> int:
    """Events between solves, when `seen` events were learned in all and a solve costs `solve`."""
    if isinstance(setting, int):
        return setting
    steady = int((solve - FREE) / (SHARE * event))
    return max(1, min(steady, int(GROWTH * seen)))


def recursion_pays(size: int, columns: int, events: int) -> bool:
    """Whether a Woodbury step for a micro-batch of this many events costs less than a factorisation."""
    if events == 1:
        return True  # whatever the size: nothing is factorised, and the calls are fewer
    step = events * size**2 * 1.5 + events**2 * size + events**3 / 6
    return step < solve_cost(size, columns)


def recursion_lasts(size: int, learned: int) -> int:
    """Woodbury steps before the next factorisation: doubling at the start, where the error arises, then D."""
    return max(64, min(size, learned // 2))


class Schedule:
    """When the heads of one learner are solved, and when they are updated by Woodbury steps."""

    def __init__(self, params: Params, size: int, width: int, *, on_gpu: bool = False) -> None:
        """For D features of F inputs. On a GPU a solve costs less than Woodbury steps on the processor: there are
        none.
        """
        self._params, self._size, self._width, self._on_gpu = params, size, width, on_gpu
        self._asked: tuple[int, int] = (-1, -1)  # arguments of the last `recursive`
        self._answer = False

    def due(self, weights: Sequence[Floats], since: int, learned: int) -> bool:
        """Whether to solve for new heads.

        Args:
            weights: Weights of classes (C,), of each decay.
            since: Events since the last solve.
            learned: Events learned in all.
        """
        p, columns, pseudo = self._params, len(weights[0]), 0
        if p.balance == "pseudo_features":
            pseudo = max(int(rows_needed(weight, p.pseudo_rows).sum()) for weight in weights)
        cost = solve_cost(self._size, columns, pseudo, self._width)
        return since >= interval(p.refresh_events, learned, cost, event_cost(self._size, columns))

    def recursive(self, columns: int, events: int) -> bool:
        """Whether heads are updated by Woodbury steps after a micro-batch of this many events."""
        if self._asked != (columns, events):
            self._asked, self._answer = (columns, events), self._recursive(columns, events)
        return self._answer

    def _recursive(self, columns: int, events: int) -> bool:
        p = self._params
        if p.solver == "cholesky" or not p.takes_steps or self._on_gpu:
            return False
        if p.solver == "recursive":
            return True
        setting = p.refresh_events
        fresh = setting <= events if isinstance(setting, int) else solve_cost(self._size, columns) <= FREE
        return fresh and lasts(min(p.forgetting)) >= PAID * events and recursion_pays(self._size, columns, events)
