"""An embedded log whose file may be damaged when the process starts: every call raises LogError until it is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from thalweg.memory.reopening import Reopening
from thalweg.proto.records import Partition, Position
from thalweg.stream.log.groups import GroupListener, GroupMember
from thalweg.stream.log.log import UNLIMITED, Appended, Epochs, Log, LogError, Message, Reader, Start


def reopened_log(url: str, open: Callable[[], Log]) -> Log:
    """What `open` returns; a file that cannot be opened is tried again. Raises LogError for any other log."""
    return ReopenedLog(url, open) if url.startswith("sqlite:") else open()


class ReopenedLog:
    """A log that stays open once it is: then a file that is replaced is `LogReplaced`, as ever.

    Args:
        url: Its URL.
        open: Opens it. Raises LogError.
    """

    def __init__(self, url: str, open: Callable[[], Log]) -> None:
        self._log = Reopening(f"log {url}", open, LogError)

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        return self._log.get().append(topic, messages)

    def max_record_bytes(self, topic: str) -> int:
        found = self._log.present  # must not block
        return UNLIMITED if found is None else found.max_record_bytes(topic)

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
        return self._log.get().reader(topics, after, start, group, partition, patient=patient)

    def member(self, topic: str, group: str, instance: str, listener: GroupListener) -> GroupMember:
        return self._log.get().member(topic, group, instance, listener)

    def named_members(self, group: str) -> Sequence[str]:
        return self._log.get().named_members(group)

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        return self._log.get().bounds(topic)

    def identity(self, topic: str) -> str | None:
        return self._log.get().identity(topic)

    def epochs(self, topic: str) -> Epochs:
        return self._log.get().epochs(topic)

    def cluster(self) -> str | None:
        return self._log.get().cluster()

    def close(self) -> None:
        self._log.close()
