"""Members of consumer groups by each client, against a real broker."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewPartitions
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from tests.conftest import Opener
from tests.services.kafka import Broker
from tests.services.processes import until
from tests.services.stranger import Stranger
from thalweg.proto.records import Partition
from thalweg.stream.log.confluent import ConfluentLog
from thalweg.stream.log.confluent_client.member import beside
from thalweg.stream.log.kafka import KafkaLog
from thalweg.stream.log.kafka_client.clients import CheckedConsumer
from thalweg.stream.log.kafka_shared.members import Fenced
from thalweg.stream.log.log import Log, LogError, Message, PermanentLogError
from thalweg.stream.log.open import open_log

pytestmark = pytest.mark.kafka


class Told:
    """A listener that notes what it is told, and in which order all of them were."""

    def __init__(self, name: str, order: list[tuple[str, str, int]]) -> None:
        self.name, self.order, self.owned = name, order, set[int]()

    def assigned(self, numbers: Collection[int]) -> None:
        self.owned |= set(numbers)
        self.order += [(self.name, "assigned", number) for number in numbers]

    def revoked(self, numbers: Collection[int]) -> None:
        self.owned -= set(numbers)
        self.order += [(self.name, "revoked", number) for number in numbers]

    def lost(self, numbers: Collection[int]) -> None:
        self.owned -= set(numbers)
        self.order += [(self.name, "lost", number) for number in numbers]


class Polling:
    """A member with a thread that polls."""

    def __init__(
        self, log: Log, topic: str, name: str, order: list[tuple[str, str, int]], kind: type[Told] = Told
    ) -> None:
        self.told: Any = kind(name, order)
        self.member = log.member(topic, f"g-{topic}", name, self.told)
        self.error: LogError | None = None
        self.rounds = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.rounds += 1
            try:
                self.member.poll(0.05)
            except PermanentLogError as error:
                self.error = error
                return
            except LogError as error:
                self.error = error

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.member.close()


@pytest.fixture
def log(open_kafka: Opener, kafka_servers: str) -> Iterator[Log]:
    log = open_kafka(kafka_servers, {"session.timeout.ms": 6000})
    yield log
    log.close()


@pytest.fixture
def admin(kafka_servers: str) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    yield admin
    admin.close()


@pytest.fixture
def topic(admin: KafkaAdminClient) -> str:
    name = f"t-{uuid.uuid4().hex[:12]}"
    admin.create_topics({name: {"num_partitions": 4}})
    return name


def test_members_share_the_partitions_and_a_moved_one_is_released_first(log: Log, topic: str) -> None:
    order: list[tuple[str, str, int]] = []
    first = Polling(log, topic, "first", order)
    until("all partitions", lambda: first.told.owned == {0, 1, 2, 3})
    second = Polling(log, topic, "second", order)
    until("half of them each", lambda: len(first.told.owned) == len(second.told.owned) == 2)
    assert first.told.owned | second.told.owned == {0, 1, 2, 3}
    for number in second.told.owned:
        assert order.index(("first", "revoked", number)) < order.index(("second", "assigned", number))
    stayed = [number for number in first.told.owned if ("first", "revoked", number) in order]
    assert stayed == []  # those that do not move are not touched
    second.close()
    first.close()


class Clocked(Told):
    """Notes when each partition came and went."""

    def __init__(self, name: str, order: list[tuple[str, str, int]]) -> None:
        super().__init__(name, order)
        self.came: dict[int, float] = {}
        self.went: dict[int, float] = {}

    def assigned(self, numbers: Collection[int]) -> None:
        self.came |= dict.fromkeys(numbers, time.monotonic())
        super().assigned(numbers)

    def revoked(self, numbers: Collection[int]) -> None:
        super().revoked(numbers)
        self.went |= dict.fromkeys(numbers, time.monotonic())


def test_a_partition_that_is_released_has_its_next_owner_at_once(log: Log, topic: str) -> None:
    """Left to themselves, the clients wait for a heartbeat, and join again a second after they last did."""
    order: list[tuple[str, str, int]] = []
    members = [Polling(log, topic, "0", order, Clocked)]
    until("all partitions", lambda: members[0].told.owned == {0, 1, 2, 3})
    least = []
    for name in ("1", "2", "3"):
        joining = Polling(log, topic, name, order, Clocked)
        members.append(joining)
        until("some", lambda: bool(joining.told.owned) and sum(len(one.told.owned) for one in members) == 4)  # noqa: B023
        came = joining.told.came
        least += [came[number] - one.told.went[number] for one in members for number in {*came} & {*one.told.went}]
    for member in members:
        member.close()
    assert min(least) < 0.3, least  # the quickest: what takes long on a busy machine says nothing


def test_a_member_that_comes_back_under_its_name_has_its_partitions_at_once(log: Log, topic: str) -> None:
    order: list[tuple[str, str, int]] = []
    first, second = Polling(log, topic, "first", order), Polling(log, topic, "second", order)
    until("half of them each", lambda: len(first.told.owned) == len(second.told.owned) == 2)
    theirs, before = set(second.told.owned), len(order)
    second.close()
    again = Polling(log, topic, "second", order)
    until("the same partitions", lambda: again.told.owned == theirs)
    assert [entry for entry in order[before:] if entry[0] == "first"] == []
    again.close()
    first.close()


def test_a_new_partition_is_assigned(log: Log, topic: str, admin: KafkaAdminClient) -> None:
    member = Polling(log, topic, "only", [])
    until("all partitions", lambda: member.told.owned == {0, 1, 2, 3})
    admin.create_partitions({topic: NewPartitions(total_count=6)})
    until("the new ones too", lambda: member.told.owned == {0, 1, 2, 3, 4, 5})
    member.close()


@pytest.mark.parametrize("when", ["while it was away", "after it came back"])
def test_partitions_that_are_added_are_assigned_to_a_member_that_came_back_under_its_name(
    log: Log, topic: str, admin: KafkaAdminClient, when: str
) -> None:
    """It is given what it had, without a rebalance, and its client does not know that it leads the group."""
    first = Polling(log, topic, "worker", [])
    until("all partitions", lambda: len(first.told.owned) == 4)
    first.close()
    if when == "while it was away":
        admin.create_partitions({topic: NewPartitions(6)})
    order: list[tuple[str, str, int]] = []
    again = Polling(log, topic, "worker", order)
    until("its partitions", lambda: again.told.owned >= {0, 1, 2, 3})
    if when != "while it was away":
        admin.create_partitions({topic: NewPartitions(6)})

    until("the new ones", lambda: again.told.owned == set(range(6)))
    again.close()
    assert [number for _, what, number in order if what != "assigned"] == []  # those that it had are not interrupted


@pytest.mark.parametrize("letters", [14, 233, 234, 249])
def test_what_a_member_names_to_join_again_is_a_topic_that_there_may_be(letters: int) -> None:
    first, second = ("x" * (letters - 1) + end for end in "ab")

    named = {beside(first), beside(second)}

    assert len(named - {first, second}) == 2
    assert all(len(name) <= 249 and name[: min(letters - 1, 200)] == "x" * min(letters - 1, 200) for name in named)


def test_a_member_that_remembers_more_partitions_than_there_are_goes_on_and_on_when_the_topic_is_deleted_again(
    log: Log, topic: str, admin: KafkaAdminClient
) -> None:
    def recreate(partitions: int) -> None:
        admin.delete_topics([topic])
        until("it to be gone", lambda: topic not in admin.list_topics())
        admin.create_topics({topic: {"num_partitions": partitions}})
        until("it to be there", lambda: topic in admin.list_topics())

    first = Polling(log, topic, "worker", [])
    until("all partitions", lambda: len(first.told.owned) == 4)
    first.close()
    recreate(2)
    again = Polling(log, topic, "worker", [])

    until("the two that are there", lambda: again.told.owned == {0, 1})
    admin.delete_topics([topic])
    until("none", lambda: again.told.owned == set())
    admin.create_topics({topic: {"num_partitions": 3}})
    until("all three", lambda: again.told.owned == {0, 1, 2})
    again.close()


def test_positions_are_committed_to_the_group(log: Log, topic: str, kafka_servers: str) -> None:
    member = Polling(log, topic, "only", [])
    until("all partitions", lambda: member.told.owned == {0, 1, 2, 3})
    member.member.commit({Partition(topic, 2): 41}, "version 7")
    looker = KafkaConsumer(bootstrap_servers=kafka_servers, group_id=f"g-{topic}", enable_auto_commit=False)
    until("the next offset", lambda: looker.committed(TopicPartition(topic, 2)) == 42)
    looker.close()
    member.close()


def test_who_joins_under_a_name_that_is_taken_fences_the_other(log: Log, topic: str) -> None:
    first = Polling(log, topic, "same", [])
    until("all partitions", lambda: first.told.owned == {0, 1, 2, 3})
    second = Polling(log, topic, "same", [])
    until("it owns them now", lambda: second.told.owned == {0, 1, 2, 3})
    until("the first is told", lambda: first.error is not None)
    assert isinstance(first.error, Fenced)
    assert "another process has joined it as 'same'" in str(first.error)
    until("it owns them still", lambda: second.told.owned == {0, 1, 2, 3})
    assert second.error is None
    first.close()
    second.close()


def test_a_member_that_is_put_out_joins_again(log: Log, topic: str, kafka_servers: str) -> None:
    """As one is by its own commit of a session ago, here by another process that took its name and is gone again."""
    order: list[tuple[str, str, int]] = []
    member = Polling(log, topic, "same", order)
    until("all partitions", lambda: member.told.owned == {0, 1, 2, 3})

    cooperative = [CooperativeStickyAssignor]
    other = Stranger(
        kafka_servers, topic, f"g-{topic}", group_instance_id="same", partition_assignment_strategy=cooperative
    )
    until("it to have joined", other.poll)
    until("the member to be put out", lambda: ("same", "lost", 0) in order)
    other.close()

    until("all partitions again", lambda: member.told.owned == {0, 1, 2, 3})
    until("it is well", lambda: well(member))
    member.close()


def test_a_consumer_that_is_none_of_ours_is_listed_by_its_client(log: Log, topic: str, kafka_servers: str) -> None:
    first = Polling(log, topic, "first", [])
    until("all partitions", lambda: first.told.owned == {0, 1, 2, 3})
    cooperative = [CooperativeStickyAssignor]
    consumer = Stranger(
        kafka_servers, topic, f"g-{topic}", client_id="console-consumer", partition_assignment_strategy=cooperative
    )
    until("half of them each", lambda: (consumer.poll(), len(first.told.owned) == 2)[1])
    assert sorted(log.named_members(f"g-{topic}")) == ["client console-consumer", "first"]
    if isinstance(log, ConfluentLog):
        assert sorted(log._cluster().named_members(f"g-{topic}")) == ["client console-consumer", "first"]
    consumer.close()
    first.close()


def test_a_consumer_that_shares_partitions_out_in_another_way_is_told_and_waited_for(
    log: Log, topic: str, kafka_servers: str
) -> None:
    consumer = Stranger(kafka_servers, topic, f"g-{topic}")
    until("it to have all", lambda: len(consumer.poll()) == 4)
    first = Polling(log, topic, "first", [])
    until("it to be told", lambda: (consumer.poll(), "a consumer that is no learner" in str(first.error))[1])
    consumer.close()
    until("all partitions", lambda: first.told.owned == {0, 1, 2, 3})
    first.close()


def test_a_member_without_a_name_is_not_counted_and_leaves_at_once(
    log: Log, topic: str, open_kafka: Opener, kafka_servers: str
) -> None:
    # of a group that nobody has heard of; a new broker has no coordinator at first
    until("an answer", lambda: counted(log, f"g-{topic}") is not None)
    assert not log.named_members(f"g-{topic}")
    order: list[tuple[str, str, int]] = []
    first = Polling(log, topic, "first", order)
    until("all partitions", lambda: first.told.owned == {0, 1, 2, 3})
    standby = Polling(log, topic, "", order)
    until("half of them each", lambda: len(first.told.owned) == len(standby.told.owned) == 2)

    assert [*log.named_members(f"g-{topic}")] == ["first"]
    if isinstance(log, ConfluentLog):  # kafka-python, which is asked, does not know this property
        other = open_kafka(kafka_servers, {"socket.keepalive.enable": True})
        assert [*other.named_members(f"g-{topic}")] == ["first"]
        assert not logging.getLogger("kafka.net.transport").isEnabledFor(logging.ERROR)  # this client tells it
        other.close()

    first.close()  # it keeps its own for the session, which is not waited for
    again = Polling(log, topic, "first", order)
    until("it to be back", lambda: len(again.told.owned) == 2)
    standby.close()
    until("all partitions at once", lambda: again.told.owned == {0, 1, 2, 3})
    again.close()


@pytest.mark.slow
def test_a_member_and_who_counts_members_say_so_for_as_long_as_the_broker_is_away(
    open_kafka: Opener, kafka_broker: Broker
) -> None:
    servers = kafka_broker.servers
    log = open_kafka(servers, {"session.timeout.ms": 6000})
    admin = KafkaAdminClient(bootstrap_servers=servers)
    admin.create_topics({"t": {"num_partitions": 2}})
    admin.close()
    member = Polling(log, "t", "first", [])
    until("all partitions", lambda: member.told.owned == {0, 1})
    until("one learner", lambda: counted(log, "g-t") == 1)
    assert member.error is None

    kafka_broker.kill()

    if isinstance(log, ConfluentLog):  # kafka-python tells it when the broker is back
        until("its session ends", lambda: member.told.owned == set())
    for _ in range(3):  # again and again
        member.error = None
        until("it says so", lambda: member.error is not None)
    assert "g-t" in str(member.error)
    assert f"Kafka at {servers}" in str(member.error)
    assert counted(log, "g-t") is None
    kafka_broker.start()
    until("all partitions", lambda: member.told.owned == {0, 1})
    until("one learner", lambda: counted(log, "g-t") == 1)
    until("it is well", lambda: well(member))
    member.close()
    log.close()


def counted(log: Log, group: str) -> int | None:
    """The members that have a name; None: the log does not answer."""
    try:
        return len(log.named_members(group))
    except LogError:
        return None


def well(member: Polling) -> bool:
    """Whether it polls without an error."""
    member.error = None
    rounds = member.rounds
    until("some polls", lambda: member.rounds > rounds + 3)
    return member.error is None


def test_no_append_waits_for_who_counts_the_members_or_asks_for_a_topic(
    kafka_servers: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes as long as the client's patience in an outage."""
    log = open_log(f"kafka://{kafka_servers}", client="kafka-python")
    assert isinstance(log, KafkaLog)
    assert log.bounds(topic)
    asked, go_on = threading.Barrier(3), threading.Event()

    def slow(*_: object, **__: object) -> None:
        asked.wait(60)
        go_on.wait(60)

    monkeypatch.setattr(KafkaAdminClient, "describe_groups", slow)
    monkeypatch.setattr(CheckedConsumer, "beginning_offsets", slow)
    asking = [
        threading.Thread(target=suppressed, args=(TypeError, ask))
        for ask in (lambda: log.named_members("g"), lambda: log.bounds(topic))
    ]
    for thread in asking:
        thread.start()
    asked.wait(60)
    try:
        assert log.append(topic, [Message(b"x")])
        assert all(thread.is_alive() for thread in asking)
    finally:
        go_on.set()
        for thread in asking:
            thread.join()
        log.close()


def suppressed(kind: type[Exception], call: Callable[[], object]) -> None:
    with suppress(kind):
        call()
