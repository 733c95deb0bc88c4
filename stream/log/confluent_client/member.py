"""A member of a consumer group by confluent-kafka: it is told of partitions, and reads none of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from thalweg.proto.records import Position
from thalweg.stream.log.confluent_client.clients import Clients
from thalweg.stream.log.confluent_client.errors import Causes
from thalweg.stream.log.confluent_client.logs import ClientLog
from thalweg.stream.log.groups import GroupListener
from thalweg.stream.log.kafka_shared.covered import Covered
from thalweg.stream.log.kafka_shared.members import ATTENTIVE_MS, Attention, fenced, foreign, unauthorized
from thalweg.stream.log.log import LogError, PermanentLogError

_FENCED = (KafkaError.FENCED_INSTANCE_ID, KafkaError._FENCED, KafkaError._FATAL)
"""A consumer's only fatal error is that it was fenced."""
_FORBIDDEN = (KafkaError.GROUP_AUTHORIZATION_FAILED,)
_AWAY_SECONDS = 3.0  # a coordinator is found within a second or two
_LOOK_SECONDS = ATTENTIVE_MS / 1000
_ANSWER_SECONDS = 0.2  # of a look
_FIRST_ANSWER_SECONDS = 2.0  # of one for which it has to connect
_BESIDE = ".thalweg-rejoins"
_MOST_LETTERS = 249  # of a topic's name
_UNCOMMITTED = (KafkaError._STATE, KafkaError._NO_OFFSET, KafkaError.REBALANCE_IN_PROGRESS)


