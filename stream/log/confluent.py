"""The log in Kafka, through confluent-kafka (librdkafka): the same as through kafka-python, and faster.

Offsets are stored in snapshots: partitions are assigned manually, and offsets committed to the consumer group are only
for monitoring. Only committed records are read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from thalweg.proto.records import Partition, Position
from thalweg.stream.log.confluent_client.clients import Clients
from thalweg.stream.log.confluent_client.cluster import Cluster
from thalweg.stream.log.confluent_client.consumer import ConfluentConsumer
from thalweg.stream.log.confluent_client.errors import REFUSED, Causes, append_error, log_error
from thalweg.stream.log.confluent_client.member import ConfluentMember
from thalweg.stream.log.confluent_client.other_client import OtherClient
from thalweg.stream.log.confluent_client.producer import ReportingProducer
from thalweg.stream.log.confluent_client.properties import translate
from thalweg.stream.log.confluent_client.second_look import SecondLook
from thalweg.stream.log.groups import GroupListener, GroupMember
from thalweg.stream.log.kafka_shared.compaction import POLICY, CompactionWatch
from thalweg.stream.log.kafka_shared.consumer import ANSWER_SECONDS, ClientError, SomeAway, partly_away
from thalweg.stream.log.kafka_shared.limits import RecordLimits
from thalweg.stream.log.kafka_shared.reader import KafkaReader, latest_known
from thalweg.stream.log.kafka_shared.rejoin import RejoiningMember
from thalweg.stream.log.kafka_shared.together import OneOfMany, Shared
from thalweg.stream.log.log import Appended, Epochs, LogError, Message, PermanentLogError, Reader, Reading, Start

Answer = TypeVar("Answer")


class ConfluentLog:
    """Topics of a Kafka cluster.

    Args:
        servers: `HOST:PORT[,HOST:PORT]`.
        properties: Client properties under their usual names (`security.protocol`, `sasl.mechanism`, …).
        reading: What to do about records that cannot be read.

    Raises:
        LogError: A property is unknown, reserved or invalid.
    """

    def __init__(
        self, servers: str, properties: Mapping[str, Any] | None = None, reading: Reading | None = None
    ) -> None:
        self._reading = reading or Reading()
        self._clients = Clients(servers, translate(properties or {}))
        self._second_look = SecondLook(servers, properties or {}, self._reading)
        self._other = OtherClient(servers, properties or {})
        self._limits = RecordLimits(
            lambda topic: self._cluster().largest_batch(topic), self._clients.most_request_bytes
        )
        self._compaction = CompactionWatch(lambda topic: self._cluster().topic_setting(topic, POLICY))
        self._shared = Shared(
            lambda partitions, seconds: self._cluster().ends(partitions, seconds),
            lambda names: self._cluster().topics(names),
        )
        self._lock = threading.Lock()
        self._known_cluster: Cluster | None = None
        self._producer: ReportingProducer | None = None
        self._plain: ReportingProducer | None = None
        self._closed = False

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        try:
            producer = self._open_producer()
            landed, failed = producer.send_all(topic, dict(enumerate(messages)))
            self._retire(producer, any(error.fatal() for error in failed.values()))
            doubtful = [row for row, error in failed.items() if error.code() in REFUSED]
            for row in doubtful:  # of a batch that was refused others may be at fault: each alone
                alone, still = self._open_plain().send_all(topic, {row: messages[row]})
                landed |= alone
                failed = {**{other: error for other, error in failed.items() if other != row}, **still}
        except ClientError as error:
            raise log_error(f"topic {topic!r}: not appended", error.problem) from error
        except (TypeError, ValueError) as error:
            raise PermanentLogError(f"topic {topic!r}: not appended: {error}") from error
        if failed:
            raise append_error(topic, sorted(failed.items()), self.max_record_bytes(topic), producer.causes)
        producer.causes.clear()
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
            lambda: self._one_of_many() if patient else self._consumer(group or None),
            topics,
            after,
            start,
            commits=bool(group),
            partition=partition,
            unreadable_seconds=self._reading.unreadable_seconds,
        )
        return latest_known(reader, topics) if start == "latest" else reader

    def member(self, topic: str, group: str, instance: str, listener: GroupListener) -> GroupMember:
        return RejoiningMember(partial(ConfluentMember, self._clients, topic, group, instance), listener)

    def named_members(self, group: str) -> Sequence[str]:
        try:
            return self._other.named_members(group, lambda: self._cluster().named_members(group))
        except ClientError as error:
            raise log_error(f"group {group!r}: its members cannot be read from Kafka", error.problem) from error

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        def ask(cluster: Cluster) -> Mapping[Partition, tuple[int, int]]:
            found = cluster.topics([topic])[topic]
            if found.forbidden:
                raise _forbidden(topic, "cannot read its offsets from Kafka")
            return cluster.bounds([Partition(topic, number) for number in sorted(found.partitions)])

        return self._look(topic, "cannot read its offsets from Kafka", ask)

    def identity(self, topic: str) -> str | None:
        def ask(cluster: Cluster) -> str | None:
            found = cluster.topics([topic])[topic]
            if found.forbidden:
                raise _forbidden(topic, "cannot read its identity from Kafka")
            return found.identity

        return self._look(topic, "cannot read its identity from Kafka", ask)

    def epochs(self, topic: str) -> Epochs:
        return ()

    def cluster(self) -> str | None:
        try:
            return self._cluster().id()
        except ClientError as error:
            raise log_error("the id of the cluster cannot be read from Kafka", error.problem) from error

    def close(self) -> None:
        with self._lock:
            self._closed = True
            producers, self._producer, self._plain = (self._producer, self._plain), None, None
            cluster, self._known_cluster = self._known_cluster, None
        self._other.close()
        if cluster is not None:
            cluster.close()
        for producer in producers:
            if producer is not None:
                producer.close(ANSWER_SECONDS)

    def _consumer(self, group: str | None, *, one_of_many: bool = False) -> ConfluentConsumer:
        most = self._reading.unpacked_bytes
        return ConfluentConsumer(
            self._clients, self._cluster(), group, self._second_look, most, one_of_many=one_of_many
        )

    def _one_of_many(self) -> OneOfMany:
        return OneOfMany(self._consumer(None, one_of_many=True), self._shared)

    def _cluster(self) -> Cluster:
        with self._lock:
            if self._closed:
                raise LogError("the log is closed")
            if self._known_cluster is None:
                self._known_cluster = Cluster(self._clients, self._other)
            return self._known_cluster

    def _look(self, topic: str, what: str, ask: Callable[[Cluster], Answer]) -> Answer:
        try:
            return ask(self._cluster())
        except SomeAway as error:
            raise partly_away(error) from error
        except ClientError as error:
            raise log_error(f"topic {topic!r}: {what}", error.problem) from error

    def _open_producer(self) -> ReportingProducer:
        if self._producer is None:
            self._cluster().reachable()  # a producer only keeps records that it cannot send
        with self._lock:
            if self._closed:
                raise LogError("the log is closed")
            if self._producer is None:
                self._producer = self._make_producer()
            return self._producer

    def _open_plain(self) -> ReportingProducer:
        """A producer without sequence numbers, for records that were refused: it tells those that can never be appended
        from those that were sent beside them. It may append a record twice when a response is lost.
        """
        with self._lock:
            if self._closed:
                raise LogError("the log is closed")
            if self._plain is None:
                self._plain = self._make_producer(**{"enable.idempotence": "false"})
            return self._plain

    def _make_producer(self, **more: str) -> ReportingProducer:
        causes = Causes(self._clients.servers)
        # longer than a delivery may take: a record reported as failed must not arrive after all
        patience = self._clients.delivery_seconds + ANSWER_SECONDS
        client = self._clients.producer(causes, **more)
        causes.ask(client)
        return ReportingProducer(client, causes, patience)

    def _retire(self, producer: ReportingProducer, useless: bool) -> None:
        """Do not use this producer again if an error has left it useless."""
        if not useless:
            return
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
        producer.close(0)


def _forbidden(topic: str, what: str) -> PermanentLogError:
    return PermanentLogError(f"topic {topic!r}: {what}: not authorized; grant READ and DESCRIBE")
