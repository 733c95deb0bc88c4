"""An in-memory log whose topics have several partitions, and a group whose members share them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from thalweg.proto.records import Partition, Position, Records
from thalweg.stream.log.groups import GroupListener
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import UNLIMITED, Appended, Epochs, Gap, Message, Problem, Reader, Start
from thalweg.stream.shards.partitioner import partition_of

UNNAMED = "~"


class PartitionedLog:
    """Topics of several partitions, each an in-memory log of its own; equal keys go to one partition.

    Args:
        count: Partitions of each topic.
        cluster: The id of its cluster; None: it has none.
    """

    def __init__(self, count: int, cluster: str | None = None) -> None:
        self._cluster = cluster
        self.parts = [InMemoryLog() for _ in range(count)]
        self.groups: dict[str, Group] = {}
        self._adding = threading.Lock()

    def add(self, count: int) -> None:
        """Add partitions."""
        self.parts += [InMemoryLog() for _ in range(count)]

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        return [self._append(topic, row, message) for row, message in enumerate(messages)]

    def _append(self, topic: str, row: int, message: Message) -> Appended:
        count = len(self.parts)
        if (number := message.partition) is None:
            number = row % count if message.key is None else partition_of(message.key, count)
        (one,) = self.parts[number].append(topic, [message])
        return Appended(Partition(topic, number), one.offset)

    def max_record_bytes(self, topic: str) -> int:
        return UNLIMITED

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
        numbers = range(len(self.parts)) if partition is None else [partition]
        readers = {number: self.parts[number].reader(topics, _alone(after, number), start) for number in numbers}
        return _Several(readers)

    def member(self, topic: str, group: str, instance: str, listener: GroupListener) -> Member:
        with self._adding:
            return self.groups.setdefault(group, Group(self)).join(instance, listener)

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        found = {}
        for number, part in enumerate(self.parts):
            for bounds in part.bounds(topic).values():
                found[Partition(topic, number)] = bounds
        return found

    def named_members(self, group: str) -> Sequence[str]:
        with self._adding:
            members = self.groups[group].members if group in self.groups else {}
        return [name for name in [*members] if not name.startswith(UNNAMED)]

    def identity(self, topic: str) -> str | None:
        return "in-memory"

    def epochs(self, topic: str) -> Epochs:
        return ()

    def cluster(self) -> str | None:
        return self._cluster

    def close(self) -> None:
        """Nothing to release."""


def _alone(position: Position, number: int) -> Position:
    return {Partition(part.topic, 0): last for part, last in position.items() if part.number == number}


class _Several:
    def __init__(self, readers: Mapping[int, Reader]) -> None:
        self._readers = readers

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        until = time.monotonic() + timeout_seconds
        while True:
            found = [
                replace(run, partition=Partition(run.partition.topic, number))
                for number, reader in self._readers.items()
                for run in reader.poll(0, max_records, max_bytes)
            ]
            if found or time.monotonic() > until:
                return found
            time.sleep(0.005)

    def seek(self, after: Position) -> None:
        for number, reader in self._readers.items():
            reader.seek(_alone(after, number))

    def position(self) -> Position:
        return {
            Partition(part.topic, number): last
            for number, reader in self._readers.items()
            for part, last in reader.position().items()
        }

    def lag(self) -> Mapping[Partition, int]:
        return {
            Partition(part.topic, number): count
            for number, reader in self._readers.items()
            for part, count in reader.lag().items()
        }

    def reached(self) -> bool:
        return True

    def problem(self) -> Problem | None:
        return None

    def gaps(self) -> list[Gap]:
        return [
            replace(gap, partition=Partition(gap.partition.topic, number))
            for number, reader in self._readers.items()
            for gap in reader.gaps()
        ]

    def commit(self, position: Position, note: str = "") -> None:
        """Nobody monitors it."""

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()


class Group:
    """Partitions are shared evenly; who has too many releases some before another gets them, as Kafka's cooperative
    protocol does it.
    """

    def __init__(self, log: PartitionedLog) -> None:
        self._log = log
        self.lock = threading.RLock()
        self.members: dict[str, Member] = {}
        self._unnamed = itertools.count()
        self.committed: dict[Partition, int] = {}

    def join(self, instance: str, listener: GroupListener) -> Member:
        with self.lock:
            leaves = not instance
            instance = instance or f"{UNNAMED}{next(self._unnamed)}"
            member = Member(self, listener, leaves=leaves)
            if (before := self.members.get(instance)) is not None:
                before.out = True
                member.kept = before.owned
            self.members[instance] = member
            return member

    def expel(self, instance: str) -> None:
        """A member's session has ended, and it does not know yet."""
        with self.lock:
            self.members.pop(instance).out = True

    def target(self, member: Member) -> set[int]:
        here = sorted(self.members)
        place = here.index(next(name for name, one in self.members.items() if one is member))
        return set(range(place, len(self._log.parts), len(here)))

    def taken(self, but: Member) -> set[int]:
        return {number for one in self.members.values() if one is not but for number in one.owned | one.kept}


class Member:
    def __init__(self, group: Group, listener: GroupListener, *, leaves: bool) -> None:
        self._group, self._listener, self._leaves = group, listener, leaves
        self.owned: set[int] = set()
        self.kept: set[int] = set()
        self.out = False
        """Its session has ended: it hears of it when `hears` is set."""
        self.hears = threading.Event()

    def poll(self, timeout_seconds: float) -> None:
        if self.out:
            if self.hears.is_set() and self.owned:
                lost, self.owned = self.owned, set()
                self._listener.lost(lost)
        else:
            self._share()
        time.sleep(min(timeout_seconds, 0.01))

    def _share(self) -> None:
        with self._group.lock:
            target = self._group.target(self)
            revoked, free = self.owned - target, target - self.owned - self._group.taken(self)
        if revoked:
            self._listener.revoked(revoked)
            self.owned -= revoked
        with self._group.lock:
            self.kept = set()
            self.owned |= free
        if free:
            self._listener.assigned(free)

    def commit(self, position: Position, note: str = "") -> None:
        self._group.committed |= dict(position)

    def close(self) -> None:
        """Its partitions are kept for it, unless it has no name."""
        if self._leaves:
            with self._group.lock:
                self._group.members = {name: one for name, one in self._group.members.items() if one is not self}


def numbers(parts: Collection[Partition]) -> set[int]:
    """The numbers of partitions."""
    return {part.number for part in parts}
