"""How much faster than usual a learner with a learning rate learns, for a while: forgetting that was raised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class LearningRateBoost:
    """A factor for the next so many events, then 1; the same however they are cut."""

    def __init__(self) -> None:
        self._factor = 1.0
        self._left = 0

    def raised(self, factor: float, events: int) -> None:
        """From now on `factor` for the next `events` events, instead of what was still to come."""
        self._factor, self._left = factor, events

    def of(self, events: int) -> NDArray[np.float64]:
        """The factors of the next events, (events,), which are over then."""
        factors = np.ones(events)
        factors[: self._left] = self._factor
        self._left = max(0, self._left - events)
        return factors

    def mean(self, events: int) -> float:
        """Of the next events, where one step learns of them all."""
        return float(self.of(events).mean()) if self._left and events else 1.0

    def meta(self) -> dict[str, Any]:
        """For a state; nothing while it is as usual."""
        return {"pace": [self._factor, self._left]} if self._left else {}

    def restore(self, meta: Mapping[str, Any]) -> None:
        """Become the one whose `meta()` is in this."""
        factor, left = meta.get("pace", (1.0, 0))
        self._factor, self._left = float(factor), int(left)
