"""How fast a demonstration sends its events: at a rate, and no faster than the learners follow."""

from __future__ import annotations

import time
from collections.abc import Sequence

from thalweg.stream.publication.ports import VersionSubscriber

MOST_BEHIND = 200
"""Events that a learner may be behind: on a busy machine the demonstration takes longer, and shows the same."""
_PATIENCE_SECONDS = 60.0  # without a new version; what holds a learner up for longer is to be seen
_LOOK_SECONDS = 0.01


class Pace:
    """Waits between events; begins with its construction.

    Args:
        rate: Events per second at most.
        published: Of the learners that learn from them.
    """

    def __init__(self, rate: float, published: Sequence[VersionSubscriber]) -> None:
        self._rate, self._published = rate, published
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._started

    def wait(self, sent: int) -> None:
        """After so many events, wait until the next may be sent."""
        time.sleep(max(0.0, sent / self._rate - self.seconds))
        learned, heard = self._learned(), time.monotonic()
        while learned < sent - MOST_BEHIND and time.monotonic() - heard < _PATIENCE_SECONDS:
            time.sleep(_LOOK_SECONDS)
            if (now := self._learned()) > learned:
                learned, heard = now, time.monotonic()

    def _learned(self) -> int:
        served = [one.current for one in self._published]
        return min((0 if one is None else one.info.learned_events for one in served), default=0)
