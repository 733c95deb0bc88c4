"""The partitions of a reader whose leaders are out of reach, while it reads the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import structlog

from thalweg.proto.records import Partition
from thalweg.stream.log.kafka_shared.consumer import ANSWER_SECONDS, SomeAway, told_away
from thalweg.stream.log.log import Problem

log = structlog.get_logger(__name__)

T = TypeVar("T")

_AGAIN_SECONDS = 5.0  # who asks reads nothing meanwhile
_SHORT_SECONDS = 0.5


class Away:
    """Knows which partitions are out of reach, and when they are asked for again.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._why: dict[Partition, str] = {}
        self._again = 0.0

    def __contains__(self, part: Partition) -> bool:
        return part in self._why

    def __bool__(self) -> bool:
        return bool(self._why)

    def due(self, parts: Collection[Partition]) -> list[Partition]:
        """Those of the partitions that are asked for now: of those that are out of reach, none before it is time."""
        return list(parts) if self._clock() >= self._again else [part for part in parts if part not in self._why]

    def answered(
        self, parts: Sequence[Partition], ask: Callable[[Sequence[Partition], float], Mapping[Partition, T]]
    ) -> Mapping[Partition, T]:
        """What is answered of the partitions, within some seconds; the others are out of reach from now on. Raises
        ClientError as `ask` does where no broker answers.
        """
        try:
            found = ask(parts, _SHORT_SECONDS if any(part in self._why for part in parts) else ANSWER_SECONDS)
        except SomeAway as error:
            found = error.found
            new = {part: why for part, why in error.away.items() if self._why.get(part) != why}
            self._why |= error.away
            self._again = self._clock() + _AGAIN_SECONDS
            if new:
                log.warning("partitions are out of reach: the others are read", problem=told_away(new))
        self.back(found)
        return found

    def back(self, parts: Collection[Partition]) -> None:
        """Something was heard of these."""
        if heard := sorted(self._why.keys() & set(parts)):
            log.info("partitions are within reach again", partitions=[str(part) for part in heard])
            for part in heard:
                del self._why[part]

    def keep(self, parts: Collection[Partition]) -> None:
        """Forget all others: they are not there any more."""
        for part in self._why.keys() - set(parts):
            del self._why[part]

    def problem(self, others: bool) -> Problem | None:
        """What is out of reach; `others`: whether anything else is read."""
        if not self._why:
            return None
        return Problem(told_away(self._why) + ("; the other partitions are read" if others else ""), partly=others)
