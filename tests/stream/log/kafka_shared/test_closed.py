"""What a log of Kafka opened ends when it is closed, by each client, not when Python happens to look for garbage."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from tests.services.processes import until
from thalweg.stream.log.kafka_shared.choice import Client
from thalweg.stream.log.log import Log, LogError, Message, RecordsRefused
from thalweg.stream.log.open import open_log

pytestmark = pytest.mark.kafka

_TASKS = Path("/proc/self/task")


class _Nobody:
    def assigned(self, numbers: Collection[int]) -> None:
        """Nothing."""

    def revoked(self, numbers: Collection[int]) -> None:
        """Nothing."""


def appends(log: Log, topic: str) -> None:
    log.append(topic, [Message(b"one", b"key")])


def appends_what_is_refused(log: Log, topic: str) -> None:
    with pytest.raises(RecordsRefused) as refused:
        log.append(topic, [Message(b"one", b"key"), Message(b"a compacted topic wants a key")])
    assert refused.value.rows == (1,)  # the other one of its batch is in the log
    del refused  # it knows this frame, and the frame knows it


def reads(log: Log, topic: str) -> None:
    reader = log.reader([topic], {})
    until("a record", lambda: reader.poll(0.1))
    reader.close()


def reads_as_one_of_many(log: Log, topic: str) -> None:
    reader = log.reader([topic], {}, partition=0, patient=True)
    until("a record", lambda: reader.poll(0.1))
    reader.close()


def asks(log: Log, topic: str) -> None:
    log.bounds(topic)
    until("the groups of a cluster that just began", lambda: _answers(lambda: log.named_members("nobody")))


def joins(log: Log, topic: str) -> None:
    member = log.member(topic, f"g-{topic}", "one", _Nobody())
    for _ in range(5):
        member.poll(0.1)
    member.close()


@pytest.mark.skipif(not _TASKS.is_dir(), reason="threads of a library are counted in /proc")
@pytest.mark.parametrize("uses", [appends, appends_what_is_refused, reads, reads_as_one_of_many, asks, joins])
def test_no_thread_of_a_client_outlives_its_log(
    kafka_client: Client, kafka_servers: str, uses: Callable[[Log, str], None]
) -> None:
    """A producer that lives on asks for its topics, by which one that was deleted is created again."""
    topic = f"t-{uuid.uuid4().hex[:12]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_topics({topic: {"num_partitions": 1, "configs": {"cleanup.policy": "compact"}}})
    admin.close()
    producer = KafkaProducer(bootstrap_servers=kafka_servers)
    producer.send(topic, b"zero", b"key").get(30)
    producer.close()

    with ProcessPoolExecutor(1, get_context("spawn")) as alone:  # in which nothing else has threads
        assert alone.submit(_left, kafka_servers, kafka_client, topic, uses).result() == []


def _left(servers: str, client: Client, topic: str, uses: Callable[[Log, str], None]) -> list[str]:
    """The names of the threads that are there after a log was used, and were not there before."""
    gc.disable()
    before = _threads()
    log = open_log(f"kafka://{servers}", client=client)
    uses(log, topic)
    log.close()
    with suppress(AssertionError):
        until("its threads to end", lambda: not _threads() - before, 60)
    return [(_TASKS / one / "comm").read_text().strip() for one in _threads() - before]


def _answers(ask: Callable[[], object]) -> bool:
    with suppress(LogError):
        ask()
        return True
    return False


def _threads() -> set[str]:
    return {task.name for task in _TASKS.iterdir()}
