"""Raised forgetting for learners with a learning rate: a temporary factor on the rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class LearningRateBoost:
    """A factor for the next events, then 1; independent of how events are cut into batches."""

    def __init__(self) -> None:
        self._factor = 1.0
        self._left = 0

    def raised(self, factor: float, events: int) -> None:
        """Use `factor` for the next `events` events, in place of any remaining boost."""
        self._factor, self._left = factor, events

    def of(self, events: int) -> NDArray[np.float64]:
        """The factors of the next events, (events,), which are then used up."""
        factors = np.ones(events)
        factors[: self._left] = self._factor
        self._left = max(0, self._left - events)
        return factors

    def mean(self, events: int) -> float:
        """The mean factor of the next events, for a step that learns from all of them."""
        return float(self.of(events).mean()) if self._left and events else 1.0

    def meta(self) -> dict[str, Any]:
        """Metadata for a state; empty without a boost."""
        return {"pace": [self._factor, self._left]} if self._left else {}

    def restore(self, meta: Mapping[str, Any]) -> None:
        """Restore from the result of `meta()`."""
        factor, left = meta.get("pace", (1.0, 0))
        self._factor, self._left = float(factor), int(left)
