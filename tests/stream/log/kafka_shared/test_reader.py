"""What a real broker does to a reader beyond records: damage, topics created again, refusals, wrong configuration."""

from __future__ import annotations

import re
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError
from structlog.testing import capture_logs

from tests.conftest import Opener
from tests.services.kafka import Broker
from tests.services.processes import required_or_skipped, until
from tests.stream.log.battery import drain, offsets, values
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rejected import Rejected
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.kafka_shared.choice import Client
from thalweg.stream.log.log import (
    Gap,
    Log,
    LogError,
    Message,
    PermanentLogError,
    Problem,
    Reader,
    Reading,
    RecordsRefused,
    RecordTooLarge,
)
from thalweg.stream.log.refused import append_possible

pytestmark = pytest.mark.kafka

SOON = {"bootstrap.timeout.ms": 3000, "metadata.max.age.ms": 300}


@pytest.fixture
def log(open_kafka: Opener, kafka_servers: str) -> Iterator[Log]:
    log = open_kafka(
        kafka_servers, {"metadata.max.age.ms": 300}, Reading(unreadable_seconds=0.2, unpacked_bytes=8 << 20)
    )
    yield log
    log.close()


@pytest.fixture
def topic() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def admin(kafka_servers: str) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    yield admin
    admin.close()


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of this file's own, with files to damage and a listener that asks for a password."""
    with required_or_skipped():
        broker = Broker(tmp_path_factory.mktemp("own"))
    broker.start()
    yield broker
    broker.close()


def read_all(reader: Reader, end: int) -> tuple[list[Records], list[Gap]]:
    """Every run and every gap up to this offset."""
    runs: list[Records] = []
    gaps: list[Gap] = []

    def arrived() -> bool:
        runs.extend(reader.poll(0.1))
        gaps.extend(reader.gaps())
        return max(reader.position().values(), default=-1) >= end - 1

    until(f"offset {end}", arrived)
    return runs, gaps


def flip(segment: Path, batch: int, place: int, bit: int = 1) -> None:
    """Flip a bit of the file, so many bytes after the beginning of a batch."""
    stored, at = bytearray(segment.read_bytes()), 0
    for _ in range(batch):
        at += 12 + struct.unpack_from(">i", stored, at + 8)[0]
    stored[at + place] ^= bit
    segment.write_bytes(stored)


LENGTH, BASE, CODEC, LAST_DELTA, VALUE = 11, 7, 22, 26, 75
DAMAGES = {"value": VALUE, "base": BASE, "codec": CODEC, "delta": LAST_DELTA}
UNSEEN = {"kafka-python": "", "confluent": "base"}  # which no checksum covers; librdkafka does not compare it


def test_damage_in_a_brokers_files_is_told_fetched_anew_and_skipped(
    open_kafka: Opener, kafka_client: Client, own_broker: Broker
) -> None:
    damages = {f"{name}-{kafka_client}": place for name, place in DAMAGES.items() if name != UNSEEN[kafka_client]}
    log = open_kafka(own_broker.servers)
    for name in damages:
        for number in range(4):
            log.append(name, [Message(f"{number} {place}".encode()) for place in range(3)])
    log.close()
    own_broker.stop()
    for name, place in damages.items():
        flip(own_broker.segment(name), 1, place)
    own_broker.start()
    log = open_kafka(own_broker.servers, None, Reading(unreadable_seconds=0.5))

    for name, place in damages.items():
        reader = log.reader([name], {})
        with capture_logs() as lines:
            runs, gaps = read_all(reader, 12)

        assert [(gap.first, gap.last, gap.cause) for gap in gaps] == [(3, 5, "unreadable")], name
        assert offsets(runs) == [0, 1, 2, *range(6, 12)], name
        assert values(runs) == [f"{n} {i}".encode() for n in (0, 2, 3) for i in range(3)], name
        (told,) = [line for line in lines if "cannot be read" in line["event"]]
        assert (told["partition"], told["first"], told["last"]) == (f"{name}/0", 3, 5)
        assert told["codec"] == ("gzip" if place == CODEC else "none")
        assert reader.lag() == {Partition(name, 0): 0}
        assert reader.problem() is None
        reader.close()
    log.close()


