"""The log: a small protocol, and an implementation in memory.

Other implementations: `sqlite` (embedded) and `kafka`. `open_log` selects one by URL.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from thalweg.proto.records import Headers, Partition, Position, Records

Start: TypeAlias = Literal["earliest", "latest"]


class LogError(Exception):
    """The log cannot perform an operation; the message says which topic and why."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The position of an appended record."""

    partition: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class Message:
    """A record to append."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    time: float | None = None
    """Unix seconds; None: now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Retention of each topic of an embedded log; the oldest records are deleted first. None: no limit."""

    records: int | None = None
    """Most records."""
    bytes: int | None = 4 << 30
    """Most bytes of keys and values."""
    seconds: float | None = None
    """Maximum age in seconds."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets that retention deleted before they were read: `first` to `last`, both included."""

    partition: Partition
    first: int
    last: int


class Reader(Protocol):
    """A position in one or more topics. Used by one thread. It only moves backwards by `seek`."""

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        """The next records, at most about this many; waits up to the timeout if there are none, then returns [].

        Reads every partition of the topics, including new ones. Records of one partition are in
        offset order; there is no order across partitions. Only committed records are returned.
        While the log is unavailable it retries internally and returns []: it never raises for a temporary failure.
        """

    def seek(self, after: Position) -> None:
        """Continue after these offsets; partitions not named continue at the reader's start."""

    def position(self) -> Position:
        """The last offset per partition that was returned or seeked past."""

    def lag(self) -> Mapping[Partition, int]:
        """Lag: records not yet returned, per partition; does not block, so it may be slightly out of date."""

    def reached(self) -> bool:
        """Whether the log responded recently. If not, an empty poll and a lag of 0 mean nothing."""

    def gaps(self) -> list[Gap]:
        """What retention deleted before it was read, since the last call. The reader continued at the next record."""

    def commit(self, position: Position, note: str = "") -> None:
        """Report the position to the log, for monitoring only; never read back. Does not block."""

    def close(self) -> None:
        """Release resources; may be called twice."""


class Log(Protocol):
    """Topics of partitions of records. Safe to share between threads; readers are not."""

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        """Append in order and durably; returns when the log has the records. Creates a new topic.

        Messages with equal keys go to one partition. Raises LogError when the log rejects them.
        """

    def reader(self, topics: Sequence[str], after: Position, start: Start = "earliest", group: str = "") -> Reader:
        """A reader that continues after `after`; partitions not named there start at `start`.

        `group` names the reader for the log's own monitoring (Kafka: the consumer group whose lag is shown).
        Raises LogError for `latest` while the log is unavailable, because the latest offset is unknown then.
        """

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        """Earliest offset and next offset per partition; {} if there is no topic."""

    def identity(self, topic: str) -> str | None:
        """Tells a topic from another of the same name that was created after it was deleted.

        None: the topic does not exist, or the log has no identities. Raises LogError while the log is unavailable.
        """

    def close(self) -> None:
        """Release resources; may be called twice."""


class InMemoryLog:
    """The log as lists in memory: one partition per topic, for tests and notebooks."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._topics: dict[str, list[tuple[float, bytes | None, bytes | None, Headers]]] = defaultdict(list)
        self._earliest: dict[str, int] = defaultdict(int)
        self._changed = threading.Condition()
        self._identity = uuid.uuid4().hex

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        with self._changed:
            rows = self._topics[topic]
            first = self._earliest[topic] + len(rows)
            rows.extend((m.time if m.time is not None else self._clock(), m.key, m.value, m.headers) for m in messages)
            self._changed.notify_all()
        return [Appended(Partition(topic, 0), first + i) for i in range(len(messages))]

    def reader(self, topics: Sequence[str], after: Position, start: Start = "earliest", group: str = "") -> Reader:
        return _InMemoryReader(self, topics, after, start)

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        with self._changed:
            if topic not in self._topics:
                return {}
            earliest = self._earliest[topic]
            return {Partition(topic, 0): (earliest, earliest + len(self._topics[topic]))}

    def identity(self, topic: str) -> str | None:
        return self._identity

    def delete_before(self, topic: str, offset: int) -> None:
        """Delete the records before `offset`, like retention."""
        with self._changed:
            drop = max(0, min(offset - self._earliest[topic], len(self._topics[topic])))
            del self._topics[topic][:drop]
            self._earliest[topic] += drop

    def close(self) -> None:
        """Nothing to release."""

    def _slice(self, topic: str, offset: int, count: int) -> tuple[int, Records]:
        """Earliest offset, and up to `count` records from `offset` on. The caller holds the condition."""
        earliest = self._earliest[topic]
        at = max(offset, earliest) - earliest
        rows = self._topics[topic][at : at + count] if topic in self._topics else []
        offsets = range(earliest + at, earliest + at + len(rows))
        times, keys, values, headers = zip(*rows) if rows else ((), (), (), ())
        return earliest, Records(Partition(topic, 0), offsets, times, keys, values, headers)


class _InMemoryReader:
    def __init__(self, log: InMemoryLog, topics: Sequence[str], after: Position, start: Start) -> None:
        self._log = log
        self._starts = {}
        for topic in topics:
            bounds = log.bounds(topic).get(Partition(topic, 0), (0, 0))
            self._starts[topic] = bounds[0] if start == "earliest" else bounds[1]
        self._gaps: list[Gap] = []
        self.seek(after)

    def seek(self, after: Position) -> None:
        self._next = {topic: after.get(Partition(topic, 0), first - 1) + 1 for topic, first in self._starts.items()}

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        deadline = time.monotonic() + timeout_seconds
        with self._log._changed:
            while not (found := self._take(max_records, max_bytes)):
                left = deadline - time.monotonic()
                if left <= 0 or not self._log._changed.wait(left):
                    return self._take(max_records, max_bytes)
        return found

    def _take(self, max_records: int, max_bytes: int) -> list[Records]:
        found = []
        for topic, offset in self._next.items():
            earliest, records = self._log._slice(topic, offset, max_records)
            if offset < earliest:
                self._gaps.append(Gap(Partition(topic, 0), offset, earliest - 1))
                self._next[topic] = earliest
            size = 0
            for count, value in enumerate(records.values):
                size += len(value or b"")
                if size > max_bytes and count:
                    records = records[:count]
                    break
            if len(records):
                self._next[topic] = records.offsets[-1] + 1
                found.append(records)
        return found

    def position(self) -> Position:
        return {Partition(topic, 0): offset - 1 for topic, offset in self._next.items() if offset > 0}

    def lag(self) -> Mapping[Partition, int]:
        return {
            partition: end - max(self._next[topic], earliest)
            for topic in self._next
            for partition, (earliest, end) in self._log.bounds(topic).items()
        }

    def reached(self) -> bool:
        return True

    def gaps(self) -> list[Gap]:
        found, self._gaps = self._gaps, []
        return found

    def commit(self, position: Position, note: str = "") -> None:
        """There is no monitoring."""

    def close(self) -> None:
        """Nothing to release."""
