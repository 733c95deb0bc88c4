"""A member of a group that is no learner of ours, as another program would join it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from kafka import TopicPartition

from thalweg.stream.log.kafka_client.clients import CheckedConsumer


class Stranger:
    """A consumer of a topic. Its polls finish a join that they began, which those of kafka-python do not: one that ends
    before the group has answered leaves a member that never learns of its partitions (see `CheckedConsumer.join`).
    """

    def __init__(self, servers: str, topic: str, group: str, **settings: Any) -> None:
        self._consumer = CheckedConsumer(bootstrap_servers=servers, group_id=group, metrics_enabled=False, **settings)
        self._consumer.subscribe([topic])

    def poll(self) -> Collection[TopicPartition]:
        """The partitions it has."""
        self._consumer.join(5)
        self._consumer.poll(100)
        found: Collection[TopicPartition] = self._consumer.assignment()
        return found

    def close(self) -> None:
        self._consumer.close()
