"""Whether a group shares out all partitions that its topic has.

A member that comes back under its name within its session is given what it had, without a rebalance. Nobody is told
then that he leads the group, and it is the leader's client that looks for new partitions: those that were added while
that member was away, or are added from then on, would be nobody's until the next rebalance (KIP-814). So each member
looks, and joins again where the group does not do so by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

LOOK_SECONDS = 2.0
"""Between two looks at how many partitions there are."""
DOUBT_SECONDS = 5.0
"""For so long the leader has time to notice it by itself."""


class Covered:
    """What one member knows of it.

    Args:
        ticks: Monotonic seconds.
    """

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._rebalances = 0
        self._count: int | None = None
        self._doubted_at: float | None = None
        self._look_at = 0.0

    def rebalanced(self) -> None:
        """The member was told of its partitions. The first time they may be those of long ago; later they were shared
        out now, by a leader that looks.
        """
        self._rebalances += 1
        if self._rebalances > 1:
            self._doubted_at = None

    def due(self) -> bool:
        """Whether to look now."""
        return self._rebalances > 0 and self._ticks() >= self._look_at

    def look(self, owned: Collection[int], present: int) -> bool:
        """Whether the member has to join again; it has these partitions, of so many that the topic has."""
        now = self._ticks()
        self._look_at = now + LOOK_SECONDS
        if present == 0:  # it is missing, which is told elsewhere
            return False
        first = self._count is None
        certain = first and (self._rebalances > 1 or set(owned) == set(range(present)))
        if present != self._count and not certain:
            self._doubted_at = now
        self._count = present
        if self._doubted_at is None or now - self._doubted_at < DOUBT_SECONDS:
            return False
        self._doubted_at = None
        return True
