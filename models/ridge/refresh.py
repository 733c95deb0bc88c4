"""When and how to solve for new heads: a function of counts and sizes, never of a clock.

Costs are counted in multiply-adds. A symmetric rank-n update runs at about the speed of a Cholesky factorisation, so
counts compare directly.
"""

from __future__ import annotations

FREE = 3_000_000
"""Multiply-adds allowed for solving after each micro-batch of any size: a tenth of a millisecond."""
SHARE = 0.15
"""The cost of solving as a fraction of accumulating."""
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
    step = events * size**2 * 1.5 + events**2 * size + events**3 / 6
    return step < solve_cost(size, columns)
