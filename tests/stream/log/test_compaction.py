"""A topic that Kafka compacts loses events before they are learned, and no gap shows it: the service says so."""

from __future__ import annotations

import uuid

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from structlog.testing import capture_logs

from tests.conftest import Opener
from tests.services.processes import until
from thalweg.stream.log.kafka_shared.compaction import CompactionWatch
from thalweg.stream.log.log import LogError


@pytest.mark.kafka
def test_a_compacted_topic_is_told_once_and_one_that_is_not_never(open_kafka: Opener, kafka_servers: str) -> None:
    compacted, plain = (f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("compacted", "plain"))
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_topics(
        [
            NewTopic(compacted, 1, 1, topic_configs={"cleanup.policy": "compact,delete"}),
            NewTopic(plain, 1, 1, topic_configs={"cleanup.policy": "delete"}),
        ]
    )
    admin.close()
    log = open_kafka(kafka_servers)

    with capture_logs() as told:
        for _ in range(2):
            log.reader([plain, compacted], {}, group="g").close()
        found = until("it to be told", lambda: [one for one in told if "compacted" in one["event"]])
    log.close()

    assert [(one["topic"], one["cleanup_policy"], one["log_level"]) for one in found] == [
        (compacted, "compact,delete", "warning")
    ]


def test_a_policy_that_cannot_be_seen_stops_nothing_and_is_asked_for_again() -> None:
    answers = iter([LogError("not authorized to see settings"), "compact"])

    def ask(topic: str) -> str | None:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch = CompactionWatch(ask)
    with capture_logs() as told:
        watch.look(["t"])
        until("it to be unknown", lambda: [one for one in told if one["log_level"] == "info"])
        until("it to be asked again", lambda: (watch.look(["t"]), told[-1]["log_level"] == "warning")[1])

    assert [one["log_level"] for one in told] == ["info", "warning"]
