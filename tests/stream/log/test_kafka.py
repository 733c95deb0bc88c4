"""The log in Kafka, against a real broker: as every log, and what only Kafka does to a reader."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition, codec
from kafka.admin import NewPartitions
from kafka.record.default_records import DefaultRecordBatchBuilder

from tests.conftest import Opener
from tests.services.kafka import Broker
from tests.stream.log.battery import WAIT, LogBattery, drain, offsets, values
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.records import Partition, Records
from thalweg.proto.rejected import Rejected
from thalweg.proto.schema import TensorSpec
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.kafka import KafkaLog
from thalweg.stream.log.kafka_shared import held_back
from thalweg.stream.log.log import Gap, Log, LogError, Message, PermanentLogError, Problem
from thalweg.stream.log.open import open_log
from thalweg.stream.shards.partitioner import partition_of

pytestmark = pytest.mark.kafka


@pytest.fixture
def log(open_kafka: Opener, kafka_servers: str) -> Iterator[Log]:
    log = open_kafka(kafka_servers)
    yield log
    log.close()


@pytest.fixture
def topic() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


class TestKafkaLog(LogBattery):
    @pytest.fixture
    def log(self, log: Log) -> Log:
        return log


def test_aborted_transactions_are_never_seen_and_hold_nothing_up(log: Log, kafka_servers: str, topic: str) -> None:
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


def transactional(servers: str, topic: str) -> KafkaProducer:
    """A producer in a transaction."""
    producer = KafkaProducer(bootstrap_servers=servers, transactional_id=f"tx-{topic}")
    producer.init_transactions()
    producer.begin_transaction()
    return producer


def test_what_was_learned_up_to_a_marker_is_committed_beyond_it(log: Log, kafka_servers: str, topic: str) -> None:
    producer = transactional(kafka_servers, topic)
    producer.send(topic, b"taken")
    producer.commit_transaction()
    producer.begin_transaction()
    producer.send(topic, b"aborted")
    producer.flush()
    producer.abort_transaction()
    producer.close()
    reader = log.reader([topic], {}, group=f"g-{topic}")
    drain(reader, 1)
    assert reader.poll(1.0) == []

    reader.commit(reader.position(), "version 1")
    reader.poll(0.5)

    assert reader.position() == {Partition(topic, 0): 0}
    reader.close()
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    (found,) = admin.list_group_offsets({f"g-{topic}": None})[f"g-{topic}"].values()
    admin.close()
    assert found.offset == log.bounds(topic)[Partition(topic, 0)][1] == 4  # no lag for those who look on


def test_a_transaction_that_stays_open_is_told(
    log: Log, kafka_servers: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_back.HeldBack.__init__, "__defaults__", (1.5, time.monotonic))
    log.append(topic, [Message(b"before")])
    producer = transactional(kafka_servers, topic)
    producer.send(topic, b"open")
    producer.flush()
    log.append(topic, [Message(b"behind it")])
    reader = log.reader([topic], {})
    assert values(drain(reader, 1)) == [b"before"]

    def told() -> Problem | None:
        assert reader.poll(0.2) == []
        reader.lag()
        return reader.problem()

    assert told() is None
    until("the transaction to be told", lambda: told() is not None)
    problem = told()
    assert problem is not None
    assert f"{topic}/0: an open transaction has held back 2 offsets" in problem.reason
    assert not problem.permanent
    assert reader.reached()

    producer.commit_transaction()

    assert values(drain(reader, 2)) == [b"open", b"behind it"]
    until("all to be well", lambda: told() is None and reader.lag() == {Partition(topic, 0): 0})
    producer.close()
    reader.close()


def test_records_deleted_before_they_were_read_are_named_and_the_rest_is_read(
    log: Log, kafka_servers: str, topic: str
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


def test_what_is_committed_shows_to_those_who_look_on(log: Log, kafka_servers: str, topic: str) -> None:
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
    assert (found.offset, found.metadata.rstrip("\0")) == (2, "version 7")  # confluent-kafka sends C's final zero, too


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < deadline, f"no {what} within {WAIT} s"


@pytest.mark.slow(15)
def test_a_reader_and_a_writer_outlive_a_broker_that_is_killed(open_kafka: Opener, kafka_broker: Broker) -> None:
    log = open_kafka(kafka_broker.servers)
    log.append("t", [Message(b"before")])
    reader = log.reader(["t"], {})
    assert values(drain(reader, 1)) == [b"before"]
    until("empty log", lambda: not any(reader.lag().values()))
    assert reader.reached()

    kafka_broker.kill()
    assert reader.poll(0.5) == []
    # what nobody can know must not be taken for "nothing is left": servers would say that they are up to date
    until("notice that nobody answers", lambda: not reader.poll(0.05) and reader.lag() != {} and not reader.reached())
    with pytest.raises(LogError, match="the latest offset is unknown"):
        open_kafka(kafka_broker.servers, {"bootstrap.timeout.ms": 100}).reader(["t"], {}, "latest")
    kafka_broker.start()
    log.append("t", [Message(b"after")])

    assert values(drain(reader, 1)) == [b"after"]
    assert reader.reached()
    reader.close()
    log.close()


@pytest.mark.slow(15)
def test_an_append_that_no_broker_takes_says_so_and_the_next_one_is_taken(
    open_kafka: Opener, kafka_broker: Broker
) -> None:
    patience = {"delivery.timeout.ms": 1500, "request.timeout.ms": 1000, "bootstrap.timeout.ms": 500}
    log = open_kafka(kafka_broker.servers, patience)
    append_with_patience(kafka_broker, [Message(b"0")])
    kafka_broker.stop()

    with pytest.raises(
        LogError,  # refused or timed out: that depends on how busy the machine is
        match=r"(?i)topic 't': not appended: Kafka at \S+ is out of reach: .*(refused|timed out)",
    ):
        log.append("t", [Message(b"lost"), Message(b"lost")])
    kafka_broker.start()
    until("record to be taken", lambda: taken(log))

    reader = log.reader(["t"], {})
    assert set(values(drain(reader, 2))) == {b"0", b"1"}
    reader.close()
    log.close()


def append_with_patience(broker: Broker, messages: Sequence[Message]) -> None:
    """Not by a log that gives up soon, as a busy machine may make it."""
    log = KafkaLog(broker.servers)
    log.append("t", messages)
    log.close()


def taken(log: Log) -> bool:
    try:
        log.append("t", [Message(b"1")])
    except LogError:
        return False
    return True


@pytest.mark.slow(15)
def test_a_reader_made_while_there_is_no_broker_reads_when_it_comes(open_kafka: Opener, kafka_broker: Broker) -> None:
    log = open_kafka(kafka_broker.servers, {"bootstrap.timeout.ms": 100})
    append_with_patience(kafka_broker, [Message(b"0"), Message(b"1")])
    kafka_broker.stop()

    reader = log.reader(["t"], {Partition("t", 0): 0})
    assert reader.poll(0.01) == []
    assert not reader.reached()
    assert reader.position() == {Partition("t", 0): 0}
    kafka_broker.start()
    found: list[Records] = []
    until("record", lambda: bool(found.extend(reader.poll(1)) or found))

    assert values(found) == [b"1"]
    reader.close()
    log.close()


def test_a_partition_that_is_added_is_read_from_its_beginning(
    open_kafka: Opener, kafka_servers: str, topic: str
) -> None:
    log = open_kafka(kafka_servers, {"metadata.max.age.ms": 300})
    log.append(topic, [Message(b"old")])
    reader = log.reader([topic], {}, "latest")
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_partitions({topic: NewPartitions(total_count=3)})
    admin.close()
    producer = KafkaProducer(bootstrap_servers=kafka_servers, metadata_max_age_ms=300)
    until("new partitions", lambda: len(producer.partitions_for(topic)) == 3)
    for number in range(3):
        producer.send(topic, f"new {number}".encode(), partition=number)
    producer.flush()
    producer.close()

    runs = drain(reader, 3)

    assert sorted(v for v in values(runs) if v) == [b"new 0", b"new 1", b"new 2"]
    assert reader.position() == {Partition(topic, 0): 1, Partition(topic, 1): 0, Partition(topic, 2): 0}
    assert set(reader.lag().values()) == {0}
    reader.close()
    log.close()


def test_equal_keys_land_in_one_partition(open_kafka: Opener, log: Log, kafka_servers: str, topic: str) -> None:
    log.append(topic, [Message(b"0")])
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_partitions({topic: NewPartitions(total_count=4)})
    admin.close()
    other = open_kafka(kafka_servers)
    until("new partitions", lambda: len(other.bounds(topic)) == 4)

    landed = other.append(topic, [Message(str(i).encode(), key=f"k{i % 3}".encode()) for i in range(60)])

    for key in range(3):
        assert len({one.partition for one in landed[key::3]}) == 1
    for partition in {one.partition for one in landed}:
        there = [one.offset for one in landed if one.partition == partition]
        assert there == sorted(there)
    other.close()


APPENDER = """
import sys
from thalweg.stream.log.log import Message
from thalweg.stream.log.open import open_log
from thalweg.stream.shards.partitioner import partition_of
log = open_log("kafka://" + sys.argv[1], client=sys.argv[4])
for i in range(20):
    log.append(sys.argv[2], [Message(f"{sys.argv[3]} {i} {j}".encode()) for j in range(5)])
