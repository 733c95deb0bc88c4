"""When and how to solve for new heads: a function of counts and sizes, never of a clock.

Costs are counted in multiply-adds. A symmetric rank-n update runs at about the speed of a Cholesky factorisation, so
counts compare directly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.models.ridge.params import Params
from thalweg.models.ridge.pseudo_features import rows_needed
from thalweg.models.ridge.recursion import lasts

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


def due(params: Params, size: int, width: int, weights: Sequence[Floats], since: int, learned: int) -> bool:
    """Whether to solve for new heads.

    Args:
        params: Of the learner.
        size: Features, D.
        width: Inputs, F.
        weights: Weights of classes (C,), of each decay.
        since: Events since the last solve.
        learned: Events learned in all.
    """
    columns, pseudo = len(weights[0]), 0
    if params.balance == "pseudo_features":
        pseudo = max(int(rows_needed(weight, params.pseudo_rows).sum()) for weight in weights)
    cost = solve_cost(size, columns, pseudo, width)
    return since >= interval(params.refresh_events, learned, cost, event_cost(size, columns))


def recursion_pays(size: int, columns: int, events: int) -> bool:
    """Whether a Woodbury step for a micro-batch of this many events costs less than a factorisation."""
    if events == 1:
        return True  # whatever the size: nothing is factorised, and the calls are fewer
    step = events * size**2 * 1.5 + events**2 * size + events**3 / 6
    return step < solve_cost(size, columns)


def recursion_wanted(params: Params, size: int, columns: int, events: int) -> bool:
    """Whether heads are updated by Woodbury steps after a micro-batch of this many events."""
    if params.solver == "cholesky" or params.balance != "none":
        return False
    if params.solver == "recursive":
        return True
    setting = params.refresh_events
    fresh = setting <= events if isinstance(setting, int) else solve_cost(size, columns) <= FREE
    return fresh and lasts(min(params.forgetting)) >= PAID * events and recursion_pays(size, columns, events)


def recursion_lasts(size: int, learned: int) -> int:
    """Woodbury steps before the next factorisation: doubling at the start, where the error arises, then D."""
    return max(64, min(size, learned // 2))
