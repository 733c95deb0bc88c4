"""Where the brokers themselves send clients: by IPv6, to a name that nobody knows, to where nothing answers."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from tests.conftest import Opener
from tests.services.kafka import Broker
from tests.services.ports import free_port
from tests.services.processes import required_or_skipped, until
from thalweg.proto.records import Partition
from thalweg.stream.health.reading import report_reading
from thalweg.stream.health.registry import Health
from thalweg.stream.log.identity import partitions_of
from thalweg.stream.log.log import LogError, Message, PartlyAway, PermanentLogError

T = TypeVar("T")

HERE, AWAY = Partition("both", 0), Partition("both", 1)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with required_or_skipped():
        made = Broker(tmp_path)
    yield made
    made.close()


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_brokers_may_have_addresses_of_ipv6(broker: Broker, open_kafka: Opener) -> None:
    broker.advertise(broker.port, "[::1]")
    broker.start()
    log = open_kafka(f"[::1]:{broker.port}")

    until("a record to be taken", lambda: log.append("t", [Message(b"x")]))
    reader = log.reader(["t"], {})
    found = until("it to be read", lambda: reader.poll(0.5))

    assert found[0].partition.topic == "t"
    reader.close()
    log.close()


def test_a_name_that_brokers_advertise_and_nobody_knows_is_told_as_theirs(broker: Broker, open_kafka: Opener) -> None:
    broker.advertise(broker.port, "kafka-0.nowhere.invalid")
    broker.start()
    log = open_kafka(broker.servers)

    def told() -> str:
        try:
            log.bounds("t")
        except LogError as error:
            return str(error) if isinstance(error, PermanentLogError) else ""
        return ""

    assert "check log.url, and advertised.listeners of the brokers" in until("it to be told", told)
    log.close()


@pytest.fixture(params=["a name that nobody knows", "where nothing answers"])
def half(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """One of two brokers, to which clients find; to the other one they are sent in vain."""
    with ExitStack() as stack:
        first, other = _two(tmp_path, stack)
        name = request.param == "a name that nobody knows"
        other.advertise(other.port if name else free_port(), "kafka-1.nowhere.invalid" if name else "127.0.0.1")
        other.start()
        until("topics to be made", lambda: _made(first.servers, {"here": {0: [1]}, "both": {0: [1], 1: [2]}}))
        yield first


def _two(folder: Path, stack: ExitStack) -> tuple[Broker, Broker]:
    """Two brokers of one cluster; the first is started."""
    folders = folder / "0", folder / "1"
    for one in folders:
        one.mkdir()
    with required_or_skipped():
        first = Broker(folders[0])
    stack.callback(first.close)
    first.start()
    other = Broker(folders[1], joins=first)
    stack.callback(other.close)
    return first, other


def _made(servers: str, topics: dict[str, dict[int, list[int]]]) -> bool:
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        admin.create_topics([NewTopic(name, replica_assignments=replicas) for name, replicas in topics.items()])
    except KafkaError:  # it went to the broker that is out of reach, or that one is not known yet
        return False
    else:
        return True
    finally:
        admin.close()


def test_a_broker_out_of_reach_stops_nothing_of_the_others(half: Broker, open_kafka: Opener) -> None:
    log = open_kafka(half.servers)
    try:
        for number in range(3):
            until("a record to be taken", lambda: _without_giving_up(lambda: log.append("here", [Message(b"x")])))
            bounds = until("its bounds", lambda: _without_giving_up(lambda: log.bounds("here")))
            assert bounds == {Partition("here", 0): (0, number + 1)}
        assert until("its identity", lambda: _without_giving_up(lambda: log.identity("here")))
        assert until("the cluster", lambda: _without_giving_up(log.cluster))
        reader = log.reader(["here"], {})
        until("all to be read", lambda: sum(map(len, reader.poll(0.5))) and reader.lag()[Partition("here", 0)] == 0)
        reader.close()

        with pytest.raises(PartlyAway) as raised:
            log.bounds("both")  # no bounds are better than wrong ones
        assert re.fullmatch(
            r"partition 1 of 'both': broker 2 at \S+:\d+, which leads, is out of reach; 1 of 2 partitions can be read",
            str(raised.value),
        )
        assert raised.value.partitions == partitions_of(log, "both") == {HERE, AWAY}
    finally:
        log.close()


def test_a_reader_begins_with_the_partitions_within_reach(half: Broker, open_kafka: Opener) -> None:
    log = open_kafka(half.servers)
    message = Message(b"x", partition=0)
    until("a record to be taken", lambda: _without_giving_up(lambda: log.append("both", [message])))
    reader = log.reader(["both"], {})
    try:
        assert [one.partition for one in until("the record", lambda: reader.poll(0.5))] == [HERE]
        assert reader.lag() == {HERE: 0}  # nobody knows of the other one
        assert not reader.reached()
        assert (problem := reader.problem()) is not None
        assert re.fullmatch(
            r"partition 1 of 'both': broker 2 at \S+:\d+, which leads, is out of reach; the other partitions are read",
            problem.reason,
        )
        assert problem.partly
        health = Health("learner")
        report_reading(health, reader)
        assert (health.now().state, health.now().reason) == ("degraded", problem.reason)  # it learns

        began = time.monotonic()
        for number in range(1, 30):
            log.append("both", [message])
            assert until("the next one", lambda: reader.poll(1.0))[0].offsets[0] == number
            assert reader.lag()[HERE] == 0
        assert time.monotonic() - began < 30  # that is asked for in vain holds up little
        assert not reader.reached()  # and it is still told
    finally:
        reader.close()
        log.close()


def test_records_are_read_while_the_coordinator_of_the_group_is_away(tmp_path: Path, open_kafka: Opener) -> None:
    """What is committed to the group is for those who look on: kafka-python read nothing until it was back."""
    with ExitStack() as stack:
        first, second = _two(tmp_path, stack)
        second.start()
        until("topics to be made", lambda: _made(first.servers, {"here": {0: [1]}, "__consumer_offsets": {0: [2]}}))
        log = open_kafka(f"{first.servers},{second.servers}")
        stack.callback(log.close)
        until("a record to be taken", lambda: _without_giving_up(lambda: log.append("here", [Message(b"x")])))
        reader = log.reader(["here"], {}, group="g")
        stack.callback(reader.close)
        until("it to be read", lambda: reader.poll(0.1))
        reader.commit(reader.position())

        second.kill()
        told_by = time.monotonic() + 10  # the client knows by then, from a commit, that the coordinator is gone
        while time.monotonic() < told_by:
            until("a record to be taken", lambda: _without_giving_up(lambda: log.append("here", [Message(b"x")])))
            until("it to be read", lambda: reader.poll(0.1), 30)
            reader.commit(reader.position())


def test_where_to_begin_is_unknown_while_a_partition_is_out_of_reach(half: Broker, open_kafka: Opener) -> None:
    log = open_kafka(half.servers)

    def told() -> str:
        with pytest.raises(LogError, match="the latest offset is unknown") as refused:
            log.reader(["both"], {}, "latest")
        return str(refused.value)

    # a new client may ask the broker out of reach for the partitions before it knows of the other one
    until("the partition to be named", lambda: "(partition 1 of 'both'" in told())
    log.close()


@pytest.mark.parametrize("others", ["busy", "idle"])
def test_a_partition_that_loses_its_leader_is_told_and_the_others_are_read(
    tmp_path: Path, open_kafka: Opener, others: str
) -> None:
    with ExitStack() as stack:
        first, second = _two(tmp_path, stack)
        second.start()
        until("the topic to be made", lambda: _made(first.servers, {"both": {0: [1], 1: [2]}}))
        log = open_kafka(f"{first.servers},{second.servers}", {"metadata.max.age.ms": 1000})
        stack.callback(log.close)
        either = [Message(b"x", partition=number) for number in (0, 1)]
        until("records to be taken", lambda: _without_giving_up(lambda: log.append("both", either)))
        reader = log.reader(["both"], {})
        stack.callback(reader.close)
        read: list[Partition] = []
        until("both to be read", lambda: read.extend(one.partition for one in reader.poll(0.5)) or len(read) == 2)
        until("all to be well", lambda: reader.lag() == {HERE: 0, AWAY: 0} and reader.problem() is None)

        second.kill()

        def told() -> bool:
            if others == "busy":
                log.append("both", either[:1])
                assert until("the next one", lambda: reader.poll(1.0))[0].partition == HERE
            else:
                reader.poll(0.1)
            lag, problem = reader.lag(), reader.problem()
            if problem is None or "partition 1 of 'both': no broker leads" not in problem.reason:
                return False
            return problem.partly and lag == {HERE: 0} and not reader.reached()

        until("it to be told", told)
        with pytest.raises(PartlyAway, match=r"partition 1 of 'both': no broker leads.*1 of 2 partitions can be"):
            log.bounds("both")
        second.start()
        until("a record of it to be taken", lambda: _without_giving_up(lambda: log.append("both", either[1:])))
        until("it to be read", lambda: any(one.partition == AWAY for one in reader.poll(0.5)))
        until("all to be well", lambda: reader.lag() == {HERE: 0, AWAY: 0} and reader.problem() is None)
        assert reader.reached()


def _without_giving_up(ask: Callable[[], T]) -> T | None:
    """Its answer; None where it is out of reach for now. One that is told to be so for good fails the test."""
    try:
        return ask()
    except PermanentLogError:
        raise
    except LogError:
        return None
