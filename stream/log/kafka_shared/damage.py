"""The record batches that a reader cannot read: fetched anew, waited for, and at last skipped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from thalweg.proto.records import Partition
from thalweg.stream.log.kafka_shared.consumer import UnreadableBatch
from thalweg.stream.log.log import Problem

log = structlog.get_logger(__name__)

_AT_ONCE_SECONDS = 0.1  # what was damaged on its way is sound when it is fetched anew
_AGAIN_SECONDS = 1.0  # what lies damaged on one replica may be sound on the next leader


@dataclass(slots=True)
class _Damaged:
    first: int
    last: int | None
    since: float
    tries: int
    due: float
    reason: str
    told: str


class Damage:
    """At most one damaged batch per partition: the one that the reader stands before.

    Args:
        patience_seconds: Skip a batch after this long; it is fetched at least twice.
        clock: Monotonic seconds.
    """

    def __init__(self, patience_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._clock = patience_seconds, clock
        self._damaged: dict[Partition, _Damaged] = {}
        self._skipped: dict[Partition, tuple[int, int]] = {}  # the offset after the last skip, and its length

    def met(self, error: UnreadableBatch, following: int, end: int) -> int | None:
        """The batch at `following` cannot be read; the last offset to skip, or None: try it again when it is due.

        Args:
            error: What the client says about the batch.
            following: The reader's next offset.
            end: The partition's next offset to be written.
        """
        part, now = error.part, self._clock()
        last = error.last if error.last is not None and following <= error.last < end else None
        one = self._damaged.get(part)
        if one is None or one.first != following:
            told = f"{part}: offsets {following} to {'?' if last is None else last}"
            one = self._damaged[part] = _Damaged(following, last, now, 0, 0.0, error.reason, told)
            log.error(
                "records cannot be read: fetching them anew",
                partition=str(part),
                first=following,
                last=last,
                codec=error.codec or None,
                problem=error.reason,
                skipped_after_seconds=self._patience,
            )
        one.tries, one.last, one.reason = one.tries + 1, last, error.reason
        after, length = self._skipped.get(part, (-1, 0))
        patience = 0.0 if after == following else self._patience  # the next of a damaged stretch is not waited for
        if one.tries < 2 or now - one.since < patience or following >= end:
            one.due = now + (_AT_ONCE_SECONDS if one.tries < 2 else _AGAIN_SECONDS)
            return None
        if last is None:  # nobody knows where it ends: step over more and more
            length = max(1, 2 * length) if after == following else 1
            last = min(following + length, end) - 1
        else:
            length = 0
        self._skipped[part] = (last + 1, length)
        del self._damaged[part]
        return last

    def healed(self, part: Partition) -> None:
        """Records of this partition were read."""
        if self._damaged or self._skipped:
            self._skipped.pop(part, None)
            if (one := self._damaged.pop(part, None)) is not None:
                log.info("records can be read again", partition=str(part), first=one.first)

    def forget(self, part: Partition) -> None:
        """The reader goes elsewhere in this partition."""
        self._damaged.pop(part, None)
        self._skipped.pop(part, None)

    def due(self) -> list[Partition]:
        """The partitions to fetch anew now."""
        if not self._damaged:
            return []
        now = self._clock()
        return [part for part, one in self._damaged.items() if one.due <= now]

    def next_due(self) -> float:
        """When the next is due, in monotonic seconds; infinite if none is damaged."""
        now = self._clock()
        return min((one.due for one in self._damaged.values() if one.due > now), default=math.inf)

    def problem(self) -> Problem | None:
        """What is damaged and not skipped yet."""
        told = [f"{one.told} cannot be read: {one.reason}" for one in self._damaged.values()]
        return Problem("; ".join(told)) if told else None

    def clear(self) -> None:
        """Forget everything: the reader goes elsewhere."""
        self._damaged.clear()
        self._skipped.clear()
