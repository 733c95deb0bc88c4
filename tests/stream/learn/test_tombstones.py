"""A compacted stream of changes has tombstones; they are counted, and neither dead letters nor a reason to stop."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.conftest import Opener
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.records import Partition
from thalweg.proto.schema import TensorSpec
from thalweg.stream.learn.observer import NoObserver
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.log import Log, Message
from thalweg.stream.log.sqlite import SqliteLog

EVENT = b'{"inputs": {"x": [0.5, 1]}, "label": "blue"}'


class Tombstones(NoObserver):
    def __init__(self) -> None:
        self.seen = 0

    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None:
        self.seen += outcome.tombstones


def learn(log: Log, topic: str) -> None:
    deletions = [Message(None, b"k"), Message(b"null", b"k")]
    log.append(topic, [Message(EVENT, b"k"), *deletions * 600, Message(EVENT, b"k"), Message(b"[]", b"k")])
    told, letters = Tombstones(), DeadLetters(log, topic, "m")
    learner = Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float32", (2,))}, params={"expansion": 0}))
    settings = ProcessorSettings(model="m", topic=topic, undecodable_share=0.5)
    ports = Ports(observer=told, dead_letters=letters)

    processor = Processor(learner, log, InMemorySnapshots(), settings, ports=ports)
    processor.run(until_end=True)

    assert (processor.stopped_by, processor.events_learned, told.seen) == (None, 2, 1200)
    assert [(one.value, one.reason) for one in letters.newest(5)] == [(b"[]", "malformed")]


def test_deletions_of_the_embedded_log_are_counted(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    learn(log, "t")
    log.close()


@pytest.mark.kafka
def test_deletions_of_a_compacted_topic_are_counted(open_kafka: Opener, kafka_servers: str) -> None:
    topic = f"changes-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"cleanup.policy": "compact"})])
    admin.close()
    log = open_kafka(kafka_servers)
    learn(log, topic)
    log.close()