log.close()
"""


def test_appends_of_several_processes_lose_and_double_nothing(
    log: Log, kafka_client: str, kafka_servers: str, topic: str
) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", APPENDER, kafka_servers, topic, name, kafka_client])
        for name in ("a", "b", "c")
    ]
    reader = log.reader([topic], {})

    runs = drain(reader, 300)

    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert offsets(runs) == list(range(300))
    texts = [value.decode() for value in values(runs) if value]
    for name in "abc":
        assert [t for t in texts if t[0] == name] == [f"{name} {i} {j}" for i in range(20) for j in range(5)]
    reader.close()


def test_a_record_of_nothing_at_all_can_be_kept_as_a_dead_letter(log: Log, topic: str) -> None:
    log.append(topic, [Message(None), Message(b"1")])
    reader = log.reader([topic], {})
    (run,) = drain(reader, 2)
    assert (run.keys[0], run.values[0]) == (None, None)
    letters = DeadLetters(log, topic, "m")

    letters.send(run, [Rejected(0, "empty", "no value"), Rejected(1, "malformed", "no object")])

    assert letters.last_sent() == {Partition(topic, 0): 1}
    assert [(one.value, one.reason) for one in letters.newest(5)] == [(None, "empty"), (b"1", "malformed")]
    reader.close()


class NoText(str):
    """A header name that a producer in another language could write, and ours could not."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"caf\xe9"


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_header_whose_name_is_no_text_stops_nobody(
    log: Log, kafka_servers: str, topic: str, compression: str | None
) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_servers, compression_type=compression, linger_ms=200)
    producer.send(topic, b"before", headers=[("plain", b"1")])
    producer.send(topic, b"caf\xe9", key=b"caf\xe9", headers=[("plain", b""), (NoText("name"), b"caf\xe9")])
    producer.send(topic, b"after")
    producer.close()

    runs = drain(log.reader([topic], {}), 3)

    assert values(runs) == [b"before", b"caf\xe9", b"after"]
    assert [key for run in runs for key in run.keys] == [None, b"caf\xe9", None]
    headers = [list(one) for run in runs for one in run.headers]
    assert headers == [[("plain", b"1")], [("plain", b""), ("caf?", b"caf\xe9")], []]
    run = runs[0]
    DeadLetters(log, topic, "m").send(
        run, [Rejected(1 if len(run) > 1 else 0, "malformed", "tried")]
    )  # and may be kept


