"""Joined events of a model of shards: in the partition of their event, wherever their label came from."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.stream.labels.test_joining import batch
from tests.stream.log.partitions import PartitionedLog
from thalweg.proto.encode import to_events
from thalweg.proto.records import Partition
from thalweg.stream.labels.to_shards import ToShards, placed, unplaced
from thalweg.stream.log.log import Message, PermanentLogError
from thalweg.stream.shards.partitioner import partition_of


class Counts(PartitionedLog):
    """Topics with so many partitions each."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        super().__init__(1)
        self.topics = dict(topics)

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        return {Partition(topic, number): (0, 0) for number in range(self.topics.get(topic, 0))}


def test_an_event_that_waits_keeps_its_partition_and_one_of_a_request_has_none() -> None:
    (event,) = to_events(batch("e1"))

    assert unplaced(placed(event, 70_000)) == (70_000, event)
    assert unplaced(event) == (None, event)


def test_a_joined_event_goes_to_the_partition_of_its_event_else_to_that_of_its_key_or_id() -> None:
    to_shards = ToShards(Counts({"events": 8, "m.joined": 8}), "events", "m.joined", by_hand=True)

    found = to_shards.addressed(
        [("a", 5, Message(b"x", b"key")), ("b", None, Message(b"y", b"key")), ("c", None, Message(b"z"))]
    )

    assert [one.partition for one in found] == [5, partition_of(b"key", 8), partition_of(b"c", 8)]


@pytest.mark.parametrize(
    ("joined", "text"),
    [
        (0, "does not exist, expected 4 as 'events' has: .*kafka-topics.sh --create --topic m.joined --partitions 4"),
        (3, "has 3 partitions, expected 4 .*kafka-topics.sh --alter --topic m.joined --partitions 4"),
        (5, "has 5 partitions, expected 4 .*kafka-topics.sh --create --topic m.joined --partitions 4"),
    ],
)
def test_nothing_is_joined_before_both_topics_have_as_many_partitions(joined: int, text: str) -> None:
    log = Counts({"events": 4, "m.joined": joined})
    to_shards = ToShards(log, "events", "m.joined", by_hand=True)

    with pytest.raises(PermanentLogError, match=text):
        to_shards.addressed([("a", 1, Message(b"x"))])

    log.topics["m.joined"] = 4
    assert to_shards.addressed([("a", 1, Message(b"x"))])[0].partition == 1


def test_a_partition_that_was_added_is_asked_for_at_once() -> None:
    log = Counts({"events": 4, "m.joined": 4})
    to_shards = ToShards(log, "events", "m.joined", by_hand=True)
    to_shards.addressed([("a", 1, Message(b"x"))])
    log.topics["events"] = 5

    with pytest.raises(PermanentLogError, match="has 4 partitions, expected 5"):
        to_shards.addressed([("b", 4, Message(b"x"))])


def test_an_embedded_log_creates_the_topic_of_joined_events_itself() -> None:
    to_shards = ToShards(Counts({"events": 1}), "events", "m.joined", by_hand=False)

    assert to_shards.addressed([("a", 0, Message(b"x")), ("b", None, Message(b"x"))])[1].partition == 0
