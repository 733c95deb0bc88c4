"""kafka-python's consumer, as a reader needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from thalweg.proto.records import Headers, Partition, Records
from thalweg.stream.log.kafka_client.clients import Clients
from thalweg.stream.log.kafka_client.errors import client_error
from thalweg.stream.log.kafka_shared.by_leader import by_leader
from thalweg.stream.log.kafka_shared.consumer import ANSWER_SECONDS, OffsetGone, Topic

P = ParamSpec("P")
T = TypeVar("T")

_OFFSET, _TIMESTAMP, _KEY, _VALUE, _HEADERS = (
    ConsumerRecord._fields.index(name) for name in ("offset", "timestamp", "key", "value", "headers")
)
_PASSED_SECONDS = 0.1


def _told(action: Callable[Concatenate[PythonConsumer, P], T]) -> Callable[Concatenate[PythonConsumer, P], T]:
    """With ClientError for the client's own errors."""

    @wraps(action)
    def call(self: PythonConsumer, /, *arguments: P.args, **more: P.kwargs) -> T:
        try:
            return action(self, *arguments, **more)
        except KafkaError as error:
            raise client_error(error, self._where, self._brokers()) from error

    return call


class PythonConsumer:
    """See `Consumer`. Raises ClientError while there is no broker, PermanentLogError for a property that is refused.

    Args:
        clients: Opens the consumer.
        group: The consumer group to which positions are committed.
        one_of_many: It reads one partition, as many others of this process do.
    """

    _consumer: Any = None

    @_told
    def __init__(self, clients: Clients, group: str | None = None, *, one_of_many: bool = False) -> None:
        self._where = clients.where
        self._consumer = clients.consumer(group, one_of_many=one_of_many)

    @_told
    def topics(self, names: Sequence[str], fresh: bool = False) -> Mapping[str, Topic]:
        if fresh:
            self._consumer.refresh()
        numbers = {name: frozenset(self._consumer.partitions_for_topic(name)) for name in names}
        forbidden = self._consumer.forbidden()
        return {name: Topic(found, self._consumer.topic_id(name), name in forbidden) for name, found in numbers.items()}

    def bounds(
        self, partitions: Sequence[Partition], timeout_seconds: float = ANSWER_SECONDS
    ) -> Mapping[Partition, tuple[int, int]]:
        return by_leader(partitions, timeout_seconds, self._bounds, lambda: self._leaders(partitions))

    def ends(self, partitions: Sequence[Partition], timeout_seconds: float) -> Mapping[Partition, int]:
        return by_leader(partitions, timeout_seconds, self._ends, lambda: self._leaders(partitions))

    @_told
    def _bounds(self, partitions: Sequence[Partition], seconds: float) -> Mapping[Partition, tuple[int, int]]:
        found: Mapping[Partition, tuple[int, int]] = self._consumer.bounds(partitions, seconds)
        return found

    @_told
    def _ends(self, partitions: Sequence[Partition], seconds: float) -> Mapping[Partition, int]:
        found: Mapping[Partition, int] = self._consumer.ends(partitions, seconds)
        return found

    @_told
    def _leaders(self, partitions: Sequence[Partition]) -> Mapping[Partition, str]:
        found: Mapping[Partition, str] = self._consumer.leaders(partitions)
        return found

    @_told
    def read(self, offsets: Mapping[Partition, int]) -> None:
        self._consumer.assign([TopicPartition(*partition) for partition in offsets])
        for partition, offset in offsets.items():
            self._consumer.seek(TopicPartition(*partition), offset)

    @_told
    def go_to(self, partition: Partition, offset: int) -> None:
        self._consumer.seek(TopicPartition(*partition), offset)
        self._consumer.resume(TopicPartition(*partition))

    @_told
    def pause(self, partition: Partition) -> None:
        self._consumer.pause(TopicPartition(*partition))

    @_told
    def poll(self, timeout_seconds: float, max_records: int) -> list[Records]:
        try:
            polled = self._consumer.poll(int(timeout_seconds * 1000), max_records)
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            found = getattr(error, "divergent_offsets", {})
            raise OffsetGone({Partition(*part): one.offset for part, one in found.items() if one}) from error
        return [_run(Partition(*part), records) for part, records in polled.items() if records]

    @_told
    def highest(self, partition: Partition) -> int:
        return self._consumer.highwater(TopicPartition(*partition)) or 0

    @_told
    def passed(self, partition: Partition) -> int:
        return self._consumer.position(TopicPartition(*partition), timeout_ms=_PASSED_SECONDS * 1000) or 0

    @_told
    def commit(self, offsets: Iterable[tuple[Partition, int]], note: str) -> None:
        places = {TopicPartition(*partition): OffsetAndMetadata(offset, note, -1) for partition, offset in offsets}
        self._consumer.commit_async(places, callback=_ignore)

    def _brokers(self) -> int:
        return 1 if self._consumer is None else self._consumer.brokers()

    @_told
    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=1000)


def _run(partition: Partition, records: Sequence[Any]) -> Records:
    columns = list(zip(*records))  # the client's records are tuples
    return Records(
        partition,
        columns[_OFFSET],
        [stamp / 1000 for stamp in columns[_TIMESTAMP]],
        columns[_KEY],
        columns[_VALUE],
        [_headers(one) for one in columns[_HEADERS]] if any(columns[_HEADERS]) else columns[_HEADERS],
    )


def _headers(headers: Headers) -> Headers:
    """Kafka allows headers without a value; they are read as empty."""
    return [(name, b"" if value is None else value) for name, value in headers]


def _ignore(*_: object) -> None:
    """A commit is for monitoring only; one that is lost is followed by another."""
