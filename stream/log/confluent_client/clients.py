"""The clients of confluent-kafka as this service uses them: their settings, and what the cluster tells of topics."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from thalweg.proto.records import Partition
from thalweg.stream.log.confluent_client.errors import Causes
from thalweg.stream.log.confluent_client.logs import DEBUG, ClientLog
from thalweg.stream.log.confluent_client.properties import Properties
from thalweg.stream.log.kafka_shared.consumer import (
    ANSWER_SECONDS,
    APPEND_SECONDS,
    FETCH_WAIT_OF_MANY_MS,
    METADATA_OF_MANY_MS,
    ClientError,
    Topic,
)
from thalweg.stream.log.kafka_shared.members import (
    ATTENTIVE_MS,
    LOOK_SECONDS,
    SESSION_SECONDS,
    STANDBY_CLIENT,
    listed_as,
)
from thalweg.stream.log.log import PermanentLogError, Problem

T = TypeVar("T")

_ALL = {"reconnect.backoff.max.ms": "1000"}
_ADMIN = {
    # many requests go to the broker that was named controller when the client last asked; it asks again by itself every
    # five minutes only, and until then waits for that one, although it is gone and the others serve
    "topic.metadata.refresh.interval.ms": "2000",
}
_CONSUMER = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "auto.offset.reset": "error",  # the reader sets the start itself, and must notice when records are gone
    "isolation.level": "read_committed",
    "check.crcs": "true",
    "enable.partition.eof": "true",  # tells how far it has read where the last offsets are never returned
    "max.partition.fetch.bytes": str(4 << 20),
    "fetch.max.bytes": str(64 << 20),
    "receive.message.max.bytes": str(160 << 20),
    "fetch.wait.max.ms": "100",
    "fetch.queue.backoff.ms": "10",  # while what was fetched waits to be taken
    "fetch.error.backoff.ms": "100",
    "queued.max.messages.kbytes": str(32 << 10),  # fetched ahead, of each partition
    "metadata.max.age.ms": "10000",
    "debug": DEBUG,
}
_ONE_OF_MANY = {
    "fetch.wait.max.ms": str(FETCH_WAIT_OF_MANY_MS),
    "metadata.max.age.ms": str(METADATA_OF_MANY_MS),
}
_PRODUCER = {
    "enable.idempotence": "true",
    "acks": "all",
    "partitioner": "murmur2_random",  # as the Java client and kafka-python: equal keys in one partition, whoever writes
    "linger.ms": "2",
    "batch.size": str(256 << 10),
    "compression.type": "lz4",
    "message.max.bytes": str(64 << 20),
    "delivery.timeout.ms": str(int(APPEND_SECONDS * 1000)),
    "queue.buffering.max.kbytes": str(128 << 10),
}
_MISSING = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID, KafkaError.TOPIC_EXCEPTION)
_MOVING = (
    *(KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART),
    *(KafkaError.OFFSET_NOT_AVAILABLE, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH),
)
_REFUSED_SECONDS = 0.5
_STEP_SECONDS = 0.1  # between two looks for an error that no waiting mends


class Clients:
    """Opens clients of one cluster.

    Args:
        servers: `HOST:PORT[,HOST:PORT]`.
        properties: The user's settings.
    """

    def __init__(self, servers: str, properties: Properties) -> None:
        self.servers = servers
        self.properties = properties

    @property
    def most_request_bytes(self) -> int:
        """The largest record that the producer sends."""
        return int(self._producer_settings()["message.max.bytes"])

    @property
    def delivery_seconds(self) -> float:
        """The longest time that a delivery may take."""
        return float(self._producer_settings()["delivery.timeout.ms"]) / 1000

    def consumer(self, group: str, log: ClientLog, causes: Causes, *, one_of_many: bool = False) -> Consumer:
        """A consumer. Raises PermanentLogError for a property that it refuses; connects in the background.

        `one_of_many`: It reads one partition, as many others of this process do.
        """
        ours = {**_CONSUMER, **(_ONE_OF_MANY if one_of_many else {}), "group.id": group}
        return self._open(Consumer, ours, log, causes)

    def member(
        self, group: str, instance: str, log: ClientLog, causes: Causes, stats: Callable[[str], None]
    ) -> Consumer:
        """A consumer that joins a group, under a name of its own if it has one. Raises likewise.

        `stats`: Told its statistics, as JSON, every second while it is polled.
        """
        fixed: dict[str, Any] = {
            "statistics.interval.ms": "1000",
            "stats_cb": stats,
            **({"group.instance.id": instance} if instance else {"client.id": STANDBY_CLIENT}),
            "group.id": group,
            "partition.assignment.strategy": "cooperative-sticky",
            "auto.offset.reset": "latest",  # it reads nothing
            "enable.partition.eof": "false",
        }
        ours = {
            **_CONSUMER,
            "session.timeout.ms": str(int(SESSION_SECONDS * 1000)),
            "heartbeat.interval.ms": str(ATTENTIVE_MS),  # at most: it is sent when something wakes the client
            "topic.metadata.refresh.interval.ms": str(LOOK_SECONDS * 1000),
        }
        return self._open(Consumer, ours, log, causes, fixed)

    def producer(self, causes: Causes, **more: str) -> Producer:
        """A producer. Raises likewise."""
        return self._open(Producer, {**_PRODUCER, **more}, ClientLog("producer", causes.failed), causes, more)

    def admin(self, causes: Causes) -> AdminClient:
        """An administrative client. Raises likewise."""
        return self._open(AdminClient, _ADMIN, ClientLog("admin", causes.failed), causes)

    def _producer_settings(self) -> dict[str, str]:
        return {**_PRODUCER, **self.properties.settings}

    def _open(
        self,
        kind: Callable[..., T],
        ours: Mapping[str, str],
        log: ClientLog,
        causes: Causes,
        fixed: Mapping[str, Any] | None = None,
    ) -> T:
        settings: dict[str, Any] = {**_ALL, **ours, **self.properties.settings, **(fixed or {})}
        settings |= {"bootstrap.servers": self.servers, "error_cb": causes.add, "log.thread.name": "false"}
        try:
            return kind(settings, logger=log)
        except (KafkaException, TypeError, ValueError) as error:
            raise PermanentLogError(f"log.kafka: the client refuses these properties: {_text(error)}") from error


class Cluster:
    """What the cluster tells of its topics. Thread-safe.

    Every call raises ClientError while no broker answers.
    """

    def __init__(self, clients: Clients) -> None:
        self._causes = Causes(clients.servers)
        self._admin = clients.admin(self._causes)
        self._first_answer_seconds = clients.properties.first_answer_seconds
        self._answered = False

    def reachable(self) -> None:
        """Nothing, if a broker answers."""
        self._wait(self._admin.describe_cluster(request_timeout=self._seconds()), self._seconds())

    def id(self) -> str | None:
        """The id of the cluster; None from a broker that does not tell it."""
        described = self._wait(self._admin.describe_cluster(request_timeout=self._seconds()), self._seconds())
        return described.cluster_id or None

    def topics(self, names: Sequence[str]) -> Mapping[str, Topic]:
        """The topics, each of them."""
        seconds = self._seconds()
        try:
            asked = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=seconds)
        except (KafkaException, ValueError):  # a name that no topic can have
            return {name: Topic() for name in names}
        return {name: self._topic(future, seconds) for name, future in asked.items()}

    def _topic(self, future: Future[Any], seconds: float) -> Topic:
        found = self._wait(future, seconds, {KafkaError.TOPIC_AUTHORIZATION_FAILED, *_MISSING})
        if isinstance(found, KafkaError):
            return Topic(forbidden=found.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED)
        high, low = found.topic_id.get_most_significant_bits(), found.topic_id.get_least_significant_bits()
        identity = f"{((high & _WORD) << 64) | (low & _WORD):032x}" if high or low else None
        return Topic(frozenset(one.id for one in found.partitions), identity)

    def bounds(self, partitions: Sequence[Partition]) -> Mapping[Partition, tuple[int, int]]:
        """The first offset and the next one to be written of each."""
        first = self._offsets(partitions, OffsetSpec.earliest(), self._seconds())
        ends = self._offsets(partitions, OffsetSpec.latest(), self._seconds())
        return {partition: (first[partition], ends[partition]) for partition in partitions}

    def ends(self, partitions: Sequence[Partition], seconds: float) -> Mapping[Partition, int]:
        """The next offset to be written of each."""
        return self._offsets(partitions, OffsetSpec.latest(), seconds)

    def _offsets(self, partitions: Sequence[Partition], spec: OffsetSpec, seconds: float) -> dict[Partition, int]:
        """By the partitions' leaders, which new partitions and moved ones have only after a moment."""
        found: dict[Partition, int] = {}
        deadline = time.monotonic() + seconds
        while left := [partition for partition in partitions if partition not in found]:
            asked = self._admin.list_offsets(
                {TopicPartition(*partition): spec for partition in left},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=seconds,
            )
            for part, future in asked.items():
                one = self._wait(future, seconds, set(_MOVING))
                if not isinstance(one, KafkaError):
                    found[Partition(part.topic, part.partition)] = one.offset
                elif time.monotonic() > deadline:
                    raise ClientError(self._causes.problem(one))
            if len(found) < len(partitions):
                time.sleep(_STEP_SECONDS)
        return found

    def named_members(self, group: str) -> list[str]:
        """How the members of a group are listed, see `listed_as`.

        By the call that asks every broker: those that ask a group's coordinator may abort the process when a broker
        goes away (librdkafka issue 4605). It does not tell names, but a member's id begins with its name, or, if it
        has none, with that of its client.
        """
        self.reachable()  # the call itself opens no connection
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # in favour of those that abort
                found = self._admin.list_groups(group=group, timeout=ANSWER_SECONDS)
        except KafkaException as error:
            self._answered = False
            raise ClientError(self._causes.problem(error.args[0])) from error
        members = (one for here in found for one in here.members)
        listed = (listed_as(_name(one.id) if _named(one.id, one.client_id) else None, one.client_id) for one in members)
        return [name for name in listed if name is not None]

    def largest_batch(self, topic: str) -> int:
        """`max.message.bytes` of a topic; for one that does not exist, what the cluster would give it."""
        found = self.topic_setting(topic, "max.message.bytes")
        if found is None:
            described = self._wait(self._admin.describe_cluster(request_timeout=ANSWER_SECONDS), ANSWER_SECONDS)
            found = self._setting(ResourceType.BROKER, str(described.nodes[0].id), "message.max.bytes")
        if found is None:
            raise LookupError("the cluster does not tell its settings")
        return int(found)

    def topic_setting(self, topic: str, setting: str) -> str | None:
        """A setting of a topic; None where there is no such topic. Raises ClientError or LookupError."""
        return self._setting(ResourceType.TOPIC, topic, setting)

    def _setting(self, kind: ResourceType, name: str, setting: str) -> str | None:
        try:
            asked = self._admin.describe_configs([ConfigResource(kind, name)], request_timeout=ANSWER_SECONDS)
        except (KafkaException, ValueError) as error:  # a name that no topic can have
            raise LookupError(_text(error)) from error
        (future,) = asked.values()
        found = self._wait(future, ANSWER_SECONDS, set(_MISSING))
        return None if isinstance(found, KafkaError) or setting not in found else str(found[setting].value)

    def _seconds(self) -> float:
        return ANSWER_SECONDS if self._answered else self._first_answer_seconds

    def _wait(self, future: Future[Any], seconds: float, expected: set[int] | None = None) -> Any:
        """Its result, or the error if it is an expected one. Raises ClientError; one that no waiting mends at once."""
        began = time.monotonic()
        deadline = began + seconds + ANSWER_SECONDS
        self._causes.forget()
        while True:
            try:
                found = future.result(_STEP_SECONDS)
            except NotYet:
                self._admin.poll(0)  # serves what it reports beside its answers
                if (problem := self._causes.lasting()) is not None:
                    self._answered = False
                    raise ClientError(problem) from None
                if not self._answered and self._causes.all_failed and time.monotonic() > began + _REFUSED_SECONDS:
                    # a request would wait on; whoever asks retries himself, and must notice a stop
                    raise ClientError(self._causes.problem(KafkaError(KafkaError._TRANSPORT))) from None
                if time.monotonic() > deadline:
                    self._answered = False
                    raise ClientError(Problem("the client does not answer")) from None
            except KafkaException as error:
                told = error.args[0]
                self._admin.poll(0)
                if expected is not None and told.code() in expected:
                    self._heard()
                    return told
                self._answered = False
                raise ClientError(self._causes.problem(told)) from error
            else:
                self._heard()
                return found

    def _heard(self) -> None:
        self._answered = True
        self._causes.clear()


_WORD = (1 << 64) - 1


def _named(member: str, client: str) -> bool:
    return re.fullmatch(f"{re.escape(client)}-[0-9a-f-]{{36}}", member) is None


def _name(member: str) -> str:
    return re.sub("-[0-9a-f-]{36}$", "", member)


def _text(error: Exception) -> str:
    told = error.args[0].str() if isinstance(error, KafkaException) else str(error)
    return " ".join(told.split())
