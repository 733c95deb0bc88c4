"""A log whose topics of scaled models are created by people alone: their partitions are the shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thalweg.proto.records import Partition, Position
from thalweg.stream.log.groups import GroupListener, GroupMember
from thalweg.stream.log.identity import partitions_of
from thalweg.stream.log.log import Appended, Epochs, Log, Message, PermanentLogError, Reader, Start


class CreatedFirst:
    """The log, which appends nothing to some topics before they exist: it would create them with as many partitions as
    the cluster has by default.

    Args:
        log: The log, which is closed with this one.
        topics: By name, the model that is learned from it in shards.
    """

    def __init__(self, log: Log, topics: Mapping[str, str]) -> None:
        self._log, self._missing = log, dict(topics)

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        if (model := self._missing.get(topic)) is not None:
            if not partitions_of(self._log, topic):
                raise PermanentLogError(
                    f"topic {topic!r} does not exist: nothing is appended before it is created, as the partitions that "
                    f"it has then are the shards of model {model!r}: create it with at least as many as there will be "
                    f"learner processes (kafka-topics.sh --create --topic {topic} --partitions …)"
                )
            self._missing = {name: one for name, one in self._missing.items() if name != topic}
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
        return self._log.reader(topics, after, start, group, partition, patient=patient)

    def member(self, topic: str, group: str, instance: str, listener: GroupListener) -> GroupMember:
        return self._log.member(topic, group, instance, listener)

    def named_members(self, group: str) -> Sequence[str]:
        return self._log.named_members(group)

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        return self._log.bounds(topic)

    def identity(self, topic: str) -> str | None:
        return self._log.identity(topic)

    def epochs(self, topic: str) -> Epochs:
        return self._log.epochs(topic)

    def cluster(self) -> str | None:
        return self._log.cluster()

    def close(self) -> None:
        self._log.close()
