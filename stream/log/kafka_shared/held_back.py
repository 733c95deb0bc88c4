"""Records that are in the log and that no reader may have yet: a transaction before them is open."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from thalweg.proto.records import Partition
from thalweg.stream.log.log import Problem

PATIENCE_SECONDS = 90.0
"""A transaction is open for a moment, or until Kafka aborts it: after a minute, as producers have it by default."""


class HeldBack:
    """Tells of partitions that stand before an open transaction for long.

    Args:
        patience_seconds: So long it is nothing to tell.
        clock: Monotonic seconds.
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._clock = patience_seconds, clock
        self._since: dict[Partition, tuple[int, float]] = {}
        self._records: dict[Partition, int] = {}

    def look(self, part: Partition, following: int, stable: int, end: int) -> None:
        """Note how a partition stands.

        Args:
            part: The partition.
            following: The next offset that is read.
            stable: Before which every transaction has ended.
            end: The next offset to be written.
        """
        if following < stable or stable >= end:
            self._since.pop(part, None)
            return
        if self._since.get(part, (-1, 0.0))[0] != stable:
            self._since[part] = stable, self._clock()
        self._records[part] = end - stable

    def keep(self, parts: Collection[Partition]) -> None:
        """Forget all other partitions."""
        for part in self._since.keys() - set(parts):
            del self._since[part]

    def problem(self) -> Problem | None:
        """What is held back for longer than usual."""
        now = self._clock()
        long = [(now - since, part) for part, (_, since) in self._since.items() if now - since >= self._patience]
        if not long:
            return None
        seconds, part = max(long)
        more = f", and of {len(long) - 1} more partitions" if len(long) > 1 else ""
        return Problem(
            f"{part}: an open transaction has held back {self._records[part]:,} offsets for {seconds:.0f} s{more}: its "
            "producer has neither committed nor aborted it (kafka-transactions.sh find-hanging, abort)"
        )