class ConfluentMember:
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
        self._listener = listener
        self._causes = Causes(clients.servers)
        self._consumer: Consumer | None = None
        self._away_since: float | None = None
        self._attention, self._covered = Attention(), Covered()
        self._rejoining = self._rejoined = False
        self._begins_with = 0  # partitions of the topic when it joined; 0: unknown, or it was assigned some since
        self._places: dict[tuple[str, int], TopicPartition] = {}

    def poll(self, timeout_seconds: float) -> None:
        if self._consumer is None:
            log = ClientLog("member", self._causes.failed)
            self._consumer = self._clients.member(self._group, self._instance, log, self._causes, self._stats)
            self._begins_with = self._present(self._consumer, _FIRST_ANSWER_SECONDS)
            self._subscribe(self._consumer)
        self._commit(self._consumer)
        if self._attention.on:
            timeout_seconds = min(timeout_seconds, _LOOK_SECONDS)
        try:
            message = self._consumer.poll(timeout_seconds)  # of paused partitions: only errors come
        except KafkaException as error:
            raise self._error(error.args[0]) from error
        if message is not None and (problem := message.error()) is not None and message.topic() != beside(self._topic):
            raise self._error(problem)
        if self._away_since is not None and time.monotonic() - self._away_since > _AWAY_SECONDS:
            raise self._error(KafkaError(KafkaError._TRANSPORT))
        if self._rejoined:
            self._rejoined = self._rejoining = False
            self._subscribe(self._consumer)
        if self._attention.on:
            self._look(self._consumer)
        elif self._covered.due():
            self._look_for_partitions(self._consumer)

    def commit(self, position: Position, note: str = "") -> None:
        self._places |= {
            (part.topic, part.number): TopicPartition(*part, offset + 1, metadata=note)
            for part, offset in position.items()
        }

    def close(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            self._listener = _NoListener()
            consumer.close()

    def _commit(self, consumer: Consumer) -> None:
        if not self._places:
            return
        mine = {(part.topic, part.partition) for part in consumer.assignment()}
        places = [place for part, place in self._places.items() if part in mine]
        self._places = {}
        if places:
            try:
                consumer.commit(offsets=places, asynchronous=True)
            except KafkaException as error:
                if error.args[0].code() not in _UNCOMMITTED:
                    raise self._error(error.args[0]) from error

    def _look(self, consumer: Consumer) -> None:
        """Have the client notice a rebalance now. By itself it sends a heartbeat when something else wakes it, every
        half second, and joins again no sooner than a second after it last did. Any answer about the topic ends both.
        """
        try:
            consumer.list_topics(self._topic, _ANSWER_SECONDS)
        except KafkaException:  # what is wrong is told by `poll`; who joins early then may be taken for a second member
            self._attention.end()

    def _subscribe(self, consumer: Consumer, *more: str) -> None:
        consumer.subscribe([self._topic, *more], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def _look_for_partitions(self, consumer: Consumer) -> None:
        """Join again if there are partitions that nobody was given. This client does so for another subscription."""
        owned = [part.partition for part in consumer.assignment() if part.topic == self._topic]
        if self._covered.look(owned, self._present(consumer)):
            self._rejoining = True
            self._subscribe(consumer, beside(self._topic))

    def _present(self, consumer: Consumer, seconds: float = _ANSWER_SECONDS) -> int:
        """How many partitions the topic has; 0: it is missing, or nobody answers."""
        try:
            found = consumer.list_topics(self._topic, seconds).topics.get(self._topic)
        except KafkaException:
            return 0
        return 0 if found is None else len(found.partitions)

    def _stats(self, told: str) -> None:
        """The client says in its statistics alone that it has lost the group's coordinator, and looks for it."""
        if json.loads(told).get("cgrp", {}).get("state") == "up":
            self._away_since = None
            self._causes.clear()
        elif self._away_since is None:
            self._away_since = time.monotonic()
            self._attention.end()

    def _assigned(self, consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
        self._attention.begin()  # told of each rebalance, also where nothing is added
        self._covered.rebalanced()
        self._rejoined = self._rejoining
        if parts and self._begins_with:
            # the group may remember more, of a topic that was created again smaller: with partitions that there are
            # not this client hangs for good once the topic is deleted
            parts, self._begins_with = [part for part in parts if part.partition < self._begins_with], 0
        if parts:
            places = [TopicPartition(part.topic, part.partition, OFFSET_END) for part in parts]
            consumer.incremental_assign(places)
            consumer.pause(places)
            self._listener.assigned(_numbers(parts))

    def _revoked(self, consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
        self._taken(consumer, parts, self._listener.revoked)

    def _lost(self, consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
        self._taken(consumer, parts, self._listener.lost)

    def _taken(
        self, consumer: Consumer, parts: Sequence[TopicPartition], tell: Callable[[Collection[int]], None]
    ) -> None:
        held = {(part.topic, part.partition) for part in consumer.assignment()}  # without those that there never were
        parts = [part for part in parts if (part.topic, part.partition) in held]
        if parts:
            tell(_numbers(parts))
            consumer.incremental_unassign(parts)

    def _error(self, error: Any) -> LogError:
        self._attention.end()
        if error.code() in _FENCED:
            return fenced(self._group, self._instance)
        if error.code() in _FORBIDDEN:
            return unauthorized(self._group)
        if error.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL:
            return foreign(self._group)
        problem = self._causes.problem(error)
        kind = PermanentLogError if problem.permanent else LogError
        return kind(f"group {self._group!r}: {problem.reason}")


class _NoListener:
    """A member that closes keeps its partitions: it comes back under its name, or its session ends."""

    def assigned(self, numbers: Collection[int]) -> None:
        """Not told."""

    def revoked(self, numbers: Collection[int]) -> None:
        """Not told."""

    def lost(self, numbers: Collection[int]) -> None:
        """Not told."""


def beside(topic: str) -> str:
    """The name of a topic that does not exist: a member that names it beside its own joins again."""
    if len(topic) + len(_BESIDE) <= _MOST_LETTERS:
        return topic + _BESIDE
    own = sha256(topic.encode()).hexdigest()[:16]  # topics that begin alike have one each
    return f"{topic[: _MOST_LETTERS - len(own) - len(_BESIDE)]}{own}{_BESIDE}"


def _numbers(parts: Sequence[TopicPartition]) -> list[int]:
    return sorted(part.partition for part in parts)
