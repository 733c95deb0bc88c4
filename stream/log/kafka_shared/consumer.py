"""What a reader of Kafka needs of a client; each client of Kafka implements it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from thalweg.proto.bounds.counted import counted
from thalweg.proto.records import Partition, Position, Records
from thalweg.stream.log.log import PartlyAway, Problem

ANSWER_SECONDS = 5.0
"""The longest wait for a response that Kafka usually gives at once."""
APPEND_SECONDS = 30.0
"""The longest time that a delivery may take."""
FETCH_WAIT_OF_MANY_MS = 1000
"""So long a broker holds a fetch back in which there is nothing new, of readers of one partition each, of which a
process may have hundreds. A record ends the wait at once.
"""
METADATA_OF_MANY_MS = 60_000
"""So often these look by themselves at their topic, which has as many partitions as there are of them. Whether it is
still the same one they ask together, see `together.py`; where a leader has moved an error tells.
"""


_NAMED = 8  # partitions of a topic


class ClientError(Exception):
    """The client cannot do what it is told at present; `problem` says why, and whether waiting helps."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


class SomeAway(ClientError):
    """Brokers answer, and the leaders of some partitions do not.

    Args:
        found: What the other leaders answered.
        away: Of each of the rest, why it is out of reach.
    """

    def __init__(self, found: Mapping[Partition, Any], away: Mapping[Partition, str]) -> None:
        super().__init__(Problem(told_away(away)))
        self.found, self.away = found, away


def told_away(away: Mapping[Partition, str]) -> str:
    """Which partitions are out of reach, and why, for people."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for part, why in sorted(away.items()):
        groups[part.topic, why].append(part.number)
    each = []
    for (topic, why), numbers in groups.items():
        listed = ", ".join(map(str, numbers[:_NAMED])) + (" and more" if len(numbers) > _NAMED else "")
        each.append(f"partition{'s' * (len(numbers) > 1)} {listed} of {topic!r}: {why}")
    return "; ".join(each)


def partly_away(error: SomeAway) -> PartlyAway:
    """The log's error for one of its client's."""
    partitions = error.found.keys() | error.away.keys()
    rest = f"{len(error.found)} of {counted(len(partitions), 'partition')} can be read" if error.found else ""
    return PartlyAway(f"{error.problem.reason}; {rest or 'other brokers answer'}", partitions)


class OffsetGone(Exception):
    """The next offset of a partition does not exist, or its topic may be another one.

    Args:
        divergent: Where the present log diverges from what was read, for the partitions of which the broker knows it.
    """

    def __init__(self, divergent: Position | None = None) -> None:
        super().__init__("the next offset does not exist")
        self.divergent = divergent or {}


class UnreadableBatch(Exception):
    """A record batch that cannot be read.

    Args:
        part: Its partition.
        first: The first offset that cannot be read.
        last: The last offset of the batch; None where its own words are not to be trusted.
        codec: Its compression.
        reason: What is wrong with it.
    """

    def __init__(self, part: Partition, first: int, last: int | None, codec: str, reason: str) -> None:
        super().__init__(f"{part}: offset {first}: {reason}")
        self.part, self.first, self.last, self.codec, self.reason = part, first, last, codec, reason


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the cluster shows it."""

    partitions: frozenset[int] = frozenset()
    """None: there is no such topic, or it may not be seen."""
    identity: str | None = None
    """None: unknown, or from a broker before 2.8."""
    forbidden: bool = False
    """The user may not see it."""


class Consumer(Protocol):
    """Used by one thread. Every call raises ClientError while Kafka does not answer, and waits for a bounded time.
    `bounds` and `ends` raise SomeAway where some leaders do not.
    """

    def topics(self, names: Sequence[str], fresh: bool = False) -> Mapping[str, Topic]:
        """The topics, each of them. `fresh`: what is known already may be that of a deleted topic."""

    def bounds(
        self, partitions: Sequence[Partition], timeout_seconds: float = ANSWER_SECONDS
    ) -> Mapping[Partition, tuple[int, int]]:
        """The first offset and the next one to be written of each."""

    def ends(self, partitions: Sequence[Partition], timeout_seconds: float) -> Mapping[Partition, int]:
        """The next offset to be written of each."""

    def read(self, offsets: Mapping[Partition, int]) -> None:
        """From now on read these partitions, each from its offset on, and no others."""

    def go_to(self, partition: Partition, offset: int) -> None:
        """Continue one of them at this offset, if it was paused, too."""

    def pause(self, partition: Partition) -> None:
        """Do not read this one until `go_to`."""

    def poll(self, timeout_seconds: float, max_records: int) -> list[Records]:
        """The next records, at most this many; waits for the first of them.

        Raises:
            OffsetGone: One of the offsets does not exist.
            UnreadableBatch: The next batch of a partition cannot be read; what precedes it was returned.
        """

    def highest(self, partition: Partition) -> int:
        """The partition's next offset to be written, as far as responses told; does not ask."""

    def passed(self, partition: Partition) -> int:
        """The offset that is fetched next: beyond the records that were returned where others are never returned
        (markers of transactions, records of aborted ones).
        """

    def commit(self, offsets: Iterable[tuple[Partition, int]], note: str) -> None:
        """Report the next offsets to the group; does not wait."""

    def close(self) -> None:
        """Release resources."""
