"""The size of micro-batches by rate: row by row while a stream is slow, larger the more events wait.

Row by row, each label counts for the next event; in a micro-batch, for the next micro-batch. A larger one costs less
per event. What is chosen depends on clocks, and is therefore journalled with each block: whoever learns the block again
cuts the same micro-batches.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from thalweg.stream.freshness.params import WAITING_SECONDS

BatchEvents: TypeAlias = int | Literal["auto"]

LARGEST = 256
"""Most events per micro-batch of `auto`."""
USUAL = 64
"""Events per micro-batch of `auto` where a long history is learned before anything else. Also the records that are
waited for while more keep arriving."""
_NO_CHEAPER = 0.8  # of the cost per event at half the size: larger ones are pointless, the learner's cost is per event
_LEAST_BLOCK = 8  # events of a block whose cost is measured; of a smaller one it is mostly that of the block itself
_MOST_OF_A_BLOCK = 1024  # micro-batches: a block must not take long before its learner's cost is known
_FADE = 0.99  # of the cost that stands in the way of larger micro-batches, so that it is measured again at times


class MicroBatchSize:
    """Chooses a power of two for each block, unless a size is configured. For one thread.

    Args:
        configured: Events per micro-batch, or `auto`.
        least: The size of `auto` for a learner that learns by steps, each over a micro-batch: in larger ones it would
            take fewer steps, and learn less of a backlog than of the same events one after the other. 1: any other.
        within_seconds: All that waits should be learned within this time; while it would be, micro-batches do not grow.
    """

    def __init__(self, configured: BatchEvents, least: int = 1, within_seconds: float = WAITING_SECONDS) -> None:
        self._configured, self._within = configured, within_seconds
        self._sizes = [1 << power for power in range(9)] if least == 1 else [least]
        self._seconds: dict[int, float] = {}  # per event, by size
        self._per_record: float | None = None

    @property
    def needs_count(self) -> bool:
        """Whether `counted` should be called first: nothing is known about the events in a record yet."""
        return self._configured == "auto" and self._per_record is None

    def counted(self, events: int) -> None:
        """A record holds this many events."""
        self._per_record = float(max(1, events))

    def choose(self, block: int, waiting: int = 0) -> int:
        """The size for the next block.

        Args:
            block: Records of the block.
            waiting: Records that wait beyond it.
        """
        if self._configured != "auto":
            return self._configured
        per_record = self._per_record or 1.0
        sizes = [size for size in self._sizes if block * per_record <= size * _MOST_OF_A_BLOCK] or self._sizes[-1:]
        events, best, before = (block + waiting) * per_record, sizes[0], math.inf
        for size in sizes:
            seconds = self._seconds.get(size)
            if seconds is None:  # the next one to try, unless its block alone would take too long at best
                if size == sizes[-1] or block * per_record * before * best / size <= self._within or before == math.inf:
                    return size
                continue
            if seconds > _NO_CHEAPER * before:
                self._seconds[size] *= _FADE
                break
            best, before = size, seconds
            if events * seconds <= self._within:
                break
        return best

    def learned(self, size: int, records: int, events: int, seconds: float) -> None:
        """A block was decoded, predicted, graded and learned in micro-batches of this size within so many seconds."""
        if not records or events < max(_LEAST_BLOCK, 2 * size):
            return
        self._per_record = events / records
        known = self._seconds.get(size)
        self._seconds[size] = seconds / events if known is None else 0.5 * (known + seconds / events)
