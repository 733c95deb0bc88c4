"""Joined events of a model of shards: each goes to the partition of its event, whose shard learns the others.

Labels are found by id alone, so their own topic may have any partitions and any keys.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from thalweg.stream.log.identity import partitions_of
from thalweg.stream.log.log import Log, Message, PermanentLogError
from thalweg.stream.shards.partitioner import partition_of

_PLACED = struct.Struct(">BI")
_MARK = 0  # no event begins with it: Protocol Buffers have no field of number 0
_LOOK_SECONDS = 5.0


def placed(value: bytes, partition: int) -> bytes:
    """An event as it waits for its label, with the partition that it was read from."""
    return _PLACED.pack(_MARK, partition) + value


def unplaced(value: bytes) -> tuple[int | None, bytes]:
    """The partition of an event that waits, and the event; None for one of a request, which is in no partition yet."""
    if not value.startswith(bytes([_MARK])):
        return None, value
    return _PLACED.unpack_from(value)[1], value[_PLACED.size :]


class ToShards:
    """Gives joined events their partitions.

    Args:
        source: The log.
        topic: The model's topic, whose partitions are the shards.
        joined: The topic of joined events, of which each shard reads the partition of its number.
        by_hand: Whether people create topics: `joined` then must be there.
        ticks: Monotonic seconds.
    """

    def __init__(
        self, source: Log, topic: str, joined: str, *, by_hand: bool, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._source, self._topic, self._joined, self._by_hand, self._ticks = source, topic, joined, by_hand, ticks
        self._partitions, self._looked_at = 0, float("-inf")

    def addressed(self, events: Sequence[tuple[str, int | None, Message]]) -> list[Message]:
        """Joined events with their partitions: that of their event; where it has none, that of its key, or of its id.

        Args:
            events: The id, the partition and the record of each.

        Raises:
            LogError: The topic of joined events has not the partitions that it must have, or the log does not say.
        """
        highest = max((number for _, number, _ in events if number is not None), default=-1)
        if highest >= self._partitions or self._ticks() - self._looked_at >= _LOOK_SECONDS:
            self._look()
        return [
            replace(
                message,
                partition=partition_of(message.key or id.encode(), self._partitions) if number is None else number,
            )
            for id, number, message in events
        ]

    def _look(self) -> None:
        there, joined = (len(partitions_of(self._source, topic)) for topic in (self._topic, self._joined))
        if there != joined and (joined or self._by_hand):
            verb = "--alter" if 0 < joined < there else "--create"
            has = f"has {joined} partitions" if joined else "does not exist"
            raise PermanentLogError(
                f"topic {self._joined!r} of events joined with their labels {has}, expected {there} as {self._topic!r} "
                f"has: a shard reads the partition of its number of both; labels wait until then "
                f"(kafka-topics.sh {verb} --topic {self._joined} --partitions {there})"
            )
        self._partitions, self._looked_at = max(1, there), self._ticks()
