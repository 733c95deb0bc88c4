"""A topic that is missing is told once, and again when it is there."""

from __future__ import annotations

from structlog.testing import capture_logs

from thalweg.ops.run.shards.topic import TopicPartitions
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message


def test_a_topic_that_does_not_exist_is_logged_once_and_so_is_its_coming() -> None:
    log = InMemoryLog()
    topic = TopicPartitions("clicks", "events", log.bounds)
    with capture_logs() as told:
        topic.look()
        topic.look()
        log.append("events", [Message(b"{}")])
        topic.look()
        topic.look()

    assert [(one["log_level"], one["model"], one["topic"]) for one in told] == [
        ("warning", "clicks", "events"),
        ("info", "clicks", "events"),
    ]