def test_a_damaged_partition_is_a_problem_while_it_is_waited_for_and_holds_no_other_up(
    open_kafka: Opener, topic: str, own_broker: Broker
) -> None:
    waiting, sound = f"{topic}-waiting", f"{topic}-sound"
    log = open_kafka(own_broker.servers)
    for name in waiting, sound:
        log.append(name, [Message(b"a record")])
    log.close()
    own_broker.stop()
    flip(own_broker.segment(waiting), 0, VALUE - 5)
    own_broker.start()
    log = open_kafka(own_broker.servers, None, Reading(unreadable_seconds=3600))
    reader = log.reader([waiting, sound], {})

    assert values(drain(reader, 1)) == [b"a record"]
    until("the problem", lambda: reader.poll(0.05) == [] and reader.problem() is not None)
    problem = reader.problem()
    assert problem is not None
    assert problem.reason.startswith(f"{waiting}/0: offsets 0 to 0 cannot be read: its checksum is wrong")
    assert reader.lag()[Partition(waiting, 0)] == 1
    reader.close()
    log.close()


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"sasl.password": "wrong"}, "authentication failed.* check log.kafka: sasl.mechanism, sasl.username"),
        ({"sasl.mechanism": "SCRAM-SHA-256"}, "mechanism.* check log.kafka: sasl.mechanism, sasl.username"),
        ({"security.protocol": "SASL_SSL"}, "the TLS handshake failed; check security.protocol"),
    ],
)
def test_a_configuration_that_no_waiting_mends_is_told_at_once(
    open_kafka: Opener, own_broker: Broker, properties: dict[str, str], reason: str
) -> None:
    right = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "alice",
        "sasl.password": "secret",
    }
    log = open_kafka(own_broker.sasl_servers, right)
    log.append("allowed", [Message(b"0")])
    log.close()
    log = open_kafka(own_broker.sasl_servers, {**right, **properties, **SOON})

    def told() -> Problem | None:  # a busy broker may first take too long to say anything
        assert reader.poll(0.01) == []
        problem = reader.problem()
        return problem if problem is not None and problem.permanent else None

    with capture_logs() as lines:
        reader = log.reader(["allowed"], {})
        problem = until("the cause to be told", told)

    assert re.search(reason, problem.reason)
    assert any(re.search(reason, str(line.get("problem"))) for line in lines)
    for ask in (lambda: log.append("allowed", [Message(b"1")]), lambda: log.bounds("allowed")):
        assert re.search(reason, until("it to be refused for good", lambda ask=ask: _refusal(ask)))
    reader.close()
    log.close()


def _refusal(ask: Callable[[], object]) -> str:
    """Why it is refused for good; empty if a busy broker was too slow to say so."""
    try:
        ask()
    except PermanentLogError as error:
        return str(error)
    except LogError:
        return ""
    return pytest.fail("it was not refused")


def test_a_listener_that_wants_another_protocol_and_a_host_that_is_none_are_told(
    open_kafka: Opener, own_broker: Broker
) -> None:
    plain = open_kafka(own_broker.sasl_servers, SOON)
    with pytest.raises(PermanentLogError, match=r"its listener may expect TLS or SASL; check security\.protocol"):
        plain.bounds("t")
    plain.close()

    nowhere = open_kafka("no-such-host.invalid:9092", SOON)
    with pytest.raises(PermanentLogError, match=r"no such host; check log.url"):
        nowhere.bounds("t")
    nowhere.close()


# -- topics that are created again -------------------------------------------------------------------------------------


def recreate(admin: KafkaAdminClient, log: Log, topic: str, records: int) -> None:
    """Delete the topic, and create it again with this many records."""
    before = log.identity(topic)
    admin.delete_topics([topic])

    def created() -> bool:
        with suppress(KafkaError):  # it is still being deleted, or a producer that looked for it has created it
            admin.create_topics({topic: {"num_partitions": 1}})
        return log.identity(topic) not in (None, before)

    until("the topic to be created again", created)
    until("records of the new topic", lambda: appended(log, topic, records))


