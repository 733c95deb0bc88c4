"""The clients of kafka-python as this service uses them: their settings, and why they cannot connect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaConfigurationError, KafkaError, KafkaTimeoutError, LeaderNotAvailableError
from kafka.net.compat import KafkaNetClient
from kafka.serializer import Serializer

from thalweg.proto.records import Partition
from thalweg.stream.log.kafka_client.batches import UNPACKED_BYTES, CheckedFetcher
from thalweg.stream.log.kafka_client.errors import all_there, no_connection, text
from thalweg.stream.log.kafka_shared.consumer import (
    ANSWER_SECONDS,
    APPEND_SECONDS,
    FETCH_WAIT_OF_MANY_MS,
    METADATA_OF_MANY_MS,
)
from thalweg.stream.log.kafka_shared.members import HEARTBEAT_MS, LOOK_SECONDS, SESSION_SECONDS, STANDBY_CLIENT
from thalweg.stream.log.log import PermanentLogError

_CONSUMER = {
    "enable_auto_commit": False,
    "auto_offset_reset": "none",  # the reader sets the start itself, and must notice when records are gone
    "isolation_level": "read_committed",
    "check_crcs": True,
    "allow_auto_create_topics": False,
    "max_partition_fetch_bytes": 4 << 20,  # about a block: larger ones only wait longer; a larger record still arrives
    "fetch_max_bytes": 64 << 20,
    "fetch_max_wait_ms": 100,
    "bootstrap_timeout_ms": int(ANSWER_SECONDS * 1000),  # the reader retries itself and must notice a stop
    "reconnect_backoff_max_ms": 1000,
    "metadata_max_age_ms": 10_000,
    "metrics_enabled": False,
}
_ONE_OF_MANY = {"fetch_max_wait_ms": FETCH_WAIT_OF_MANY_MS, "metadata_max_age_ms": METADATA_OF_MANY_MS}
_PRODUCER = {
    "acks": -1,
    "enable_idempotence": True,
    "linger_ms": 2,
    "batch_size": 256 << 10,
    "compression_type": "lz4",
    "max_request_size": 64 << 20,
    "delivery_timeout_ms": int(APPEND_SECONDS * 1000),
    "request_timeout_ms": 10_000,
    "max_block_ms": int(APPEND_SECONDS * 1000),
    "bootstrap_timeout_ms": int(2 * ANSWER_SECONDS * 1000),
    "reconnect_backoff_max_ms": 1000,
    "metrics_enabled": False,
}
_OTHER = {
    "bootstrap_timeout_ms": int(ANSWER_SECONDS * 1000),
    "request_timeout_ms": 10_000,
    "reconnect_backoff_max_ms": 1000,
}
_TRIES = 3
NOTHING = object()
"""A value to send for a record that has neither key nor value."""


class _Nothing(Serializer):  # type: ignore[misc]  # kafka-python has no types
    """Allows a record with neither key nor value: Kafka has such records, kafka-python refuses to send one."""

    def serialize(self, topic: str, headers: object, value: object) -> object:
        return None if value is NOTHING else value


@contextmanager
def _leaders_known() -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        (part,) = error.args
        told = f"the leader of partition {part.partition} of {part.topic!r} is out of reach"
        raise LeaderNotAvailableError(told) from error


class CheckedProducer(KafkaProducer):  # type: ignore[misc]
    """A producer that ends when it is closed, also with records that cannot be sent."""

    def close(self, timeout: float | None = None, null_logger: bool = False) -> None:
        """See kafka-python, whose own gives up where records are left: its thread and connections go on for good."""
        try:
            super().close(timeout, null_logger)
        except KafkaTimeoutError:
            self._sender.force_close()  # what waits is told that it is not sent
            self._sender.join(ANSWER_SECONDS)
            super().close(0, null_logger)


class CheckedConsumer(KafkaConsumer):  # type: ignore[misc]
    """A consumer that survives batches that cannot be read, and never waits without a bound."""

    def __init__(self, *, most_bytes: int = UNPACKED_BYTES, **config: Any) -> None:
        super().__init__(**config)
        self._fetcher = CheckedFetcher(
            self._client, self._subscription, metrics=self._metrics, most_bytes=most_bytes, **self.config
        )
        self._ask_coordinator = self._coordinator.poll
        self._coordinator.poll = self._coordinated

    def _coordinated(self, timeout_ms: float | None = None) -> Any:
        """Whether to fetch. One that reads partitions of its own choice only commits to its group: it does not wait for
        the group's coordinator, whose broker may be away while those of its partitions are not.
        """
        if self._subscription.partitions_auto_assigned():
            return self._ask_coordinator(timeout_ms=timeout_ms)
        self._coordinator._invoke_completed_offset_commit_callbacks()
        return True

    def beginning_offsets(self, partitions: Sequence[TopicPartition], timeout_ms: float | None = None) -> Any:
        """As that of the client, which raises KeyError for a partition whose leader it cannot ask."""
        with _leaders_known():
            return super().beginning_offsets(partitions, timeout_ms=timeout_ms)

    def end_offsets(self, partitions: Sequence[TopicPartition], timeout_ms: float | None = None) -> Any:
        """Likewise."""
        with _leaders_known():
            return super().end_offsets(partitions, timeout_ms=timeout_ms)

    def bounds(self, partitions: Sequence[Partition], seconds: float) -> Mapping[Partition, tuple[int, int]]:
        """The first offset and the next one to be written of each. Raises KafkaError."""
        parts = [TopicPartition(*partition) for partition in partitions]
        if not parts:
            return {}
        first = self.beginning_offsets(parts, timeout_ms=seconds * 1000)
        ends = self.end_offsets(parts, timeout_ms=seconds * 1000)
        all_there(parts, first, ends)
        return {Partition(*part): (first[part], ends[part]) for part in parts}

    def ends(self, partitions: Sequence[Partition], seconds: float) -> Mapping[Partition, int]:
        """The next offset to be written of each. Raises KafkaError."""
        parts = [TopicPartition(*partition) for partition in partitions]
        ends = self.end_offsets(parts, timeout_ms=seconds * 1000)
        all_there(parts, ends)
        return {Partition(*part): ends[part] for part in parts}

    def leaders(self, partitions: Iterable[Partition]) -> Mapping[Partition, str]:
        """Who leads each partition that has a leader, by any broker that answers. Raises KafkaError."""
        for tries in range(_TRIES, 0, -1):
            try:
                self.refresh()
                break
            except KafkaError:  # it asked one that is out of reach, which it now leaves out for a while
                if tries == 1:
                    raise
        found: dict[Partition, str] = {}
        for partition in partitions:
            number = self._cluster.leader_for_partition(TopicPartition(*partition))
            if number is not None and number >= 0:
                node = self._cluster.broker_metadata(number)
                found[partition] = f"broker {number}" + (f" at {node.host}:{node.port}" if node is not None else "")
        return found

    def refresh(self) -> None:
        """Ask the cluster for its topics."""
        self._fetch_all_topic_metadata()

    def _fetch_all_topic_metadata(self) -> None:
        if self._cluster.metadata_refresh_in_progress:  # of some topics only
            self._refresh()
        before, self._cluster.need_all_topic_metadata = self._cluster.need_all_topic_metadata, True
        try:
            self._refresh()
        finally:
            self._cluster.need_all_topic_metadata = before

    def _refresh(self) -> None:
        self._net.run(self._manager.wait_for, self._cluster.request_update(), ANSWER_SECONDS * 1000)

    def topic_id(self, topic: str) -> str | None:
        """The identity of a topic, as far as the consumer knows it; None from brokers before 2.8."""
        found = self._cluster.topic_id(topic)
        return found.hex if found is not None and found.int else None

    def brokers(self) -> int:
        """How many brokers it knows."""
        return len(self._cluster.brokers())

    def cluster_id(self) -> str | None:
        """The id of the cluster, as the last response told it; None from brokers that do not tell it."""
        return self._cluster.cluster_id or None

    def join(self, seconds: float) -> bool:
        """Join the group if it is not in it, within this time; whether the group answers. A join that a `poll` leaves
        unfinished is lost: once its response has come, the client believes that there is nothing to join, and never
        looks at it.
        """
        coordinator = self._coordinator
        if coordinator._join_task is not None and not coordinator.need_rejoin():
            coordinator.request_rejoin()
        return bool(coordinator.poll(timeout_ms=seconds * 1000)) or coordinator.coordinator_id is not None

    def rejoin(self) -> None:
        """Join the group again with the next `join`."""
        self._coordinator.request_rejoin()

    def known_partitions(self, topic: str) -> int:
        """How many partitions the topic has, as far as the consumer knows; 0 if it does not."""
        return len(self._cluster.partitions_for_topic(topic) or ())

    def fenced(self) -> bool:
        """Whether another member has joined its group under its name: the client then sends no heartbeats any more,
        and says nothing.
        """
        coordinator = self._coordinator
        return bool(coordinator.stable() and not coordinator._heartbeat_enabled)

    def generation(self) -> int:
        """A number that grows with each rebalance of its group."""
        return int(self._coordinator._generation.generation_id)

    def beat_every(self, ms: int) -> int:
        """Send heartbeats so often, from the next one on; how often it was before."""
        config = self._coordinator.heartbeat.config
        before, config["heartbeat_interval_ms"] = config["heartbeat_interval_ms"], ms
        return int(before)

    def forbidden(self) -> set[str]:
        """The topics that the user may not see."""
        return set(self._cluster.unauthorized_topics)


class Clients:
    """Opens clients of one cluster.

    Args:
        servers: `HOST:PORT` of some brokers.
        properties: The user's settings, as keywords of the client.
        most_bytes: What one batch may unpack to.
    """

    def __init__(self, servers: Sequence[str], properties: Mapping[str, Any], most_bytes: int) -> None:
        self._servers = list(servers)
        self._properties = dict(properties)
        self._most_bytes = most_bytes

    @property
    def where(self) -> str:
        """The cluster, for messages."""
        return f"Kafka at {', '.join(self._servers)}"

    @property
    def most_request_bytes(self) -> int:
        """The largest record that the producer sends."""
        return int(self._properties.get("max_request_size", _PRODUCER["max_request_size"]))

    def consumer(self, group: str | None = None, *, one_of_many: bool = False) -> Any:
        """A consumer. Raises KafkaError while there is no broker, PermanentLogError for a property it refuses.

        `one_of_many`: It reads one partition, as many others of this process do.
        """
        ours = {**_CONSUMER, **(_ONE_OF_MANY if one_of_many else {})}
        return self._open(CheckedConsumer, ours, group_id=group, most_bytes=self._most_bytes)

    def member(self, group: str, instance: str, **more: Any) -> Any:
        """A consumer that joins a group, under a name of its own if it has one. Raises likewise."""
        return self._open(
            CheckedConsumer,
            {
                **_CONSUMER,
                "session_timeout_ms": int(SESSION_SECONDS * 1000),
                "heartbeat_interval_ms": HEARTBEAT_MS,
                "metadata_max_age_ms": LOOK_SECONDS * 1000,
            },
            group_id=group,
            group_instance_id=instance or None,
            **({} if instance else {"client_id": STANDBY_CLIENT}),
            auto_offset_reset="latest",  # it reads nothing
            most_bytes=self._most_bytes,
            **more,
        )

    def producer(self, **more: Any) -> Any:
        """A producer. Raises likewise."""
        return self._open(CheckedProducer, _PRODUCER, value_serializer=_Nothing(), **more)

    def admin(self) -> Any:
        """An administrative client. Raises likewise."""
        return self._open(KafkaAdminClient, _OTHER)

    def _open(self, client: Any, ours: Mapping[str, Any], **more: Any) -> Any:
        watch = _Watch()
        known = client.DEFAULT_CONFIG
        theirs = {key: value for key, value in self._properties.items() if key in known}
        settings = {"bootstrap_servers": self._servers, **ours, **theirs, "kafka_client": watch.make, **more}
        try:
            return client(**settings)
        except KafkaTimeoutError as error:
            watch.close()
            sasl = str(settings.get("security_protocol", "")).startswith("SASL")
            raise no_connection(self._servers, watch.causes, sasl) from error
        except (KafkaConfigurationError, TypeError, ValueError) as error:
            watch.close()
            raise PermanentLogError(f"log.kafka: the client refuses these properties: {text(error)}") from error
        except BaseException:
            watch.close()
            raise


class _Watch:
    """Makes the network client of a client, notes why it cannot connect, and closes it if its owner is not made: the
    owner reports no more than that it could not connect, and leaves a thread and its sockets behind.
    """

    def __init__(self) -> None:
        self.causes: list[tuple[str, BaseException]] = []
        self._made: list[Any] = []

    def make(self, **config: Any) -> Any:
        """See `kafka_client` of kafka-python's clients."""
        client = KafkaNetClient(**config)
        self._made.append(client)
        manager = client._manager
        # the client does not hand it on: a reader would create a topic that it waits for, or one that was deleted
        manager.cluster.config["allow_auto_create_topics"] = config.get("allow_auto_create_topics", False)
        connect = manager.get_connection

        def get_connection(node_id: Any, *arguments: Any, **more: Any) -> Any:
            connection = connect(node_id, *arguments, **more)
            if not manager.bootstrapped:
                node = manager.cluster.broker_metadata(node_id)
                server = f"{node.host}:{node.port}" if node is not None else str(node_id)
                connection.close_future.add_errback(lambda error: self.causes.append((server, error)))
            return connection

        manager.get_connection = get_connection
        return client

    def close(self) -> None:
        """Close what was made."""
        for client in self._made:
            client.close()
