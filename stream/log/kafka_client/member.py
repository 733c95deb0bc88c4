"""A member of a consumer group by kafka-python: it is told of partitions, and reads none of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    FencedInstanceIdError,
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    KafkaError,
)
from kafka.structs import OffsetAndMetadata

from thalweg.proto.records import Position
from thalweg.stream.log.groups import GroupListener
from thalweg.stream.log.kafka_client.clients import Clients
from thalweg.stream.log.kafka_client.errors import log_error
from thalweg.stream.log.kafka_shared.covered import Covered
from thalweg.stream.log.kafka_shared.members import ATTENTIVE_MS, Attention, fenced, foreign, unauthorized
from thalweg.stream.log.log import LogError

_JOIN_SECONDS = 5.0


class PythonMember:
    """See `GroupMember`.

    Args:
        clients: Opens the consumer.
        topic: The topic.
        group: The group.
        instance: The member's name.
        listener: Told of its partitions.
    """

    def __init__(self, clients: Clients, topic: str, group: str, instance: str, listener: GroupListener) -> None:
        self._clients, self._topic, self._group, self._instance = clients, topic, group, instance
        self._told = _Told(listener, self._pause)
        self._consumer: Any = None
        self._attention, self._generation, self._usual_ms = Attention(), -1, 0
        self._covered = Covered()
        self._places: dict[TopicPartition, OffsetAndMetadata] = {}

    def poll(self, timeout_seconds: float) -> None:
        try:
            if self._consumer is None:
                self._consumer = self._clients.member(
                    self._group, self._instance, partition_assignment_strategy=[CooperativeStickyAssignor]
                )
                self._consumer.subscribe([self._topic], listener=self._told)
                self._usual_ms = self._consumer.beat_every(ATTENTIVE_MS)
            reached = self._consumer.join(_JOIN_SECONDS)
            if self._places:
                mine = set(self._consumer.assignment())
                places = {part: one for part, one in self._places.items() if part in mine}
                self._places = {}
                self._consumer.commit_async(places, callback=_ignore)
            self._consumer.poll(self._attend(int(timeout_seconds * 1000)), 1)  # of paused partitions: nothing comes
            self._look_for_partitions()
            if self._consumer.fenced():
                raise FencedInstanceIdError
            if not reached:
                raise LogError(f"group {self._group!r}: {self._clients.where} does not answer")
        except FencedInstanceIdError as error:
            raise fenced(self._group, self._instance) from error
        except InconsistentGroupProtocolError as error:
            raise foreign(self._group) from error
        except GroupAuthorizationFailedError as error:
            raise unauthorized(self._group) from error
        except KafkaError as error:
            raise log_error(f"group {self._group!r}", error, self._clients.where) from error

    def commit(self, position: Position, note: str = "") -> None:
        self._places |= {
            TopicPartition(*part): OffsetAndMetadata(offset + 1, note, -1) for part, offset in position.items()
        }

    def close(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            self._told.closed = True
            consumer.close(autocommit=False, timeout_ms=1000)

    def _attend(self, timeout_ms: int) -> int:
        """Look for a rebalance more often for a while after one; how long to poll."""
        if (generation := self._consumer.generation()) != self._generation:
            self._generation = generation
            self._attention.begin()
            self._covered.rebalanced()
        self._consumer.beat_every(ATTENTIVE_MS if self._attention.on else self._usual_ms)
        return min(timeout_ms, ATTENTIVE_MS) if self._attention.on else timeout_ms

    def _look_for_partitions(self) -> None:
        """Join again if there are partitions that nobody was given."""
        if not self._attention.on and self._covered.due():
            owned = [part.partition for part in self._consumer.assignment()]
            if self._covered.look(owned, self._consumer.known_partitions(self._topic)):
                self._consumer.rejoin()

    def _pause(self, parts: Iterable[TopicPartition]) -> None:
        self._consumer.pause(*parts)


class _Told(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Hands the client's calls on. It is called on the client's own thread, while `poll` waits for it."""

    def __init__(self, listener: GroupListener, pause: Callable[[Iterable[TopicPartition]], None]) -> None:
        self._listener, self._pause = listener, pause
        self.closed = False

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._pause(assigned)
        self._tell(self._listener.assigned, assigned)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        if not self.closed:  # they stay its own: it comes back under its name, or its session ends
            self._tell(self._listener.revoked, revoked)

    def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        self._tell(self._listener.lost, lost)

    def _tell(self, tell: Callable[[Collection[int]], None], parts: Collection[TopicPartition]) -> None:
        if parts:
            tell(sorted(part.partition for part in parts))


def _ignore(*_: object) -> None:
    """A commit is for monitoring only; one that is lost is followed by another."""
