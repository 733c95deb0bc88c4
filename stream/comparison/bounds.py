"""Bounds of losses that have none: what one event may cost at most, relative to the champion's losses so far.

The test needs losses between 0 and 1. Squared errors count up to 16 times the champion's usual one, and
log-likelihoods within 8 usual deviations of the champion's. The bounds follow from events before, as the test demands,
and are the same for all models. An event of the first 64 sets them, and is not compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP = 64
"""Losses after which the bounds move."""
_MOST_STEPS = 32  # the newest, approximately, that count
_TIMES, _DEVIATIONS = 16.0, 8.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds as of some number of the champion's losses; a value.

    Losses of an interval that is finite stay as they are.
    """

    low: float
    """The lowest loss there can be."""
    high: float
    """The highest."""
    seen: int = 0
    """The champion's losses so far."""
    centre: float = math.nan
    """Of losses without a lowest one, their usual value."""
    width: float = math.nan
    """The usual distance from the centre, or from the lowest loss."""
    waiting: tuple[float, ...] = ()
    """The champion's losses since the bounds moved last, fewer than 64."""

    @property
    def given(self) -> bool:
        """Whether the losses have bounds of their own."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def bounded(self, losses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Losses (N,) between 0 and 1; NaN becomes 1, the worst; all are NaN while there are no bounds yet."""
        if self.given:
            scaled = (losses - self.low) / (self.high - self.low)
        elif math.isnan(self.width):
            return np.full(len(losses), np.nan)
        else:
            low, reach = self._interval
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = (losses - low) / reach if reach > 0 else np.where(losses > low, 1.0, 0.0)
        found: NDArray[np.float64] = np.where(np.isnan(losses), 1.0, np.clip(scaled, 0.0, 1.0))
        return found

    def unbounded(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Losses that `bounded` scaled, of any shape, in their own unit, as far as they count."""
        low, reach = self._interval
        return np.asarray(low + reach * scaled)

    @property
    def _interval(self) -> tuple[float, float]:
        """The lowest loss that counts, and how far it is to the highest."""
        if self.given:
            return self.low, self.high - self.low
        if math.isfinite(self.low):
            return self.low, _TIMES * self.width
        return self.centre - _DEVIATIONS * self.width, 2.0 * _DEVIATIONS * self.width

    def until_moved(self) -> int:
        """After how many further losses of the champion the bounds move."""
        return STEP - len(self.waiting)

    def after(self, losses: NDArray[np.float64]) -> Bounds:
        """After further losses of the champion, (N,), at most as many as `until_moved` says."""
        if self.given:
            return self
        waiting = (*self.waiting, *losses.tolist())
        if len(waiting) < STEP:
            return Bounds(self.low, self.high, self.seen + len(losses), self.centre, self.width, waiting)
        centre, width = self._moved(np.array(waiting))
        return Bounds(self.low, self.high, self.seen + len(losses), centre, width)

    def _moved(self, losses: NDArray[np.float64]) -> tuple[float, float]:
        """Single losses far off move them little, so one of 1e300 does not make all others look alike."""
        finite = losses[np.isfinite(losses)]
        if not len(finite):
            return self.centre, self.width
        floor = math.isfinite(self.low)
        if math.isnan(self.width):
            centre = self.low if floor else float(np.median(finite))
            share, width = 1.0, 0.0
        else:
            centre, width = self.centre, self.width
            share = 1.0 / min(_MOST_STEPS, self.seen // STEP + 1)
        distances = np.abs(finite - centre)
        reach = (_TIMES if floor else _DEVIATIONS) * max(width, float(np.median(distances)))
        off = np.clip(finite - centre, -reach, reach)
        moved = centre if floor else centre + share * float(off.mean())
        return moved, width + share * (float(np.abs(off).mean()) - width)