def test_a_header_without_a_value_comes_as_an_empty_one(
    log: Log, kafka_servers: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = DefaultRecordBatchBuilder.append

    def append(self: Any, *arguments: Any) -> Any:  # kafka-python lets no such header be sent; other clients do
        *others, headers = arguments
        return plain(self, *others, [(name, value or None) for name, value in headers])

    monkeypatch.setattr(DefaultRecordBatchBuilder, "append", append)
    writer = KafkaLog(kafka_servers)
    writer.append(topic, [Message(b"plain"), Message(b"value", headers=(("a", b""), ("b", b"2")))])
    writer.close()
    reader = log.reader([topic], {})

    runs = drain(reader, 2)

    assert [list(one) for run in runs for one in run.headers] == [[], [("a", b""), ("b", b"2")]]
    reader.close()


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_records_are_read_whatever_compresses_them(log: Log, kafka_servers: str, topic: str, compression: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    # the broker compresses these again, by the Java library that most producers use
    admin.create_topics({topic: {"num_partitions": 1, "configs": {"compression.type": compression}}})
    admin.close()
    written = [f"record {i} ".encode() * 10_000 for i in range(5)]
    log.append(topic, [Message(value) for value in written])
    producer = KafkaProducer(bootstrap_servers=kafka_servers, compression_type=compression)
    producer.send(topic, b"by the producer " * 10_000)
    producer.close()

    reader = log.reader([topic], {})
    assert values(drain(reader, 6)) == [*written, b"by the producer " * 10_000]
    reader.close()


def test_without_a_broker_every_call_ends_with_an_error_that_waiting_may_mend(open_kafka: Opener) -> None:
    log = open_kafka("127.0.0.1:1", {"bootstrap.timeout.ms": 50})

    for call in (
        lambda: log.append("t", [Message(b"0")]),
        lambda: log.bounds("t"),
        lambda: log.identity("t"),
        lambda: log.reader(["t"], {}, "latest"),
        DeadLetters(log, "t", "m").last_sent,
    ):
        with pytest.raises(LogError, match=r"(?i)Kafka at 127.0.0.1:1 is out of reach: .*(refused|timed)") as caught:
            call()
        assert not isinstance(caught.value, PermanentLogError)
    reader = log.reader(["t"], {})
    problem = reader.problem()
    assert problem is not None
    assert not problem.permanent
    assert log.max_record_bytes("t") > 60 << 20  # the client's own limit, without waiting
    reader.close()
    log.close()


def test_attempts_to_connect_leave_no_thread_behind(open_kafka: Opener) -> None:
    log = open_kafka("127.0.0.1:1", {"bootstrap.timeout.ms": 20})
    reader = log.reader(["t"], {})
    before = threading.active_count()

    for _ in range(5):
        assert reader.poll(0) == []
        assert not taken(log)

    until("their threads to end", lambda: threading.active_count() <= before)
    reader.close()
    log.close()


def test_a_codec_that_is_missing_is_named_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "snappy", None)

    with pytest.raises(
        LogError,
        match=r"codecs snappy are missing: compressed records could not be read; run: pip install python-snappy",
    ):
        KafkaLog("127.0.0.1:1")


@pytest.mark.parametrize("name", ["bad topic", "", "a" * 300])
def test_a_name_that_is_none_for_a_topic_is_refused(log: Log, name: str) -> None:
    with pytest.raises(LogError, match="not appended: "):
        log.append(name, [Message(b"0")])


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        ({"security.protocl": "SSL"}, r"log\.kafka\.security\.protocl: .* did you mean security\.protocol\?"),
        ({"group.id": "mine"}, r"log\.kafka\.group\.id: cannot be set"),
        ({"partitioner": "random"}, r"log\.kafka\.partitioner: cannot be set; equal keys share a partition"),
        (
            {"group.protocol": "consumer"},
            r"log\.kafka\.group\.protocol: expected .classic., got .consumer.: learners have a session",
        ),
        ({"security.protocol": "TLS"}, r"log\.kafka\.security\.protocol: expected one of PLAINTEXT, SSL, .*'TLS'"),
        ({"ssl.ca.location": "/no/such.pem"}, r"log\.kafka\.ssl\.ca\.location: no such file: /no/such\.pem"),
    ],
)
def test_a_property_that_cannot_be_set_is_named(open_kafka: Opener, properties: dict[str, str], text: str) -> None:
    with pytest.raises(LogError, match=text):
        open_kafka("127.0.0.1:1", properties)


