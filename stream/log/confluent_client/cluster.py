"""What a cluster tells of its brokers, topics and groups, by librdkafka's administrative client."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType

from thalweg.proto.records import Partition
from thalweg.stream.log.confluent_client.clients import Clients, text
from thalweg.stream.log.confluent_client.errors import Causes
from thalweg.stream.log.confluent_client.other_client import OtherClient
from thalweg.stream.log.kafka_shared.by_leader import by_leader
from thalweg.stream.log.kafka_shared.consumer import ANSWER_SECONDS, ClientError, Topic
from thalweg.stream.log.kafka_shared.members import listed_as
from thalweg.stream.log.log import Problem

T = TypeVar("T")

_MISSING = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID, KafkaError.TOPIC_EXCEPTION)
_MOVING = (
    *(KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART),
    *(KafkaError.OFFSET_NOT_AVAILABLE, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH),
)
_REFUSED_SECONDS = 0.5
_STEP_SECONDS = 0.1  # between two looks for an error that no waiting mends
_TRY_SECONDS = 1.0  # for the first answer: another broker may be asked the next time
_VAIN_SECONDS = 10.0  # in which a controller that has not answered is not asked again


class Cluster:
    """What the cluster tells of its topics. Thread-safe.

    Every call raises ClientError while no broker answers.

    Args:
        clients: Opens the client.
        other: Asked for topics while the broker that is named controller is out of reach, and others are not.
    """

    def __init__(self, clients: Clients, other: OtherClient) -> None:
        self._causes, self._other = Causes(clients.servers), other
        self._vain_until = float("-inf")  # a question to the controller was not answered
        self._admin = clients.admin(self._causes)
        self._causes.ask(self._admin)
        self._first_answer_seconds = clients.properties.first_answer_seconds
        self._answered = False

    def reachable(self) -> None:
        """Nothing, if a broker answers."""
        self.id()

    def id(self) -> str | None:
        """The id of the cluster; None from a broker that does not tell it."""
        seconds = self._seconds()
        if (found := self._soon(self._described, seconds)) is None:
            try:
                found = self._admin.list_topics(timeout=seconds)  # by any broker
            except KafkaException as error:
                self._answered = False
                raise ClientError(self._causes.problem(error.args[0])) from error
            self._heard()
        return found.cluster_id or None

    def topics(self, names: Sequence[str]) -> Mapping[str, Topic]:
        """The topics, each of them."""
        seconds = self._seconds()

        def ask(within: float) -> Mapping[str, Topic]:
            return {name: self._topic(name, within) for name in names}

        if (found := self._soon(ask, seconds)) is None:
            with suppress(ClientError):
                found = self._other.topics(names)
        return ask(seconds) if found is None else found

    def close(self) -> None:
        """Let go of the client once nobody asks any more."""
        self._causes.leave()

    def _soon(self, ask: Callable[[float], T], seconds: float) -> T | None:
        """An answer of the controller; None if it does not come soon, and for a while after: it may be out of reach."""
        if time.monotonic() < self._vain_until:
            return None
        try:
            return ask(min(seconds, _TRY_SECONDS))
        except _NoAnswer:
            self._vain_until = time.monotonic() + _VAIN_SECONDS
            return None

    def _described(self, seconds: float) -> Any:
        return self._answer(lambda within: self._admin.describe_cluster(request_timeout=within), seconds)

    def _topic(self, name: str, seconds: float) -> Topic:
        def ask(within: float) -> Future[Any]:
            future: Future[Any] = self._admin.describe_topics(TopicCollection([name]), request_timeout=within)[name]
            return future

        try:
            found = self._answer(ask, seconds, {KafkaError.TOPIC_AUTHORIZATION_FAILED, *_MISSING})
        except (KafkaException, ValueError):  # a name that no topic can have
            return Topic()
        if isinstance(found, KafkaError):
            return Topic(forbidden=found.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED)
        high, low = found.topic_id.get_most_significant_bits(), found.topic_id.get_least_significant_bits()
        identity = f"{((high & _WORD) << 64) | (low & _WORD):032x}" if high or low else None
        return Topic(frozenset(one.id for one in found.partitions), identity)

    def bounds(
        self, partitions: Sequence[Partition], seconds: float | None = None
    ) -> Mapping[Partition, tuple[int, int]]:
        """The first offset and the next one to be written of each. Raises SomeAway where some leaders do not answer."""

        def ask(parts: Sequence[Partition], within: float) -> Mapping[Partition, tuple[int, int]]:
            first = self._offsets(parts, OffsetSpec.earliest(), within)
            ends = self._offsets(parts, OffsetSpec.latest(), within)
            return {part: (first[part], ends[part]) for part in parts}

        return by_leader(partitions, self._seconds() if seconds is None else seconds, ask, self._leaders)

    def ends(self, partitions: Sequence[Partition], seconds: float) -> Mapping[Partition, int]:
        """The next offset to be written of each. Raises likewise."""
        return by_leader(
            partitions, seconds, lambda parts, within: self._offsets(parts, OffsetSpec.latest(), within), self._leaders
        )

    def _leaders(self) -> Mapping[Partition, str]:
        """Who leads each partition that has a leader, by any broker that answers."""
        try:
            found = self._admin.list_topics(timeout=_TRY_SECONDS)
        except KafkaException as error:
            self._answered = False
            raise ClientError(self._causes.problem(error.args[0])) from error
        self._heard()
        places = {one.id: f"broker {one.id} at {one.host}:{one.port}" for one in found.brokers.values()}
        return {
            Partition(topic.topic, part.id): places.get(part.leader, f"broker {part.leader}")
            for topic in found.topics.values()
            for part in topic.partitions.values()
            if part.leader >= 0
        }

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
                try:
                    one = self._wait(future, seconds, set(_MOVING))
                except _NoAnswer:
                    one = KafkaError(KafkaError._TIMED_OUT)
                if not isinstance(one, KafkaError) and one.offset >= 0:
                    found[Partition(part.topic, part.partition)] = one.offset
                elif time.monotonic() > deadline:  # perhaps without an error, but with no offset either
                    none = one if isinstance(one, KafkaError) else KafkaError(KafkaError._TRANSPORT)
                    raise ClientError(self._causes.problem(none))
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
            nodes = self._described(ANSWER_SECONDS).nodes
            found = self._setting(ResourceType.BROKER, str(nodes[0].id), "message.max.bytes")
        if found is None:
            raise LookupError("the cluster does not tell its settings")
        return int(found)

    def topic_setting(self, topic: str, setting: str) -> str | None:
        """A setting of a topic; None where there is no such topic. Raises ClientError or LookupError."""
        return self._setting(ResourceType.TOPIC, topic, setting)

    def _setting(self, kind: ResourceType, name: str, setting: str) -> str | None:
        def ask(within: float) -> Future[Any]:
            asked = self._admin.describe_configs([ConfigResource(kind, name)], request_timeout=within)
            future: Future[Any] = next(iter(asked.values()))
            return future

        try:
            found = self._answer(ask, ANSWER_SECONDS, set(_MISSING))
        except (KafkaException, ValueError) as error:  # a name that no topic can have
            raise LookupError(text(error)) from error
        return None if isinstance(found, KafkaError) or setting not in found else str(found[setting].value)

    def _seconds(self) -> float:
        return ANSWER_SECONDS if self._answered else self._first_answer_seconds

    def _answer(self, ask: Callable[[float], Future[Any]], seconds: float, expected: set[int] | None = None) -> Any:
        """What `_wait` has of a question, which is asked anew where no answer comes: the broker that it goes to may be
        out of reach, and the next time it may go to another.
        """
        within, deadline = min(_TRY_SECONDS, seconds), time.monotonic() + seconds
        while True:
            try:
                return self._wait(ask(within), within, expected)
            except _NoAnswer:
                if (left := deadline - time.monotonic()) <= 0:
                    raise
                within = min(2 * within, left)

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
                kind = _NoAnswer if told.code() == KafkaError._TIMED_OUT else ClientError
                raise kind(self._causes.problem(told)) from error
            else:
                self._heard()
                return found

    def _heard(self) -> None:
        self._answered = True
        self._causes.clear()


class _NoAnswer(ClientError):
    """A question was not answered in its time."""


_WORD = (1 << 64) - 1


def _named(member: str, client: str) -> bool:
    return re.fullmatch(f"{re.escape(client)}-[0-9a-f-]{{36}}", member) is None


def _name(member: str) -> str:
    return re.sub("-[0-9a-f-]{36}$", "", member)
