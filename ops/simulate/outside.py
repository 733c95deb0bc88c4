"""The log and the store as the simulated service sees them: in memory, sometimes out of reach, slow to answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from thalweg.memory.exchange.commands import Command, InMemoryCommandQueue, StoreError
from thalweg.memory.exchange.pending import InMemoryPending, Waiting
from thalweg.ops.simulate.faults import Faults
from thalweg.ops.simulate.scheduler import Scheduler
from thalweg.proto.records import Partition, Position, Records
from thalweg.stream.log.groups import GroupListener, GroupMember, SoleMember
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Appended, Epochs, Gap, LogError, Message, Problem, Reader, Start

Answer = TypeVar("Answer")

_REQUEST_SECONDS = 0.002


class _Counted(InMemoryLog):
    """Counts appends: whether there is something new is asked after every turn of every task."""

    appends = 0

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        self.appends += 1
        return super().append(topic, messages)


class SimulatedLog:
    """A log of one partition per topic, which may be away; an append may succeed although its caller dies."""

    def __init__(self, scheduler: Scheduler, faults: Faults) -> None:
        self._scheduler = scheduler
        self._faults = faults
        self.records = _Counted(scheduler.clock)
        """What is in it, for whoever is outside the simulated service."""

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        self._ask(f"append to {topic}")
        appended = self.records.append(topic, messages)
        self._faults.point(f"appended to {topic}")
        return appended

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
        if start == "latest":
            self._ask("latest offsets")
        return _SimulatedReader(
            self.records.reader(topics, after, start, group, partition), self.records, self._scheduler, self._faults
        )

    def member(self, topic: str, group: str, instance: str, listener: GroupListener) -> GroupMember:
        return SoleMember(lambda: self.bounds(topic), listener)

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        self._ask(f"bounds of {topic}")
        return self.records.bounds(topic)

    def max_record_bytes(self, topic: str) -> int:
        return self.records.max_record_bytes(topic)

    def named_members(self, group: str) -> Sequence[str]:
        return ()

    def identity(self, topic: str) -> str | None:
        self._ask(f"identity of {topic}")
        return "simulated"  # not drawn at random: its checksum's length in a file decides when a disk is full

    def epochs(self, topic: str) -> Epochs:
        return ()

    def cluster(self) -> str | None:
        return None

    def close(self) -> None:
        """Nothing to release."""

    def _ask(self, what: str) -> None:
        self._faults.point(what)
        self._scheduler.sleep(_REQUEST_SECONDS)
        if self._faults.log_away:
            raise LogError(f"{what}: the log is out of reach")


class _SimulatedReader:
    def __init__(self, reader: Reader, records: _Counted, scheduler: Scheduler, faults: Faults) -> None:
        self._reader = reader
        self._records = records
        self._nothing_at = -1  # the number of appends when there was nothing to read
        self._scheduler = scheduler
        self._faults = faults

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        self._faults.point("poll")
        if timeout_seconds > 0:
            self._scheduler.wait(self._readable, timeout_seconds)
        if self._faults.log_away:
            return []
        return self._reader.poll(0.0, 1 + self._faults.choose(max_records), max_bytes)  # a broker may return a part

    def _readable(self) -> bool:
        if self._faults.log_away or self._nothing_at == self._records.appends:
            return False
        found = any(self._reader.lag().values())
        if not found:
            self._nothing_at = self._records.appends
        return found

    def seek(self, after: Position) -> None:
        self._reader.seek(after)

    def position(self) -> Position:
        return self._reader.position()

    def lag(self) -> Mapping[Partition, int]:
        return self._reader.lag()

    def reached(self) -> bool:
        return not self._faults.log_away

    def problem(self) -> Problem | None:
        return Problem("the log is out of reach") if self._faults.log_away else None

    def gaps(self) -> list[Gap]:
        return self._reader.gaps()

    def commit(self, position: Position, note: str = "") -> None:
        self._reader.commit(position, note)

    def close(self) -> None:
        self._reader.close()


class SimulatedPending:
    """Events that wait for their labels, in a store that may be away."""

    def __init__(self, scheduler: Scheduler, faults: Faults) -> None:
        self._faults = faults
        self._kept = InMemoryPending(clock=scheduler.clock)

    def remember(self, model: str, entries: Sequence[tuple[str, float, bytes]]) -> None:
        self._ask("remember", lambda: self._kept.remember(model, entries))

    def find(self, model: str, ids: Sequence[str]) -> list[Waiting | None]:
        return self._ask("find", lambda: self._kept.find(model, ids))

    def settle(self, model: str, ids: Collection[str]) -> None:
        self._ask("settle", lambda: self._kept.settle(model, ids))

    def check(self) -> None:
        self._ask("check", lambda: None)

    def close(self) -> None:
        """Nothing to release."""

    def _ask(self, what: str, action: Callable[[], Answer]) -> Answer:
        self._faults.point(what)
        if self._faults.store_away:
            raise StoreError("the store is out of reach")
        answer = action()
        self._faults.point(f"done: {what}")
        return answer


class SimulatedCommands:
    """The queue of commands, in the same store."""

    def __init__(self, scheduler: Scheduler, faults: Faults) -> None:
        self._faults = faults
        self._queue = InMemoryCommandQueue(scheduler.clock)

    def submit(self, model: str, verb: str, arguments: Mapping[str, Any]) -> str:
        self._ask("submit")
        return self._queue.submit(model, verb, arguments)

    def poll(self, model: str) -> list[Command]:
        self._faults.point("commands")
        return [] if self._faults.store_away else self._queue.poll(model)

    def respond(self, id: str, result: Mapping[str, Any]) -> None:
        self._ask("respond")
        self._queue.respond(id, result)

    def response(self, id: str, timeout_seconds: float) -> Mapping[str, Any] | None:
        self._ask("response")
        return self._queue.response(id, 0.0)

    def close(self) -> None:
        """Nothing to release."""

    def _ask(self, what: str) -> None:
        self._faults.point(what)
        if self._faults.store_away:
            raise StoreError("the store is out of reach")
