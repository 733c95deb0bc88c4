"""`[model.freshness]`: what is promised about a model's freshness."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from thalweg.models.parts.settings import Positive, Settings

MOST_DAYS = 90
WAITING_SECONDS = 1.0
"""What waits should be learned within this time, where nothing shorter is promised."""
_GATHERED = 0.1  # of the promised time, for gathering a block
_WAITING = 0.5  # of the promised time, for waiting while micro-batches do not grow


class FreshnessParams(Settings):
    """`[model.freshness]`: the freshness objective, a service level objective (SLO) of the model."""

    objective: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """The share of the records that must be in an answer in time; 0: nothing is promised, freshness is still
    measured."""
    within_seconds: Positive = 1.0
    """The longest time in time: from the append of a record to the first version in use that has learned it."""
    window_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = 30
    """The error budget is what the objective lets miss within this many days, 1 to 90."""

    def paces(self, batch_seconds: float) -> dict[str, float]:
        """How long a learner may gather and let events wait, so that the promise can be kept; empty if there is none.

        `batch_seconds`: how long it would gather otherwise.
        """
        if not self.objective:
            return {}
        return {
            "batch_seconds": min(batch_seconds, _GATHERED * self.within_seconds),
            "waiting_seconds": min(WAITING_SECONDS, _WAITING * self.within_seconds),
        }

    @property
    def budget(self) -> float:
        """The share of the records that may be late."""
        return 1.0 - self.objective

    def remaining(self, records: int, late: int) -> float:
        """The share of the error budget that is left after so many records, of which some were late."""
        return 1.0 - late / (records * self.budget) if records else 1.0
