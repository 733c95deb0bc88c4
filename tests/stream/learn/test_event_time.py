"""Event time is data: bounded by the time of its record, decided alike in every run, and no measure of freshness."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.stream.chain import Chain
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.publication.announcement import ANNOUNCEMENT, Slot, make_announcement, write_slot
from thalweg.stream.publication.file_channel import FilePublisher
from thalweg.stream.publication.ports import VersionInfo
from thalweg.stream.runtime import Runtime

APPENDED = 1.7e9
YEAR = 365 * 86_400.0


def event(i: int, time: float | None) -> Message:
    record = {"inputs": {"features": [i, 0]}, "label": i % 3, "time": time}
    return Message(json.dumps(record).encode())


class Shown:
    """Notes what is published and confirmed."""

    def __init__(self) -> None:
        self.confirmed: list[float] = []
        self.event_time = 0.0

    def publish(self, predictor: Any, *, version: int, learned_events: int, event_time: float) -> None:
        self.event_time = event_time

    def shown(self) -> int | None: ...

    def confirm(self, as_of: float) -> None:
        self.confirmed.append(as_of)


def processor(log: Any, clock: float, **settings: Any) -> tuple[Processor, Chain, Shown]:
    learner, shown = Chain(), Shown()
    made = ProcessorSettings(model="m", topic="t", batch_events=4, batch_seconds=0, idle_seconds=0, **settings)
    ports = Ports(publisher=shown, dead_letters=DeadLetters(log, "t", "m"))
    return (
        Processor(learner, log, InMemorySnapshots(), made, ports=ports, runtime=Runtime(clock=lambda: clock)),
        learner,
        shown,
    )


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_an_event_dated_too_far_ahead_of_its_record_is_a_dead_letter(kind: str, tmp_path: Path) -> None:
    log = InMemoryLog(lambda: APPENDED) if kind == "memory" else SqliteLog(tmp_path / "log", clock=lambda: APPENDED)
    log.append("t", [event(0, APPENDED), event(1, APPENDED + YEAR), event(2, -1.0), event(3, None)])

    running, learner, _ = processor(log, APPENDED)
    running.run(until_end=True)

    assert learner.learned == [[0, 3]]
    letters = DeadLetters(log, "t", "m").newest(10)
    assert [letter.reason for letter in letters] == ["invalid_time"] * 2
    assert {json.loads(letter.value or b"")["label"] for letter in letters} == {1, 2}


def test_when_the_log_is_learned_decides_nothing() -> None:
    """A year later, or with a clock that stands in 1970, the same events are valid."""
    log = InMemoryLog(lambda: APPENDED)
    log.append("t", [event(i, APPENDED + i * 1000.0) for i in range(9)])

    hashes = set()
    for clock in (0.0, APPENDED, APPENDED + YEAR):
        running, learner, _ = processor(log, clock)
        running.run(until_end=True)
        hashes.add(running.state_sha256)
        assert learner.learned == [[0, 1, 2, 3]]

    assert len(hashes) == 1


def test_how_far_ahead_is_a_setting() -> None:
    log = InMemoryLog(lambda: APPENDED)
    log.append("t", [event(0, APPENDED + 5.0), event(1, APPENDED + 15.0)])

    running, learner, _ = processor(log, APPENDED, max_future_seconds=10.0)
    running.run(until_end=True)

    assert learner.learned == [[0]]


def test_what_is_published_is_as_fresh_as_the_log_says_not_as_its_events_say() -> None:
    """While it is behind, it is confirmed as of the record's time: neither ahead with an event, nor years back."""
    log = InMemoryLog(lambda: APPENDED)
    log.append("t", [event(0, APPENDED + 3000.0), event(1, 1e6)])
    running, _, shown = processor(log, APPENDED + 60.0)
    reader = log.reader(["t"], {})
    log.append("t", [event(i, None) for i in range(2000)])  # more than one block

    assert running._step(reader)

    assert any(reader.lag().values())
    assert shown.confirmed == [APPENDED]
    assert shown.event_time == APPENDED


def test_a_time_stamp_from_the_future_is_no_confirmation_of_the_future() -> None:
    log = InMemoryLog(lambda: APPENDED + YEAR)  # what a producer may write as its record's time
    log.append("t", [event(i, None) for i in range(2000)])
    running, _, shown = processor(log, APPENDED)

    assert running._step(log.reader(["t"], {}))

    assert shown.confirmed == [APPENDED]


def test_a_publisher_confirms_nothing_ahead_of_its_clock_also_not_what_was_announced_before(tmp_path: Path) -> None:
    now = 100.0
    announced = make_announcement(tmp_path / ANNOUNCEMENT)
    write_slot(announced, Slot(1, 1, VersionInfo(1, 1, 1e15, 90.0, 1e15, os.getpid())))
    announced.close()
    publisher = FilePublisher(tmp_path, clock=lambda: now)
    chain = Chain()
    publisher.publish(chain.predictor(), version=2, learned_events=0, event_time=0.0)

    publisher.confirm(1e15)

    assert publisher._info is not None
    assert publisher._info.as_of == 100.0
    assert publisher._info.staleness_seconds(150.0) == 50.0
    now = 160.0
    publisher.confirm(155.0)
    assert publisher._info.as_of == 155.0


def test_a_version_that_was_never_confirmed_is_as_stale_as_it_is_old() -> None:
    assert VersionInfo(1, 1, 0.0, 100.0, 0.0, 1).staleness_seconds(130.0) == 30.0
