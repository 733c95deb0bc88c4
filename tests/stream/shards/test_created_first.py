"""Topics of scaled models are created by people: who appends to one that is not there is told so."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from tests.ops.run.shards.test_shards import keyed
from tests.ops.run.test_learning import configuration
from tests.services.processes import until
from thalweg.ops.cli.produce import messages
from thalweg.ops.run.app import open_configured_log
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Log, PermanentLogError
from thalweg.stream.shards.created_first import CreatedFirst


def test_nothing_is_appended_to_a_scaled_topic_before_it_exists() -> None:
    there = InMemoryLog()
    log = CreatedFirst(there, {"clicks": "m"})

    log.append("clicks.dlq", messages(keyed(1), 1))
    with pytest.raises(PermanentLogError, match=r"'clicks' does not exist.*shards of model 'm'"):
        log.append("clicks", messages(keyed(1), 1))
    assert there.bounds("clicks") == {}

    there.append("clicks", messages(keyed(2), 1))  # as somebody creates it
    for _ in range(2):
        log.append("clicks", messages(keyed(1), 1))
    assert [end for _, end in there.bounds("clicks").values()] == [4]


@pytest.mark.kafka
def test_a_topic_that_is_not_there_is_not_created_in_kafka(open_kafka: Callable[..., Log], kafka_servers: str) -> None:
    topic = f"t-{uuid.uuid4().hex[:10]}"
    with closing(CreatedFirst(open_kafka(kafka_servers), {topic: "m"})) as log:
        with pytest.raises(PermanentLogError, match="does not exist"):
            log.append(topic, messages(keyed(1), 1))
        assert log.bounds(topic) == {}
        admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
        admin.create_topics({topic: {"num_partitions": 7}})
        admin.close()

        until("it to be there", lambda: len(log.bounds(topic)) == 7)
        log.append(topic, messages(keyed(10), 1))


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_in_kafka_the_topics_of_scaled_models_alone_are_created_first(tmp_path: Path, client: str) -> None:
    config = configuration(
        tmp_path,
        f'[log]\nurl = "kafka://127.0.0.1:1"\nclient = "{client}"\n',
        a='learner = "ridge"\nscale.answers = "key"\n',
    )
    log = open_configured_log(config)
    assert isinstance(log, CreatedFirst)
    assert log._missing == {"t": "a"}
    log.close()