def appended(log: Log, topic: str, records: int) -> bool:
    try:
        log.append(topic, [Message(f"new {number}".encode(), partition=0) for number in range(records)])
    except LogError:
        return False
    return True


def test_a_topic_has_an_identity_that_a_new_one_of_its_name_does_not_share(
    log: Log, admin: KafkaAdminClient, topic: str
) -> None:
    assert log.identity(topic) is None
    log.append(topic, [Message(b"old")])
    before = log.identity(topic)
    assert before is not None
    assert log.identity(topic) == before

    recreate(admin, log, topic, 1)

    assert log.identity(topic) not in (None, before)


def test_a_topic_that_is_deleted_while_it_is_read_is_named(
    log: Log, open_kafka: Opener, kafka_servers: str, admin: KafkaAdminClient, topic: str
) -> None:
    """Asked for its end, brokers do not answer, or the client does not: the cluster is well all the while."""
    log.append(topic, [Message(b"old")])
    log.close()  # its producer would create the topic again
    watching = open_kafka(kafka_servers, {})
    reader = watching.reader([topic], {})

    def problem() -> Problem | None:
        reader.poll(0.1)
        reader.lag()
        return reader.problem()

    until("its record", lambda: (problem(), reader.position() == {Partition(topic, 0): 0})[1])
    admin.delete_topics([topic])

    until("it to be told", lambda: (found := problem()) is not None and found.reason.startswith("deleted from"))
    found = problem()
    assert found is not None
    assert topic in found.reason
    assert not found.permanent
    assert [reader.reached() for _ in range(20) if problem()] == [True] * 20

    admin.create_topics({topic: {"num_partitions": 1}})
    until("all to be well", lambda: problem() is None)
    assert [gap.cause for gap in reader.gaps()] == ["replaced"]
    reader.close()
    watching.close()


def test_the_cluster_is_known_by_its_id_which_another_cluster_does_not_share(
    log: Log, open_kafka: Opener, admin: KafkaAdminClient, own_broker: Broker
) -> None:
    other = open_kafka(own_broker.servers, SOON)
    nowhere = open_kafka("localhost:1", SOON)

    assert log.cluster() == admin.describe_cluster()["cluster_id"]
    assert other.cluster() not in (None, log.cluster())
    with pytest.raises(LogError, match="id of the cluster cannot be read"):
        nowhere.cluster()
    for one in (other, nowhere):
        one.close()


@pytest.mark.parametrize(("records", "partition"), [(3, None), (30, None), (3, 0), (30, 0)])
def test_a_topic_that_is_created_again_under_a_reader_is_read_from_its_beginning(
    log: Log,
    admin: KafkaAdminClient,
    topic: str,
    records: int,
    partition: int | None,
    open_kafka: Opener,
    kafka_servers: str,
) -> None:
    log.append(topic, [Message(f"old {number}".encode()) for number in range(10)])
    usual = open_kafka(kafka_servers)
    reader = (log if partition is None else usual).reader(
        [topic], {}, partition=partition, patient=partition is not None
    )
    assert offsets(drain(reader, 10)) == list(range(10))

    recreate(admin, log, topic, records)
    seen: list[Records] = []
    gaps: list[Gap] = []
    until("a gap", lambda: seen.extend(reader.poll(0.1)) or gaps.extend(reader.gaps()) or gaps)  # type: ignore[func-returns-value]
    (gap,) = gaps
    assert seen == []
    runs = drain(reader, records)

    assert gap.cause == "replaced"
    assert values(runs) == [f"new {number}".encode() for number in range(records)]
    assert offsets(runs) == list(range(records))
    reader.close()
    usual.close()


