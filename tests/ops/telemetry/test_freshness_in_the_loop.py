"""From a log over the learner's loop and published files to a server: every record counts once, as late as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stream.chain import Chain, ChainPredictor
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.ops.telemetry.freshness import FreshnessWatch
from thalweg.stream.freshness.params import FreshnessParams
from thalweg.stream.freshness.waiting import CAUGHT_UP, FreshnessTracker
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Log, Message
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.publication.file_channel import FilePublisher, FileSubscriber
from thalweg.stream.runtime import Runtime

NOW = 1_700_000_000.0
SETTINGS = ProcessorSettings(model="m", topic="t", batch_events=4, batch_seconds=0, idle_seconds=0)


class Crash(BaseException):
    """The process dies here."""


class World:
    """A log, a learner and a server on one clock, which a test moves."""

    def __init__(self, folder: Path, log: Log, clock: Callable[[], float]) -> None:
        self.log, self._folder, self._clock = log, folder, clock
        self._live = folder / "live"
        self.watch = FreshnessWatch(self._live, folder, FreshnessParams(), clock=clock, ticks=clock)
        self._journal: FileJournal | None = None
        self.disk_fails = False
        """The process dies once the journal is on disk."""
        self._server = FileSubscriber(self._live, _predictor, mapped=self.watch.mapped)

    def close(self) -> None:
        """End the latest learner without saving."""
        if self._journal is not None:
            self._journal.close()

    def learner(self, publisher: FilePublisher | None = None) -> Processor:
        self.close()
        self._journal = FileJournal(self._folder / "journal")
        synced = self._journal.sync

        def sync() -> None:
            synced()
            if self.disk_fails:
                raise Crash

        self._journal.sync = sync  # type: ignore[method-assign]
        return Processor(
            Chain(),
            self.log,
            FolderSnapshots(self._folder, 5),
            SETTINGS,
            journal=self._journal,
            ports=Ports(
                publisher=publisher or FilePublisher(self._live, self._clock),
                tracker=FreshnessTracker(self._live, self._folder / CAUGHT_UP),
            ),
            runtime=Runtime(clock=self._clock),
        )

    def publisher(self) -> FilePublisher:
        return FilePublisher(self._live, self._clock)

    def append(self, count: int, time: float | None = None) -> None:
        record = json.dumps({"inputs": {"features": [1, 0]}, "label": 1}).encode()
        self.log.append("t", [Message(record, time=time)] * count)

    def see(self) -> tuple[int, float]:
        """Records seen by the server so far, and the sum of their freshness."""
        self._server.look()
        (counts, total), _, _ = self.watch.counted()
        return sum(counts), total


def _predictor(state: State) -> ChainPredictor:
    return ChainPredictor(int(state.tensors["events"][0]))


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[World]:
    log = InMemoryLog(clock) if request.param == "memory" else SqliteLog(tmp_path / "log", clock=clock)
    made = World(tmp_path, log, clock)
    yield made
    made.close()
    log.close()


def test_a_record_counts_from_its_append_until_the_server_has_its_version(world: World, clock: Clock) -> None:
    with world.learner().following() as turn:
        turn()  # there is nothing yet
        world.append(3)
        clock.now += 0.25
        finish(turn)
        clock.now += 0.5

        assert world.see() == (3, 3 * 0.75)
        assert world.see() == (3, 3 * 0.75)


def test_the_records_that_a_new_model_begins_with_are_no_part_of_the_promise(world: World, clock: Clock) -> None:
    world.append(50)
    clock.now += 86_400
    with world.learner().following() as turn:
        while turn():
            world.see()
        world.append(1)
        finish(turn)

        assert world.see() == (1, 0.0)


def test_records_that_waited_while_nothing_ran_count_as_they_waited(world: World, clock: Clock) -> None:
    world.learner().run(until_end=True)
    world.append(2)
    clock.now += 7200
    world.learner().run(until_end=True)

    assert world.see() == (2, 2 * 7200.0)


@pytest.mark.parametrize("dies", ["before the servers are told", "before they can see it"])
def test_records_that_were_learned_and_never_shown_count_after_a_crash_and_shown_ones_do_not_again(
    world: World, clock: Clock, dies: str
) -> None:
    world.learner().run(until_end=True)
    with world.learner().following() as turn:  # saves nothing when it ends
        world.append(1)
        finish(turn)
        world.see()
    with world.learner(dying := world.publisher()).following() as turn:
        if dies == "before the servers are told":
            world.disk_fails = True
        else:
            dying.publish = _raise  # type: ignore[method-assign]
        world.append(2)
        with pytest.raises(Crash):
            finish(turn)
    world.disk_fails = False
    clock.now += 60
    world.learner().run(until_end=True)

    assert world.see() == (3, 2 * 60.0)


def test_events_that_are_dated_long_ago_are_no_fresher_or_older_than_their_append(world: World, clock: Clock) -> None:
    with world.learner().following() as turn:
        turn()
        world.append(2, time=NOW - 86_400)
        clock.now += 0.25
        finish(turn)

        assert world.see() == (2, 0.0)  # when they were appended is not known: as if read at once


def finish(turn: Callable[[], bool]) -> None:
    """Learn and publish all that there is."""
    while turn():
        pass


def _raise(*_: Any, **__: Any) -> None:
    raise Crash