def test_a_property_that_the_client_refuses_is_an_error_and_not_retried_for_ever() -> None:
    log = KafkaLog("127.0.0.1:1", {"fetch.max.wait.ms": 10**9})

    with pytest.raises(LogError, match=r"log\.kafka: the client refuses these properties: .*fetch_max_wait_ms"):
        log.reader(["t"], {})

    log.close()


# -- two clients of one log --------------------------------------------------------------------------------------------


def test_both_clients_write_and_read_the_same(kafka_servers: str, topic: str) -> None:
    clients = [KafkaLog(kafka_servers), by_confluent(kafka_servers)]
    sent = [
        Message(b'{"inputs": {"x": [0.5, 1]}, "label": "blue"}', b"key", (("ce_id", b"1"), ("empty", b"")), 1.7e9),
        Message(None, b"gone", time=1.7e9 + 0.001),
        Message(b"", b"", (("b\xc3\xa4r", b"\xff"),), time=1.7e9 + 1),
        Message(b'{"inputs": {"x": [2, 1]}, "label": "red"}'),
    ]
    for log in clients:
        log.append(topic, sent)

    seen = []
    for log in clients:
        reader = log.reader([topic], {})
        runs = drain(reader, 8)
        seen.append([columns_of(runs), reader.position(), log.bounds(topic), log.identity(topic)])
        reader.close()
        log.close()

    assert seen[0] == seen[1]
    assert seen[0][0][:4] != []


