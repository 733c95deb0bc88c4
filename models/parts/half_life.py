"""Forgetting by event time: an event of half a life ago counts half, in whatever order events arrive.

The weight of event i is wᵢ 2^((tᵢ - T) / H), where tᵢ is its time, H the half-life, and T the newest time of all events
so far: the time that sums are brought to. When a newer event comes, all sums so far are multiplied by 2^((T - T') / H)
and T becomes T'. A late event has the weight of its age at once. So a sum is a function of the events alone, not of
their order; and two sums, brought to the later of both times, add up to the sum over the events of both. No weight is
above that of the event itself, so nothing overflows. An event of a thousand half-lives ago counts next to nothing, but
its class is known, as it would be had the event come in time.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from thalweg.proto.event import Batch
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
SHORTEST_SECONDS, LONGEST_SECONDS = 1e-3, 1e11
"""Of half-lives: below, an event forgets all that came before it; beyond, none is forgotten in 3,000 years."""
_LEAST = 1e-300
_VANISHED = 300.0
"""Half-lives after which numbers have decayed by ninety powers of ten: then those next to nothing become 0."""


def _sound(seconds: float) -> float:
    if seconds and not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise ValueError(
            f"expected 0 (nothing is forgotten) or {SHORTEST_SECONDS:g} to {LONGEST_SECONDS:g} seconds, got {seconds:g}"
        )
    return seconds


HalfLifeSeconds = Annotated[float, Field(ge=0), AfterValidator(_sound)]


class HalfLife:
    """The time that sums are brought to; driven by the thread that learns.

    Args:
        seconds: H, > 0.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.time = -math.inf
        """T in Unix seconds; -inf: there was no event."""

    def advance(self, batch: Batch) -> float:
        """Move T on to the newest labelled event of a batch, where that is later.

        Returns:
            The factor by which all sums so far are to be multiplied, at most 1.
        """
        if batch.labels is None:
            return 1.0
        usable = batch.labels.present & (batch.weights > 0) & np.isfinite(batch.times)
        newest = float(np.max(batch.times, initial=-math.inf, where=usable))
        if newest <= self.time:
            return 1.0
        before, self.time = self.time, newest
        return 1.0 if before == -math.inf else self.factor(before)

    def weights(self, batch: Batch) -> Floats:
        """The weights of events (N,), by their ages at T; without a time they are as new as the newest."""
        if self.time == -math.inf:
            return batch.weights
        ages = np.where(np.isfinite(batch.times), batch.times - self.time, 0.0)
        shares = np.exp2(np.minimum(ages, 0.0) / self.seconds)
        return np.asarray(batch.weights * np.maximum(shares, _LEAST))

    def factor(self, time: float) -> float:
        """What sums of an earlier time are to be multiplied by to be brought to T."""
        if time in (self.time, -math.inf):
            return 1.0
        return float(np.exp2((time - self.time) / self.seconds))

    def vanished(self, before: float) -> bool:
        """Whether T has passed a multiple of many half-lives since it was `before`: a function of both times alone."""
        period = _VANISHED * self.seconds
        return before != -math.inf and before // period != self.time // period

    def meet(self, other: HalfLife) -> tuple[float, float]:
        """Bring two sums to the later of both times; the factors of those here and of the other's."""
        mine, self.time = self.time, max(self.time, other.time)
        return self.factor(mine), self.factor(other.time)

    def tensor(self) -> Array:
        """T, (1,)."""
        return np.array([self.time])

    def restore(self, tensor: Array) -> None:
        """Restore from `tensor()`."""
        self.time = float(tensor[0])
