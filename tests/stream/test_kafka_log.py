"""The log in Kafka, against a real broker: as every log, and what only Kafka does to a reader."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from tests.services.kafka import Broker
from tests.stream.log_battery import LogBattery, drain, offsets, values
from thalweg.proto.event import Partition
from thalweg.stream.kafka_log import KafkaLog
from thalweg.stream.log import Gap, Log, LogError, Message

pytestmark = pytest.mark.kafka


@pytest.fixture
def log(kafka_servers: str) -> Iterator[KafkaLog]:
    log = KafkaLog(kafka_servers)
    yield log
    log.close()


@pytest.fixture
def topic() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


class TestKafkaLog(LogBattery):
    @pytest.fixture
    def log(self, log: KafkaLog) -> Log:
        return log


def test_aborted_transactions_are_never_seen_and_hold_nothing_up(log: KafkaLog, kafka_servers: str, topic: str) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_servers, transactional_id=f"tx-{topic}")
    producer.init_transactions()
    for number, good in enumerate([True, False, True, False]):
        producer.begin_transaction()
        for i in range(3):
            producer.send(topic, f"{number} {i}".encode())
        producer.flush()
        (producer.commit_transaction if good else producer.abort_transaction)()
    producer.close()
    reader = log.reader([topic], {}, group=f"g-{topic}")

    runs = drain(reader, 6)

    assert values(runs) == [f"{number} {i}".encode() for number in (0, 2) for i in range(3)]
    assert reader.poll(0.5) == []
    assert reader.lag() == {Partition(topic, 0): 0}
    reader.close()
    again = log.reader([topic], {Partition(topic, 0): offsets(runs)[2]})
    assert values(drain(again, 3)) == [f"2 {i}".encode() for i in range(3)]
    again.close()


def test_records_deleted_before_they_were_read_are_named_and_the_rest_is_read(
    log: KafkaLog, kafka_servers: str, topic: str
) -> None:
    log.append(topic, [Message(str(i).encode()) for i in range(10)])
    beside = log.reader([topic], {Partition(topic, 0): 1})
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.delete_records({TopicPartition(topic, 0): 6})
    admin.close()
    late = log.reader([topic], {Partition(topic, 0): 1})

    for reader in (beside, late):
        assert values(drain(reader, 4)) == [b"6", b"7", b"8", b"9"]
        assert reader.gaps() == [Gap(Partition(topic, 0), 2, 5)]
        reader.close()


def test_what_is_committed_shows_to_those_who_look_on(log: KafkaLog, kafka_servers: str, topic: str) -> None:
    log.append(topic, [Message(b"0"), Message(b"1")])
    reader = log.reader([topic], {}, group=f"g-{topic}")
    drain(reader, 2)

    reader.commit(reader.position(), "version 7")
    reader.poll(0.5)
    reader.close()

    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    committed = admin.list_group_offsets({f"g-{topic}": None})
    admin.close()
    found = committed[f"g-{topic}"][TopicPartition(topic, 0)]
    assert (found.offset, found.metadata) == (2, "version 7")


def test_a_reader_and_a_writer_outlive_a_broker_that_is_killed(kafka_broker: Broker) -> None:
    log = KafkaLog(kafka_broker.servers)
    log.append("t", [Message(b"before")])
    reader = log.reader(["t"], {})
    assert values(drain(reader, 1)) == [b"before"]

    kafka_broker.kill()
    assert reader.poll(0.5) == []
    kafka_broker.start()
    log.append("t", [Message(b"after")])

    assert values(drain(reader, 1)) == [b"after"]
    reader.close()
    log.close()


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        ({"security.protocl": "SSL"}, r"log\.kafka\.security\.protocl: .* did you mean security\.protocol\?"),
        ({"group.id": "mine"}, r"log\.kafka\.group\.id: not yours to set"),
    ],
)
def test_a_property_that_cannot_be_set_is_named(properties: dict[str, str], text: str) -> None:
    with pytest.raises(LogError, match=text):
        KafkaLog("127.0.0.1:1", properties)