def columns_of(runs: Sequence[Records]) -> list[tuple[object, ...]]:
    """The rows, with the types of what they hold."""
    return [
        (offset, when, key, value, type(value), [(name, content, type(content)) for name, content in headers])
        for run in runs
        for offset, when, key, value, headers in zip(run.offsets, run.times, run.keys, run.values, run.headers)
    ]


def by_confluent(servers: str) -> Log:
    try:
        return open_log(f"kafka://{servers}", client="confluent")
    except LogError as error:
        pytest.skip(str(error))


def test_a_key_lands_where_the_partitioner_says_whichever_client_writes(kafka_servers: str, topic: str) -> None:
    clients = [KafkaLog(kafka_servers), by_confluent(kafka_servers)]
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_topics({topic: {"num_partitions": 8}})
    admin.close()
    keys = [f"user {number}".encode() for number in range(40)]

    landed = []
    for log in clients:
        until("all partitions", lambda log=log: len(log.bounds(topic)) == 8)
        landed.append([one.partition for one in log.append(topic, [Message(b"", key=key) for key in keys])])
        log.close()

    assert landed[0] == landed[1]
    assert [partition.number for partition in landed[0]] == [partition_of(key, 8) for key in keys]


def test_what_is_learned_is_the_same_state_by_either_client(kafka_servers: str, topic: str) -> None:
    clients = [KafkaLog(kafka_servers), by_confluent(kafka_servers)]
    events = [{"inputs": {"x": [n % 7, n % 3]}, "label": "even" if n % 2 else "odd"} for n in range(50)]
    clients[0].append(topic, [Message(json.dumps(event).encode(), time=1.7e9 + n) for n, event in enumerate(events)])

    states = []
    for log in clients:
        learner = Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float32", (2,))}))
        settings = ProcessorSettings(model="m", topic=topic, batch_events=1)
        processor = Processor(learner, log, InMemorySnapshots(), settings)
        processor.run(until_end=True)
        states.append((processor.events_learned, processor.state_sha256))
        log.close()

    assert states[0] == states[1]
    assert states[0][0] == 50
