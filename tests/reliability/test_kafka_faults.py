"""What happens between brokers, to connections and in groups: every record is read once, in order."""

from __future__ import annotations

import gc
import os
import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from tests.conftest import Opener
from tests.services.kafka import Broker
from tests.services.processes import required_or_skipped, until
from tests.services.proxy import Proxy
from tests.services.stranger import Stranger
from tests.stream.log.battery import drain, offsets, values
from thalweg.stream.log.kafka import KafkaLog
from thalweg.stream.log.log import Log, LogError, Message

pytestmark = [pytest.mark.kafka, pytest.mark.slow(30)]  # with brokers of their own


@pytest.fixture
def topic() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Proxy]]:
    """A broker that sends its clients through a proxy."""
    with required_or_skipped():
        broker = Broker(tmp_path_factory.mktemp("kafka"))
    proxy = Proxy(broker.port)
    broker.advertise(proxy.port)
    broker.start()
    yield broker, proxy
    proxy.close()
    broker.close()


def test_connections_cut_in_the_middle_of_a_fetch_lose_and_double_no_record(
    open_kafka: Opener, behind_proxy: tuple[Broker, Proxy], topic: str
) -> None:
    _, proxy = behind_proxy
    log = open_kafka(f"127.0.0.1:{proxy.port}")
    noise = random.Random(0)  # which no codec makes shorter
    sent = [noise.randbytes(1000) for _ in range(3000)]
    log.append(topic, [Message(value) for value in sent])
    proxy.cut_after_bytes = 400_000  # a fetch answers with at most about a megabyte
    reader = log.reader([topic], {})

    found: list[bytes | None] = []
    while proxy.cuts < 3 and len(found) < len(sent):
        found += values(reader.poll(0.1))
    proxy.cut_after_bytes = 0
    if len(found) < len(sent):
        found += values(drain(reader, len(sent) - len(found)))

    assert proxy.cuts > 0
    assert found == sent
    assert reader.gaps() == []
    reader.close()
    log.close()


def test_ten_outages_of_the_broker_leave_no_open_file_and_no_thread_behind(
    behind_proxy: tuple[Broker, Proxy], topic: str
) -> None:
    _, proxy = behind_proxy
    log = KafkaLog(f"127.0.0.1:{proxy.port}")  # of kafka-python: the other client keeps its sockets to itself
    log.append(topic, [Message(b"0")])
    reader = log.reader([topic], {}, group=f"g-{topic}")
    assert values(drain(reader, 1)) == [b"0"]

    def works() -> bool:
        reader.poll(0.05)
        reader.lag()
        try:
            log.bounds(topic)
        except LogError:
            return False
        return reader.reached()

    def resources() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208 - names are not needed

    def settled(outages: int) -> tuple[int, int]:
        """The most files and threads after any of these outages, once everything works again."""
        most = (0, 0)
        for outage in range(outages):
            proxy.close()
            until("the outage to be seen", lambda: reader.poll(0.05) == [] and reader.lag() and not reader.reached())
            for _ in range(5):  # each tries to connect again
                reader.poll(0.1)
            proxy.reopen()
            until("the broker", works)
            log.append(topic, [Message(str(outage).encode())])
            most = max(most[0], resources()[0]), max(most[1], resources()[1])
        return most

    gc.collect()
    gc.disable()  # what only the collector closes stays open for long in a process that seldom collects
    try:
        before, after = settled(2), settled(8)
    finally:
        gc.enable()
    assert after[0] <= before[0] + 4, "open files"  # a connection may be open that was not, or its end unseen
    assert after[1] <= before[1] + 4, "threads"  # of the proxy, for each connection
    reader.close()
    log.close()


