"""Which variant answers: the one that leads over about the last thousand events, by more than chance would have it.

Sources: Herbster, Warmuth, "Tracking the best expert", Machine Learning 1998, for following the best of late; Diebold,
Mariano, "Comparing predictive accuracy", 1995, for comparing two predictors by their paired losses. Ours: one variant
answers, and another one takes over when its loss over the last events, with exponential decay, is smaller by more than
`SURE` deviations of the difference. A wrong choice costs little and is taken back; a test that promotes almost never by
mistake (`stream.comparison`) lets the worse one answer for long.
State: 2 V² + 5 V numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array
from thalweg.stream.comparison.bounds import STEP, Bounds

Floats = NDArray[np.float64]
HORIZON = 1000.0
"""Events over which losses decay to 1/e. By 500 the mean over streams was better, and the worst case worse."""
SURE = 1.0
"""Deviations of the difference by which a variant must lead."""
_FADES = (1.0 - 1.0 / HORIZON) ** np.arange(STEP - 1, -1, -1)
_FADE = float((1.0 - 1.0 / HORIZON) ** STEP)


class Lead:
    """The losses of V variants, compared in pairs.

    Args:
        variants: V.
        bounds: Of their losses.
    """

    def __init__(self, variants: int, bounds: Bounds) -> None:
        self.best = self.changes = 0
        """The variant that answers, and how often another one did."""
        self._bounds = bounds
        self._behind: Floats = np.zeros((variants, variants))  # by how much the first of a pair lost more, decayed
        self._squares: Floats = np.zeros((variants, variants))
        self._recent: Floats = np.zeros((2, variants))  # decayed losses as they count, and events
        self._answered: NDArray[np.int64] = np.zeros(variants, dtype=np.int64)

    def add(self, losses: Floats) -> None:
        """Compare `STEP` events, (V, STEP); NaN is the worst loss."""
        own = losses[self.best]
        self._answered[self.best] += losses.shape[1]
        bounded = np.array([self._bounds.bounded(one) for one in losses])
        if not np.isnan(bounded).any():  # there are no bounds yet
            difference = bounded[:, None] - bounded[None]
            self._behind = _FADE * self._behind + (difference * _FADES).sum(axis=2)
            self._squares = _FADE * self._squares + (difference**2 * _FADES).sum(axis=2)
            counted = self._bounds.unbounded(bounded)
            self._recent[0] = _FADE * self._recent[0] + (counted * _FADES).sum(axis=1)
            self._recent[1] = _FADE * self._recent[1] + _FADES.sum()
            ahead = self._behind[self.best] - SURE * np.sqrt(self._squares[self.best])
            if ahead[first := int(ahead.argmax())] > 0.0:
                self.best, self.changes = first, self.changes + 1
        self._bounds = self._bounds.after(own)

    @property
    def losses(self) -> Floats:
        """The mean loss of each variant of late, (V,); NaN before the first comparison."""
        with np.errstate(invalid="ignore"):
            found: Floats = self._recent[0] / self._recent[1]
        return found

    @property
    def shares(self) -> Floats:
        """The share of all compared events that each variant answered, (V,)."""
        return np.asarray(self._answered / max(1, int(self._answered.sum())))

    def tensors(self) -> Mapping[str, Array]:
        """For a state."""
        bounds = self._bounds
        return {
            "place": np.array([self.best, self.changes, bounds.seen]),
            "bounds": np.array([] if math.isnan(bounds.width) else [bounds.centre, bounds.width]),
            "behind": self._behind,
            "squares": self._squares,
            "recent": self._recent,
            "answered": self._answered,
        }

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` these are; copies."""
        self.best, self.changes, seen = tensors["place"].tolist()
        centre, width = tensors["bounds"].tolist() or (math.nan, math.nan)
        self._bounds = Bounds(self._bounds.low, self._bounds.high, seen, centre, width)
        self._behind, self._squares = tensors["behind"].copy(), tensors["squares"].copy()
        self._recent, self._answered = tensors["recent"].copy(), tensors["answered"].copy()
