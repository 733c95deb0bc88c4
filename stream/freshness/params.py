"""`[model.freshness]`: what is promised about a model's freshness."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from thalweg.models.parts.settings import Positive, Settings

MOST_DAYS = 90


class FreshnessParams(Settings):
    """`[model.freshness]`: the freshness objective, a service level objective (SLO) of the model."""

    objective: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """The share of the records that must be in an answer in time; 0: nothing is promised, freshness is still
    measured."""
    within_seconds: Positive = 1.0
    """The longest time in time: from the append of a record to the first version in use that has learned it."""
    window_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = 30
    """The error budget is what the objective lets miss within this many days."""

    @property
    def budget(self) -> float:
        """The share of the records that may be late."""
        return 1.0 - self.objective