@pytest.mark.parametrize("looks", ["reads", "asks for its lag alone"])
def test_a_topic_that_is_created_again_with_fewer_partitions_is_no_error_of_its_reader(
    log: Log, admin: KafkaAdminClient, topic: str, looks: str
) -> None:
    admin.create_topics({topic: {"num_partitions": 3}})
    log.append(topic, [Message(b"old", partition=number) for number in range(3)])
    reader = log.reader([topic], {})
    drain(reader, 3)

    recreate(admin, log, topic, 4)
    for _ in range(40):  # longer than it takes the client to know that there is one
        reader.lag()
        if looks == "reads":
            assert reader.poll(0.05) == []
        else:
            time.sleep(0.05)
    gaps: list[Gap] = []
    until("a gap", lambda: gaps.extend(reader.gaps()) or gaps or reader.poll(0.1))  # type: ignore[func-returns-value]

    assert {gap.cause for gap in gaps} == {"replaced"}
    assert values(drain(reader, 4)) == [f"new {number}".encode() for number in range(4)]
    reader.close()


# -- records that can never be appended --------------------------------------------------------------------------------


def test_records_that_a_topic_never_takes_are_named_and_the_others_are_appended(
    log: Log, admin: KafkaAdminClient, topic: str
) -> None:
    small = {"num_partitions": 1, "configs": {"max.message.bytes": "20000"}}
    admin.create_topics({topic: small, f"{topic}.dlq": small})
    until("the topic's limit", lambda: log.max_record_bytes(topic) < 20_000)
    noise = b"".join(uuid.uuid4().bytes for _ in range(2000))

    with pytest.raises(RecordTooLarge, match=r"max.message.bytes") as caught:
        log.append(topic, [Message(b"before"), Message(noise), Message(b"after"), Message(bytes(70 << 20))])
    assert caught.value.rows == (1, 3)
    assert append_possible(log, topic, [Message(noise), Message(b"last")]).keys() == {0}
    runs = drain(log_reader := log.reader([topic], {}), 3)
    assert sorted(value or b"" for value in values(runs)) == [b"after", b"before", b"last"]
    log_reader.close()

    log.append(topic, [Message(b"and the next call")])  # no refusal leaves the log useless

    letters = DeadLetters(log, topic, "m")
    letters.send(records_of(topic, noise, b"small"), [Rejected(0, "malformed", "x"), Rejected(1, "malformed", "x")])
    assert {(one.offset, one.whole_bytes) for one in letters.newest(9)} == {(0, len(noise)), (1, None)}


def records_of(topic: str, *found: bytes) -> Records:
    count = len(found)
    headers: list[Headers] = [()] * count
    return Records(Partition(topic, 0), range(count), [1.0] * count, [None] * count, found, headers)


def test_a_record_of_the_largest_size_that_is_promised_is_taken(log: Log, admin: KafkaAdminClient, topic: str) -> None:
    admin.create_topics({topic: {"num_partitions": 1, "configs": {"max.message.bytes": "50000"}}})
    until("the topic's limit", lambda: log.max_record_bytes(topic) < 50_000)
    most = log.max_record_bytes(topic)
    noise = b"".join(uuid.uuid4().bytes for _ in range(5000))

    assert most > 49_000
    assert len(log.append(topic, [Message(noise[:most])])) == 1
    with pytest.raises(RecordsRefused):
        log.append(topic, [Message(noise[: most + 1000])])


def test_a_bomb_is_skipped_without_its_memory_and_the_next_record_comes(
    log: Log, kafka_servers: str, topic: str
) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_servers, compression_type="gzip", max_request_size=64 << 20)
    for value in (b"before", bytes(9 << 20), b"after"):
        producer.send(topic, value).get(30)
    producer.close()
    reader = log.reader([topic], {})

    runs, gaps = read_all(reader, 3)

    assert values(runs) == [b"before", b"after"]
    assert gaps == [Gap(Partition(topic, 0), 1, 1, "unreadable", gaps[0].detail)]
    assert gaps[0].detail == f"gzip: unpacks to more than {8 << 20} bytes (log.unpacked_bytes)"
    reader.close()


@pytest.mark.parametrize("name", ["bad topic", "a" * 300])
def test_a_name_that_no_topic_can_have_is_told_as_permanent(log: Log, name: str) -> None:
    with pytest.raises(PermanentLogError, match="not appended: "):
        log.append(name, [Message(b"0")])
