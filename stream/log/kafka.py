"""The log in Kafka, through kafka-python.

Offsets are stored in snapshots: partitions are assigned manually, and offsets committed to the consumer group are only
for monitoring. Only committed records are read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from kafka import KafkaConsumer, KafkaProducer, TopicPartition, codec
from kafka.errors import GroupIdNotFoundError, KafkaError

from thalweg.proto.records import Partition, Position
from thalweg.stream.log.groups import GroupListener, GroupMember
from thalweg.stream.log.kafka_client import batches, sockets
from thalweg.stream.log.kafka_client.clients import Clients
from thalweg.stream.log.kafka_client.consumer import PythonConsumer
from thalweg.stream.log.kafka_client.errors import append_error, client_error, in_doubt, log_error
from thalweg.stream.log.kafka_client.limits import largest_batch, topic_setting
from thalweg.stream.log.kafka_client.member import PythonMember
from thalweg.stream.log.kafka_client.producer import ReplaceableProducer
from thalweg.stream.log.kafka_client.properties import translate
from thalweg.stream.log.kafka_shared.by_leader import by_leader
from thalweg.stream.log.kafka_shared.compaction import POLICY, CompactionWatch
from thalweg.stream.log.kafka_shared.consumer import ANSWER_SECONDS, ClientError, SomeAway, partly_away
from thalweg.stream.log.kafka_shared.limits import RecordLimits
from thalweg.stream.log.kafka_shared.members import listed_as
from thalweg.stream.log.kafka_shared.reader import KafkaReader, latest_known
from thalweg.stream.log.kafka_shared.rejoin import RejoiningMember
from thalweg.stream.log.kafka_shared.together import OneOfMany, Shared
from thalweg.stream.log.log import (
    Appended,
    Epochs,
    LogError,
    Message,
    PermanentLogError,
    Problem,
    Reader,
    Reading,
    Start,
)

Answer = TypeVar("Answer")


class KafkaLog:
    """Topics of a Kafka cluster.

    Args:
        servers: `HOST:PORT[,HOST:PORT]`.
        properties: Client properties under their usual names (`security.protocol`, `sasl.mechanism`, …).
        reading: What to do about records that cannot be read.

    Raises:
        LogError: A property is unknown, reserved or invalid, or a required package is missing.
    """

    def __init__(
        self, servers: str, properties: Mapping[str, Any] | None = None, reading: Reading | None = None
    ) -> None:
        _require_crc32c()
        _require_codecs()
        batches.install()
        sockets.install()
        reading = reading or Reading()
        known = set(KafkaConsumer.DEFAULT_CONFIG) | set(KafkaProducer.DEFAULT_CONFIG)
        self._clients = Clients(servers.split(","), translate(properties or {}, known), reading.unpacked_bytes)
        self._unreadable_seconds = reading.unreadable_seconds
        self._limits = RecordLimits(lambda topic: largest_batch(self._clients, topic), self._clients.most_request_bytes)
        self._compaction = CompactionWatch(lambda topic: topic_setting(self._clients, topic, POLICY))
        self._shared = Shared(self._ends)
        # questions take long in an outage, and no append waits for them
        self._looking, self._asking = threading.Lock(), threading.Lock()
        self._producer = ReplaceableProducer(self._clients.producer, numbered=True)
        # without sequence numbers, for records that were refused: it tells those that can never be appended from those
        # that were sent beside them. It may append a record twice when a response is lost.
        self._plain = ReplaceableProducer(partial(self._clients.producer, enable_idempotence=False), numbered=False)
        self._looker: Any = None
        self._admin: Any = None
        self._closed = False

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        try:
            landed, failed = self._producer.send_all(topic, dict(enumerate(messages)))
            doubtful = {row: messages[row] for row, error in failed.items() if in_doubt(error)}
            for row, message in doubtful.items():
                alone, still = self._plain.send_all(topic, {row: message})
                landed |= alone
                failed = {**{other: error for other, error in failed.items() if other != row}, **still}
        except (KafkaError, ValueError) as error:  # ValueError: an invalid topic name
            raise log_error(f"topic {topic!r}: not appended", error, self._clients.where) from error
        if failed:
            most = self.max_record_bytes(topic)
            raise append_error(topic, sorted(failed.items()), most, self._clients.where) from failed[min(failed)]
        return [landed[row] for row in range(len(messages))]

    def max_record_bytes(self, topic: str) -> int:
        return self._limits.get(topic)

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
        if group:  # of a model, not of who looks on
            self._compaction.look(topics)
        reader = KafkaReader(
            lambda: self._one_of_many() if patient else self.consumer(group or None),
            topics,
            after,
            start,
            commits=bool(group),
            partition=partition,
            unreadable_seconds=self._unreadable_seconds,
        )
        return latest_known(reader, topics) if start == "latest" else reader

    def consumer(self, group: str | None = None) -> PythonConsumer:
        """A consumer as readers use it. Raises ClientError while there is no broker."""
        return PythonConsumer(self._clients, group)

    def _one_of_many(self) -> OneOfMany:
        return OneOfMany(PythonConsumer(self._clients, one_of_many=True), self._shared)

    def _ends(self, partitions: Sequence[Partition], seconds: float) -> Mapping[Partition, int]:
        parts = [TopicPartition(*partition) for partition in partitions]
        try:
            with self._looking:
                if self._closed:
                    raise ClientError(Problem("the log is closed"))
                if self._looker is None:
                    self._looker = self._clients.consumer()
                ends = self._looker.end_offsets(parts, timeout_ms=seconds * 1000)
        except KafkaError as error:
            raise client_error(error, self._clients.where) from error
        return {Partition(*part): ends[part] for part in parts}

    def member(self, topic: str, group: str, instance: str, listener: GroupListener) -> GroupMember:
        return RejoiningMember(partial(PythonMember, self._clients, topic, group, instance), listener)

    def named_members(self, group: str) -> Sequence[str]:
        with self._asking:
            if self._closed:
                raise LogError("the log is closed")
            try:
                if self._admin is None:
                    self._admin = self._clients.admin()
                found = self._admin.describe_groups([group])[group]
            except KafkaError as error:
                raise log_error(f"group {group!r}: its members cannot be read", error, self._clients.where) from error
        problem = found.get("error")
        if problem is not None and GroupIdNotFoundError.__name__ not in problem:
            raise LogError(f"group {group!r}: its members cannot be read from {self._clients.where}: {problem}")
        listed = (
            listed_as(one.get("group_instance_id"), one.get("client_id", "")) for one in found.get("members") or ()
        )
        return [name for name in listed if name is not None]

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        def ask(looker: Any) -> Mapping[Partition, tuple[int, int]]:
            parts = [Partition(topic, number) for number in sorted(looker.partitions_for_topic(topic))]

            def told(parts: Sequence[Partition], seconds: float) -> Mapping[Partition, tuple[int, int]]:
                try:
                    found: Mapping[Partition, tuple[int, int]] = looker.bounds(parts, seconds)
                except KafkaError as error:
                    raise client_error(error, self._clients.where, looker.brokers()) from error
                return found

            return by_leader(parts, ANSWER_SECONDS, told, lambda: looker.leaders(parts))

        return self._look(topic, "cannot read its offsets from Kafka", ask)

    def identity(self, topic: str) -> str | None:
        def ask(looker: Any) -> str | None:
            looker.refresh()  # what it knows may be that of a deleted topic
            found: str | None = looker.topic_id(topic)
            return found

        return self._look(topic, "cannot read its identity from Kafka", ask)

    def epochs(self, topic: str) -> Epochs:
        return ()

    def cluster(self) -> str | None:
        def ask(looker: Any) -> str | None:
            looker.refresh()
            found: str | None = looker.cluster_id()
            return found

        return self._look(None, "the id of the cluster cannot be read from Kafka", ask)

    def close(self) -> None:
        self._closed = True
        for producer in (self._producer, self._plain):
            producer.close()
        with self._looking:
            if self._looker is not None:
                self._looker.close(autocommit=False, timeout_ms=1000)
                self._looker = None
        with self._asking:
            if self._admin is not None:
                self._admin.close()
                self._admin = None

    def _look(self, topic: str | None, what: str, ask: Callable[[Any], Answer]) -> Answer:
        with self._looking:
            try:
                if self._looker is None:
                    self._looker = self._clients.consumer()
                answer = ask(self._looker)
                forbidden = topic in self._looker.forbidden()
            except SomeAway as error:
                raise partly_away(error) from error
            except (KafkaError, ClientError) as error:
                about = what if topic is None else f"topic {topic!r}: {what}"
                brokers = 1 if self._looker is None else self._looker.brokers()
                raise log_error(about, error, self._clients.where, brokers) from error
        if forbidden:
            raise PermanentLogError(f"topic {topic!r}: {what}: not authorized; grant READ and DESCRIBE")
        return answer


def _require_crc32c() -> None:
    try:
        import crc32c  # noqa: F401 - only its presence matters
    except ImportError as error:
        raise LogError(
            "the package crc32c is missing: without it reading from Kafka takes 5 to 27 times the CPU; "
            "run: pip install crc32c"
        ) from error


def _require_codecs() -> None:
    """A record that cannot be decompressed cannot be skipped either: it would stop its partition permanently."""
    there = {
        "snappy": (codec.has_snappy(), "python-snappy"),
        "lz4": (codec.has_lz4(), "lz4"),
        "zstd": (codec.has_zstd(), "zstandard"),
    }
    missing = {name: package for name, (has, package) in there.items() if not has}
    if missing:
        raise LogError(
            f"the codecs {', '.join(missing)} are missing: compressed records could not be read; "
            f"run: pip install {' '.join(missing.values())}"
        )
