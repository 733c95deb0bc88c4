"""How long something usually takes, by which its rate is set: one stall is no reason to do it less often."""

from __future__ import annotations

from collections import deque
from statistics import median_low

_LAST = 5


class UsualTime:
    """The median of the last few times.

    What is done at a rate that keeps to a share of the time waits a multiple of what it took. By the last time alone, a
    stall of 0.3 s would make it wait for a second, just when most is waiting for it.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_LAST)

    def after(self, seconds: float) -> float:
        """The usual time, once it has taken so long."""
        self._last.append(seconds)
        return median_low(self._last)
