"""What the readers of single partitions ask together: one question for all, and each alone where that fails."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence

import pytest
from kafka import KafkaAdminClient

from tests.conftest import Opener
from tests.services.processes import until
from thalweg.proto.records import Partition
from thalweg.stream.log.kafka_shared.consumer import ClientError
from thalweg.stream.log.kafka_shared.together import Together
from thalweg.stream.log.log import LogError, Message, Problem

PARTS = [Partition("t", number) for number in range(3)]


class Asked:
    """A cluster that notes what it is asked, and fails when told to."""

    def __init__(self) -> None:
        self.questions: list[list[Partition]] = []
        self.fails: Exception | None = None
        self.now = 0.0

    def ends(self, partitions: Sequence[Partition], seconds: float) -> Mapping[Partition, int]:
        self.questions.append(sorted(partitions))
        if self.fails is not None:
            raise self.fails
        return {part: 10 * part.number for part in partitions}


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def together(asked: Asked) -> Together[Partition, int]:
    return Together(asked.ends, lambda: asked.now)


def test_many_who_ask_within_half_a_second_ask_once(asked: Asked, together: Together[Partition, int]) -> None:
    for part in PARTS:
        together.get([part], 0.5)  # the first asks for itself, the others alone this once
    asked.now = 1.0

    found = [together.get([part], 0.5) for part in PARTS]

    assert found == [{part: 10 * part.number} for part in PARTS]
    assert asked.questions == [PARTS[:1], PARTS]


def test_an_answer_is_told_for_half_a_second(asked: Asked, together: Together[Partition, int]) -> None:
    for now in (0.0, 0.4, 0.6, 1.0, 1.2):
        asked.now = now
        together.get(PARTS, 0.5)

    assert len(asked.questions) == 3


def test_who_is_not_in_the_answer_asks_alone(asked: Asked, together: Together[Partition, int]) -> None:
    together.get(PARTS[:1], 0.5)

    assert together.get(PARTS[:2], 0.5) is None


@pytest.mark.parametrize("error", [ClientError(Problem("no leader")), LogError("the log is closed")])
def test_after_a_question_that_failed_each_asks_alone_for_a_while(
    asked: Asked, together: Together[Partition, int], error: Exception
) -> None:
    asked.fails = error
    found = [together.get(PARTS, 0.5) for asked.now in (0.0, 1.0, 4.0)]
    asked.fails, asked.now = None, 6.0

    assert found == [None, None, None]
    assert len(asked.questions) == 1
    assert together.get(PARTS, 0.5) == {part: 10 * part.number for part in PARTS}


def test_who_asks_no_more_is_forgotten(asked: Asked, together: Together[Partition, int]) -> None:
    together.get(PARTS, 0.5)
    asked.now = 6.0

    together.get(PARTS[:1], 0.5)

    assert asked.questions == [PARTS, PARTS[:1]]


def test_nobody_waits_while_another_one_asks(asked: Asked) -> None:
    asking, answered = threading.Event(), threading.Event()

    def slow(partitions: Sequence[Partition], seconds: float) -> Mapping[Partition, int]:
        if asked.questions:
            asking.set()
            assert answered.wait(60)
        return asked.ends(partitions, seconds)

    together = Together(slow, lambda: asked.now)
    known = together.get(PARTS, 0.5)
    asked.now = 0.9
    thread = threading.Thread(target=together.get, args=(PARTS, 0.5))
    thread.start()
    assert asking.wait(60)

    assert together.get(PARTS, 0.5) == known  # of 0.9 s before
    asked.now = 1.1
    assert together.get(PARTS, 0.5) is None  # too old: it asks alone

    answered.set()
    thread.join()
    assert together.get(PARTS, 0.5) == known
    assert len(asked.questions) == 2


@pytest.mark.kafka
def test_readers_of_single_partitions_are_told_of_records_at_once_and_of_their_ends(
    open_kafka: Opener, kafka_servers: str
) -> None:
    topic, count = f"t-{uuid.uuid4().hex[:12]}", 6
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_topics({topic: {"num_partitions": count}})
    admin.close()
    log = open_kafka(kafka_servers)
    readers = [log.reader([topic], {}, partition=number, patient=True) for number in range(count)]
    try:
        for reader in readers:
            until("the end", _at_end(reader))
        for number, reader in enumerate(readers):
            log.append(topic, [Message(b"%d" % number, partition=number)])
            runs = reader.poll(30.0)
            assert [(run.partition.number, *run.values) for run in runs] == [(number, b"%d" % number)]
        for number, reader in enumerate(readers):
            until("the end again", _at_end(reader))
            assert reader.position() == {Partition(topic, number): 0}
    finally:
        for reader in readers:
            reader.close()
        log.close()


def _at_end(reader: object) -> Callable[[], bool]:
    def at_end() -> bool:
        reader.poll(0.05)  # type: ignore[attr-defined]
        return bool(reader.reached()) and not any(reader.lag().values())  # type: ignore[attr-defined]

    return at_end
