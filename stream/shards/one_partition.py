"""A log as the learner of one shard sees it: its topics have one partition."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from thalweg.proto.records import Partition, Position, Records
from thalweg.stream.log.groups import GroupListener, GroupMember
from thalweg.stream.log.log import Appended, Epochs, Gap, Log, Message, Problem, Reader, Start

Commit = Callable[[Position, str], None]


class OnePartition:
    """The log, of which one partition of the shard's topics is read. Closing it closes nothing.

    Args:
        log: The log.
        topics: The shard's topics; others, such as those of dead letters, are read whole.
        number: The partition.
        commit: Takes positions to commit: a group with members takes them from a member only.
        patient: See `Log.reader`; not for one that follows, which goes back again and again.
    """

    def __init__(
        self, log: Log, topics: Collection[str], number: int, commit: Commit, *, patient: bool = False
    ) -> None:
        self._patient = patient
        self._log, self._topics, self._number, self._commit = log, frozenset(topics), number, commit

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        return self._log.append(topic, messages)

    def max_record_bytes(self, topic: str) -> int:
        return self._log.max_record_bytes(topic)

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
        if not self._topics.issuperset(topics):
            return self._log.reader(topics, after, start, group, partition)
        reader = self._log.reader(topics, after, start, "", self._number, patient=self._patient)
        return _CommitsElsewhere(reader, self._commit)

    def member(self, topic: str, group: str, instance: str, listener: GroupListener) -> GroupMember:
        return self._log.member(topic, group, instance, listener)

    def named_members(self, group: str) -> Sequence[str]:
        return self._log.named_members(group)

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        found = self._log.bounds(topic)
        return {part: one for part, one in found.items() if topic not in self._topics or part.number == self._number}

    def identity(self, topic: str) -> str | None:
        return self._log.identity(topic)

    def epochs(self, topic: str) -> Epochs:
        return self._log.epochs(topic)

    def cluster(self) -> str | None:
        return self._log.cluster()

    def close(self) -> None:
        """Nothing: the log is shared."""


class _CommitsElsewhere:
    """A reader whose positions are committed by somebody else."""

    def __init__(self, reader: Reader, commit: Commit) -> None:
        self._reader, self._commit = reader, commit

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        return self._reader.poll(timeout_seconds, max_records, max_bytes)

    def seek(self, after: Position) -> None:
        self._reader.seek(after)

    def position(self) -> Position:
        return self._reader.position()

    def lag(self) -> Mapping[Partition, int]:
        return self._reader.lag()

    def reached(self) -> bool:
        return self._reader.reached()

    def problem(self) -> Problem | None:
        return self._reader.problem()

    def gaps(self) -> list[Gap]:
        return self._reader.gaps()

    def commit(self, position: Position, note: str = "") -> None:
        self._commit(position, note)

    def close(self) -> None:
        self._reader.close()
