"""The clients of confluent-kafka as this service uses them: their settings, and what the cluster tells of topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaException,
    Producer,
)
from confluent_kafka.admin import AdminClient

from thalweg.stream.log.confluent_client.errors import Causes
from thalweg.stream.log.confluent_client.logs import DEBUG, ClientLog
from thalweg.stream.log.confluent_client.properties import Properties
from thalweg.stream.log.kafka_shared.consumer import (
    APPEND_SECONDS,
    FETCH_WAIT_OF_MANY_MS,
    METADATA_OF_MANY_MS,
)
from thalweg.stream.log.kafka_shared.members import (
    ATTENTIVE_MS,
    LOOK_SECONDS,
    SESSION_SECONDS,
    STANDBY_CLIENT,
)
from thalweg.stream.log.log import PermanentLogError

T = TypeVar("T")

_ALL = {"reconnect.backoff.max.ms": "1000"}
_ADMIN = {
    # many requests go to the broker that was named controller when the client last asked, which is any that is
    # alive; it asks again by itself every five minutes only, and until then waits for that one while others serve
    "topic.metadata.refresh.interval.ms": "1000",
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
            raise PermanentLogError(f"log.kafka: the client refuses these properties: {text(error)}") from error


def text(error: Exception) -> str:
    """The error in one line."""
    told = error.args[0].str() if isinstance(error, KafkaException) else str(error)
    return " ".join(told.split())
