"""The size of micro-batches by rate: row by row while a stream is slow, larger the more events wait.

Row by row, each label counts for the next event; in a micro-batch, for the next micro-batch. A larger one costs less
per event. What is chosen depends on clocks, and is therefore journalled with each block: whoever learns the block again
cuts the same micro-batches.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

BatchEvents: TypeAlias = int | Literal["auto"]

LARGEST = 256
"""Most events per micro-batch of `auto`."""
USUAL = 64
"""Events per micro-batch of `auto` where a long history is learned before anything else. Also the records that are
waited for while more keep arriving."""
WITHIN_SECONDS = 1.0
"""All that waits should be learned within this time; while it would be, micro-batches do not grow."""
_NO_CHEAPER = 0.8  # of the cost per event at half the size: larger ones are pointless, the learner's cost is per event
_LEAST_BLOCK = 8  # events of a block whose cost is measured; of a smaller one it is mostly that of the block itself
_FADE = 0.99  # of the cost that stands in the way of larger micro-batches, so that it is measured again at times


class MicroBatchSize:
    """Chooses a power of two for each block, unless a size is configured. For one thread.

    Args:
        configured: Events per micro-batch, or `auto`.
        least: Smallest size of `auto`: of a learner that learns by steps, each over a micro-batch.
    """

    def __init__(self, configured: BatchEvents, least: int = 1) -> None:
        self._configured = configured
        self._sizes = [size for size in (1 << power for power in range(9)) if size > least]
        self._sizes.insert(0, least)
        self._seconds: dict[int, float] = {}  # per event, by size
        self._per_record = 1.0

    def choose(self, records: int) -> int:
        """The size for the next block, when this many records wait, those of the block included."""
        if self._configured != "auto":
            return self._configured
        waiting, best, before = records * self._per_record, self._sizes[0], math.inf
        for size in self._sizes:
            seconds = self._seconds.get(size)
            if seconds is None:  # the next one to try; it is measured before a larger one is tried
                return size
            if seconds > _NO_CHEAPER * before:
                self._seconds[size] *= _FADE
                break
            best, before = size, seconds
            if waiting * seconds <= WITHIN_SECONDS:
                break
        return best

    def learned(self, size: int, records: int, events: int, seconds: float) -> None:
        """A block was decoded, predicted, graded and learned in micro-batches of this size within so many seconds."""
        if not records or events < max(_LEAST_BLOCK, 2 * size):
            return
        self._per_record = events / records
        known = self._seconds.get(size)
        self._seconds[size] = seconds / events if known is None else 0.5 * (known + seconds / events)
