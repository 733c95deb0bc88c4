"""A log as one shard sees it: what it passes on to the log behind it."""

from __future__ import annotations

from typing import Any

from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Reader
from thalweg.stream.shards.one_partition import OnePartition


class _Noted(InMemoryLog):
    """Notes how readers are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, bool]] = []

    def reader(
        self, topics: Any, after: Any, start: Any = "earliest", group: str = "", *more: Any, **named: Any
    ) -> Reader:
        self.asked.append((topics[0], named.get("patient", False)))
        return super().reader(topics, after, start, group, *more, **named)


def test_the_reader_of_a_shard_is_one_of_many_and_that_of_a_follower_which_goes_back_is_not() -> None:
    log = _Noted()

    OnePartition(log, ["t"], 0, lambda position, note: None, patient=True).reader(["t"], {}).close()
    OnePartition(log, ["t"], 0, lambda position, note: None).reader(["t"], {}).close()
    OnePartition(log, ["t"], 0, lambda position, note: None, patient=True).reader(["t.dlq"], {}).close()

    assert log.asked == [("t", True), ("t", False), ("t.dlq", False)]
