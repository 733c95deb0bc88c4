"""When records were appended: what the log says, where that can be true.

The time of a record is the log's, or that of a producer who may have a clock that is off, or put the time of the event
there. What the reader saw itself bounds it: a record was not in the log when there was nothing more to read, and it was
there when it was read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.bounds.limits import EARLIEST_RECORD_SECONDS
from thalweg.proto.bounds.times import record_times

SLACK_SECONDS = 5.0
"""How much earlier than the last time that there was nothing to read a record may be dated: a broker that does not
answer looks like an idle one for so long, and what is appended then is late in truth."""


class AppendTimes:
    """The append times of one reader's records. Not thread-safe."""

    def __init__(self) -> None:
        self._empty_at = -np.inf
        self._behind = False
        self.replaced = 0
        """Records whose time cannot be that of their append."""

    def caught_up(self, now: float) -> None:
        """There was nothing more to read at this time, Unix seconds."""
        self._empty_at, self._behind = now, False

    def of(self, times: Sequence[float], now: float) -> NDArray[np.float64]:
        """When records that were just read were appended, Unix seconds, (N,).

        A time that cannot be is replaced: by `now` where there was nothing to read before, else by the last time that
        there was nothing to read. None is later than `now`.

        Args:
            times: As the log has them, (N,).
            now: Unix seconds.
        """
        column = np.array(record_times(times), dtype=np.float64)
        wrong = column < max(EARLIEST_RECORD_SECONDS, self._empty_at - SLACK_SECONDS)
        if wrong.any():
            column[wrong] = self._empty_at if self._behind and np.isfinite(self._empty_at) else now
            self.replaced += int(wrong.sum())
        self._behind = True
        return np.minimum(column, now)