def test_a_member_that_joins_our_group_and_leaves_takes_no_partition_from_a_reader(
    open_kafka: Opener, kafka_servers: str, topic: str
) -> None:
    log, group = open_kafka(kafka_servers), f"g-{topic}"
    log.append(topic, [Message(b"0")])
    reader = log.reader([topic], {}, group=group)
    assert values(drain(reader, 1)) == [b"0"]

    stranger = Stranger(kafka_servers, topic, group, enable_auto_commit=False)
    until("a stranger to have the partition", stranger.poll)
    log.append(topic, [Message(b"1")])
    assert values(drain(reader, 1)) == [b"1"]
    reader.commit(reader.position(), "beside a stranger")
    assert reader.poll(0.1) == []
    stranger.close()
    log.append(topic, [Message(b"2")])

    assert values(drain(reader, 1)) == [b"2"]
    reader.commit(reader.position(), "alone again")
    reader.poll(0.1)
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    place = TopicPartition(topic, 0)
    until("the place to be committed", lambda: admin.list_group_offsets({group: None})[group][place].offset == 3)
    admin.close()
    reader.close()
    log.close()


def test_the_largest_record_that_a_topic_takes_is_known_before_anything_is_appended(
    open_kafka: Opener, kafka_servers: str, topic: str
) -> None:
    """By it a request is refused whose event could never be appended."""
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "5000"})])
    admin.close()
    log = open_kafka(kafka_servers)

    most = until("the topic's own limit", lambda: (found := log.max_record_bytes(topic)) < 5000 and found)

    noise = random.Random(0).randbytes
    assert log.append(topic, [Message(noise(int(most)))])
    with pytest.raises(LogError, match="larger than the topic accepts"):
        log.append(topic, [Message(noise(6000))])
    log.close()


def test_a_writer_that_was_fenced_is_never_read(open_kafka: Opener, kafka_servers: str, topic: str) -> None:
    def writer() -> KafkaProducer:
        producer = KafkaProducer(bootstrap_servers=kafka_servers, transactional_id=f"tx-{topic}")
        producer.init_transactions()
        producer.begin_transaction()
        return producer

    zombie = writer()
    zombie.send(topic, b"zombie")
    zombie.flush()
    successor = writer()
    successor.send(topic, b"successor")
    successor.commit_transaction()
    with pytest.raises(KafkaError):
        zombie.commit_transaction()
    log = open_kafka(kafka_servers)
    reader = log.reader([topic], {})

    assert values(drain(reader, 1)) == [b"successor"]
    assert reader.poll(0.5) == []
    for one in (zombie, successor):
        one.close()
    reader.close()
    log.close()


def test_when_the_leader_of_a_partition_moves_nothing_is_lost_or_doubled(
    open_kafka: Opener, behind_proxy: tuple[Broker, Proxy], tmp_path: Path, topic: str
) -> None:
    first, _ = behind_proxy
    with closing(Broker(tmp_path, joins=first)) as second, closing(_both_of(first, second)) as admin:
        admin.create_topics([NewTopic(topic, replica_assignments={0: [2, 1]})])
        servers = f"{first.servers},{second.servers}"
        with closing(open_kafka(servers)) as log, ExitStack() as opened:
            sent = [str(number).encode() for number in range(300)]
            log.append(topic, [Message(value) for value in sent[:100]])
            reader = opened.enter_context(closing(log.reader([topic], {})))
            runs = drain(reader, 100)
            # a client asks the broker that it takes for the controller, which is either of them by chance
            others = [opened.enter_context(closing(open_kafka(servers))) for _ in range(6)]
            identity = {other.identity(topic) for other in others}

            second.stop()  # the first one leads from now on
            log.append(topic, [Message(value) for value in sent[100:200]])
            runs += drain(reader, 100)
            for other in others:
                until("the broker that is left", lambda other=other: _identity(other, topic) in identity, 60)
            second.start()
            log.append(topic, [Message(value) for value in sent[200:]])
            runs += drain(reader, 100)

        assert values(runs) == sent
        assert offsets(runs) == list(range(300))


def _both_of(first: Broker, second: Broker) -> KafkaAdminClient:
    """Starts the second; an administrative client of the first, once it knows both."""
    second.start()
    admin = KafkaAdminClient(bootstrap_servers=first.servers)
    until("both brokers", lambda: len(admin.describe_cluster()["brokers"]) == 2)
    return admin


def _identity(log: Log, topic: str) -> str | None:
    """None while no broker answers."""
    try:
        return log.identity(topic)
    except LogError:
        return None
