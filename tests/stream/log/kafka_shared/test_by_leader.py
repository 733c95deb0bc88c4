"""Of partitions whose leaders are out of reach the others are answered for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from thalweg.proto.records import Partition
from thalweg.stream.log.kafka_shared.away import Away
from thalweg.stream.log.kafka_shared.by_leader import NO_LEADER, by_leader
from thalweg.stream.log.kafka_shared.consumer import ClientError, SomeAway, partly_away
from thalweg.stream.log.log import Problem

ONE, TWO, THREE = (Partition("t", number) for number in range(3))
FIRST, SECOND = "broker 1 at a:9092", "broker 2 at b:9092"


class Cluster:
    """Two brokers, of which some answer; a question to several fails if one of them does not."""

    def __init__(self, leaders: Mapping[Partition, str], *answering: str, permanent: bool = False) -> None:
        self._leaders, self.answering, self._permanent = leaders, set(answering), permanent
        self.asked: list[list[Partition]] = []

    def ask(self, parts: Sequence[Partition], seconds: float) -> Mapping[Partition, int]:
        self.asked.append(list(parts))
        if not {self._leaders.get(part, "") for part in parts} <= self.answering:
            raise ClientError(Problem("no answer", self._permanent))
        return {part: part.number for part in parts}

    def leaders(self) -> Mapping[Partition, str]:
        if not self.answering:
            raise ClientError(Problem("Kafka at a,b does not answer"))
        return self._leaders

    def found(self, *parts: Partition) -> Mapping[Partition, int]:
        return by_leader(parts, 1.0, self.ask, self.leaders)


LED = {ONE: FIRST, TWO: SECOND, THREE: SECOND}


def test_all_are_asked_at_once_while_all_answer() -> None:
    cluster = Cluster(LED, FIRST, SECOND)
    assert cluster.found(ONE, TWO, THREE) == {ONE: 0, TWO: 1, THREE: 2}
    assert len(cluster.asked) == 1


def test_the_leader_that_does_not_answer_is_named() -> None:
    with pytest.raises(SomeAway) as told:
        Cluster(LED, FIRST).found(ONE, TWO, THREE)
    assert told.value.found == {ONE: 0}
    text = "partitions 1, 2 of 't': broker 2 at b:9092, which leads, is out of reach"
    assert told.value.problem.reason == text
    assert str(partly_away(told.value)) == f"{text}; 1 of 3 partitions can be read"


def test_a_partition_without_a_leader_is_named() -> None:
    with pytest.raises(SomeAway) as told:
        Cluster({ONE: FIRST}, FIRST).found(ONE, TWO)
    assert told.value.found == {ONE: 0}
    assert told.value.problem.reason == f"partition 1 of 't': {NO_LEADER}"


def test_other_brokers_answer_where_all_partitions_are_out_of_reach() -> None:
    cluster = Cluster(LED, FIRST)
    with pytest.raises(SomeAway) as told:
        cluster.found(TWO)
    assert len(cluster.asked) == 1  # who was asked alone is not asked again
    assert str(partly_away(told.value)).endswith("is out of reach; other brokers answer")


def test_nobody_answers_only_where_nobody_does() -> None:
    with pytest.raises(ClientError, match="Kafka at a,b does not answer") as told:
        Cluster(LED).found(ONE, TWO)
    assert not isinstance(told.value, SomeAway)


def test_what_no_waiting_mends_is_told_as_it_is() -> None:
    with pytest.raises(ClientError, match="no answer") as told:
        Cluster(LED, FIRST, permanent=True).found(ONE, TWO)
    assert told.value.problem.permanent


def test_what_is_out_of_reach_is_asked_for_seldom_and_forgotten_once_it_answers() -> None:
    now = [100.0]
    away, cluster = Away(lambda: now[0]), Cluster(LED, FIRST)
    assert away.answered(away.due([ONE, TWO]), lambda parts, _: cluster.found(*parts)) == {ONE: 0}
    assert TWO in away
    assert away.due([ONE, TWO]) == [ONE]
    assert (problem := away.problem(others=True)) is not None
    assert problem.partly
    now[0] += 6
    assert away.due([ONE, TWO]) == [ONE, TWO]
    cluster.answering.add(SECOND)
    assert away.answered([ONE, TWO], lambda parts, _: cluster.found(*parts)) == {ONE: 0, TWO: 1}
    assert not away
    assert away.problem(others=True) is None
