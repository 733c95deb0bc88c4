"""The log as lists in memory, for tests and notebooks."""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from thalweg.proto.records import Headers, Partition, Position, Records
from thalweg.stream.log.groups import GroupListener, GroupMember, SoleMember
from thalweg.stream.log.log import (
    UNLIMITED,
    Appended,
    Epochs,
    Gap,
    LogError,
    Message,
    Problem,
    Reader,
    RecordTooLarge,
    Start,
)


class InMemoryLog:
    """The log as lists in memory: one partition per topic, for tests and notebooks.

    Args:
        clock: Unix seconds.
        max_record_bytes: Larger records are refused.
        cluster: The id of the cluster whose twin it is; None: it has none.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        max_record_bytes: int = UNLIMITED,
        cluster: str | None = None,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._max_record_bytes = max_record_bytes
        self._topics: dict[str, list[tuple[float, bytes | None, bytes | None, Headers]]] = defaultdict(list)
        self._earliest: dict[str, int] = defaultdict(int)
        self._changed = threading.Condition()
        self._identity = uuid.uuid4().hex
        self._replaced: dict[str, int] = defaultdict(int)
        self._damaged: set[tuple[str, int]] = set()

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        limit = self._max_record_bytes
        refused = [row for row, one in enumerate(messages) if one.size_bytes > limit] if limit < UNLIMITED else []
        taken = [message for row, message in enumerate(messages) if row not in refused]
        with self._changed:
            rows = self._topics[topic]
            first = self._earliest[topic] + len(rows)
            rows.extend((m.time if m.time is not None else self._clock(), m.key, m.value, m.headers) for m in taken)
            self._changed.notify_all()
        if refused:
            raise RecordTooLarge(
                f"topic {topic!r}: expected records of at most {limit} bytes, got {messages[refused[0]].size_bytes}",
                refused,
            )
        return [Appended(Partition(topic, 0), first + i) for i in range(len(messages))]

    def max_record_bytes(self, topic: str) -> int:
        return self._max_record_bytes

    def reader(
        self,
        topics: Sequence[str],
        after: Position,
        start: Start = "earliest",
        group: str = "",
        partition: int | None = None,
        *,
        patient: bool = False,
    ) -> Reader:
        if partition not in (None, 0):
            raise LogError(f"expected partition 0, the only one in memory, got {partition}")
        return _InMemoryReader(self, topics, after, start)

    def member(self, topic: str, group: str, instance: str, listener: GroupListener) -> GroupMember:
        return SoleMember(lambda: self.bounds(topic), listener)

    def named_members(self, group: str) -> Sequence[str]:
        return ()

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        with self._changed:
            if topic not in self._topics:
                return {}
            earliest = self._earliest[topic]
            return {Partition(topic, 0): (earliest, earliest + len(self._topics[topic]))}

    def identity(self, topic: str) -> str | None:
        times = self._replaced[topic]
        return f"{self._identity}-{times}" if times else self._identity

    def epochs(self, topic: str) -> Epochs:
        return ()

    def cluster(self) -> str | None:
        return self._cluster

    def recreate(self, topic: str) -> None:
        """Delete a topic and create it again, empty."""
        with self._changed:
            self._topics[topic] = []
            self._earliest[topic] = 0
            self._replaced[topic] += 1
            self._damaged = {(name, offset) for name, offset in self._damaged if name != topic}

    def damage(self, topic: str, offset: int) -> None:
        """From now on the record at this offset cannot be read."""
        self._damaged.add((topic, offset))

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
        self._replaced = {topic: log._replaced[topic] for topic in topics}
        self._held = False
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
        found: list[Records] = []
        self._notice_replaced()
        if self._held:
            return []
        for topic, offset in self._next.items():
            while (topic, offset) in self._log._damaged:
                self._gaps.append(Gap(Partition(topic, 0), offset, offset, "unreadable", "damaged"))
                self._next[topic] = offset = offset + 1
            earliest, records = self._log._slice(topic, offset, max_records)
            records = records[: self._sound(topic, records)]
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

    def _notice_replaced(self) -> None:
        for topic, times in self._replaced.items():
            if self._log._replaced[topic] != times:
                self._gaps.append(Gap(Partition(topic, 0), self._next[topic], self._next[topic] - 1, "replaced"))
                self._replaced[topic], self._next[topic], self._held = self._log._replaced[topic], 0, True

    def _sound(self, topic: str, records: Records) -> int:
        """How many of them come before the first that is damaged."""
        damaged = self._log._damaged
        if not damaged:
            return len(records)
        return next((n for n, offset in enumerate(records.offsets) if (topic, offset) in damaged), len(records))

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

    def problem(self) -> Problem | None:
        return None

    def gaps(self) -> list[Gap]:
        found, self._gaps = self._gaps, []
        self._held = False
        return found

    def commit(self, position: Position, note: str = "") -> None:
        """There is no monitoring."""

    def close(self) -> None:
        """Nothing to release."""
