"""What is done on an alarm: each action, once, wherever the process dies, and the same when it is repeated."""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.stream.evaluation.test_monitor import INPUTS, SETTINGS, events, ridge
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.journal.entries import BlockEntry, Entry
from thalweg.stream.journal.journal import InMemoryJournal
from thalweg.stream.learn.observer import NoObserver
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.rebuild import rebuild
from thalweg.stream.learn.saving import saving
from thalweg.stream.log.sqlite import SqliteLog

# none but the first, the last, and those asked for
SAVING_LITTLE = SETTINGS.model_copy(update={"snapshot_events": 1_000_000, "snapshot_seconds": 1e9})


@pytest.fixture(autouse=True)
def _not_because_learning_took_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a snapshot would be saved in between."""
    monkeypatch.setattr(saving, "_AGAIN_SECONDS", math.inf)


class Actions(NoObserver):
    def __init__(self) -> None:
        self.alarms: list[bool] = []
        self.versions = 0
        self.causes: list[str] = []
        self.done: list[str] = []

    def drifted(self, alarm: Alarm) -> None:
        self.alarms.append(alarm.end is None)

    def snapshotted(self, version: int, seconds: float, size_bytes: int) -> None:
        self.versions += 1

    def rolled_back(self, version: int, cause: str) -> None:
        self.causes.append(cause)

    def acted(self, action: str) -> None:
        self.done.append(action)


class Life:
    """One process: from start to end, or to where it dies."""

    def __init__(
        self,
        log: SqliteLog,
        snapshots: InMemorySnapshots,
        journal: InMemoryJournal,
        action: str,
        make: Callable[[], Ridge] = ridge,
    ) -> None:
        learner, self.seen = make(), Actions()
        self.monitor = Monitor(learner, make, window_events=500, drift=DriftParams(action=action))
        self.processor = Processor(
            learner,
            log,
            snapshots,
            SAVING_LITTLE,
            journal=journal,
            evaluator=self.monitor,
            ports=Ports(observer=self.seen),
            make=make,
        )

    def run(self) -> Life:
        self.processor.run(until_end=True)
        return self


def turned(folder: Path, count: int = 2600) -> SqliteLog:
    folder.mkdir(exist_ok=True)
    log = SqliteLog(folder / "log")
    log.append("t", events(count, turned=2000))
    return log


DONE = {
    "observe": "",
    "snapshot": "version ",
    "raise_forgetting": "forgetting raised by a factor of 5",
    "reset": "begun anew",
    "rollback": "rolled back to version 0",
}


@pytest.mark.parametrize("action", DONE)
def test_on_an_alarm_it_does_what_was_asked_for_and_says_so(tmp_path: Path, action: str) -> None:
    snapshots, journal = InMemorySnapshots(), InMemoryJournal()

    life = Life(turned(tmp_path), snapshots, journal, action).run()

    (alarm,) = life.monitor.drift.alarms
    assert life.seen.alarms == [True]
    assert alarm.done.startswith(DONE[action])
    assert bool(alarm.done) == (action != "observe")
    assert life.seen.done == ([action] if action != "observe" else [])
    assert life.seen.causes == (["drift"] if action == "rollback" else [])
    assert life.seen.versions == {"observe": 2, "reset": 4, "rollback": 4}.get(action, 3)  # also what they discard
    learned = life.processor.events_learned
    assert (learned < 700) if action in ("reset", "rollback") else (learned == 2600)


@pytest.mark.parametrize("action", ["raise_forgetting", "reset", "rollback"])
def test_what_an_alarm_did_is_learned_again_from_the_journal(tmp_path: Path, action: str) -> None:
    log, snapshots, journal = turned(tmp_path), InMemorySnapshots(), InMemoryJournal()
    life = Life(log, snapshots, journal, action).run()
    first = [entry for entry in journal.entries(0) if not isinstance(entry, BlockEntry)]

    rebuilt = rebuild(ridge, log, snapshots, journal, SAVING_LITTLE, life.processor.version)

    assert len(first) == 1
    assert rebuilt.state_sha256 == life.processor.state_sha256


def never_forgetting() -> Ridge:
    return Ridge(LearnerContext(inputs=INPUTS, params={"expansion": 0, "forgetting": [1.0]}, seed=0))


@pytest.mark.parametrize("action", ["raise_forgetting", "reset"])
def test_after_it_the_new_rule_is_learned_sooner(tmp_path: Path, action: str) -> None:
    lives = [
        Life(turned(tmp_path / name, 3400), InMemorySnapshots(), InMemoryJournal(), name, never_forgetting).run()
        for name in ("observe", action)
    ]

    usual, acted = (life.monitor.recent()["accuracy"] for life in lives)
    assert acted > usual + 0.2


class Crash(BaseException):
    """The process dies here."""


class DyingJournal(InMemoryJournal):
    """Ends the process once, before or after the first thing that an alarm asked for is written down."""

    def __init__(self, dies: str) -> None:
        super().__init__()
        self.dies = dies
        self.done = 0

    def append(self, entry: Entry) -> None:
        if isinstance(entry, BlockEntry):
            super().append(entry)
            return
        dies, self.dies = self.dies, "no more"
        if dies == "before":
            raise Crash
        super().append(entry)
        self.done += 1
        if dies == "after":
            raise Crash


@pytest.mark.parametrize("action", ["raise_forgetting", "reset", "rollback"])
@pytest.mark.parametrize("dies", ["before", "after"])
def test_wherever_the_process_dies_it_acts_once(tmp_path: Path, dies: str, action: str) -> None:
    log, snapshots, journal = turned(tmp_path), InMemorySnapshots(), DyingJournal(dies)

    with pytest.raises(Crash):
        Life(log, snapshots, journal, action).run()
    second = Life(log, snapshots, journal, action).run()
    third = Life(log, snapshots, journal, action).run()

    assert journal.done == 1
    assert second.seen.alarms == [True]  # told again: nobody knows whether it was
    assert third.seen.alarms == []
    assert [alarm.done for alarm in third.monitor.drift.alarms] == [DONE[action]]


def test_a_reset_without_anything_that_makes_a_learner_is_not_journalled_and_says_so(tmp_path: Path) -> None:
    journal, learner = InMemoryJournal(), ridge()
    monitor = Monitor(learner, ridge, window_events=500, drift=DriftParams(action="reset"))

    Processor(learner, turned(tmp_path), InMemorySnapshots(), SAVING_LITTLE, journal=journal, evaluator=monitor).run(
        until_end=True
    )

    assert all(isinstance(entry, BlockEntry) for entry in journal.entries(journal.begins_after() or 0))
    assert [alarm.done for alarm in monitor.drift.alarms] == ["nothing: no new learner can be created"]


def test_a_rollback_without_a_version_from_before_does_nothing_and_says_so(tmp_path: Path) -> None:
    class Forgetful(InMemorySnapshots):
        def manifests(self):  # type: ignore[no-untyped-def]
            return [kept for kept in super().manifests() if kept.events_learned > 2500]

    life = Life(turned(tmp_path), Forgetful(), InMemoryJournal(), "rollback").run()

    assert life.seen.causes == life.seen.done == []
    assert [alarm.done for alarm in life.monitor.drift.alarms] == ["nothing: no snapshot from before the change"]


@pytest.mark.parametrize("action", ["raise_forgetting", "reset", "rollback"])
def test_what_was_done_is_logged_when_it_is_done_and_not_when_it_is_repeated(tmp_path: Path, action: str) -> None:
    def warned(logged: list[MutableMapping[str, Any]]) -> list[str]:
        return [line["event"] for line in logged if line.get("cause") == "drift"]

    log, snapshots, journal = turned(tmp_path), InMemorySnapshots(), InMemoryJournal()
    beginning = InMemorySnapshots()  # of a process that is restarted before it saved another version

    with structlog.testing.capture_logs() as first:
        life = Life(log, snapshots, journal, action).run()
    beginning.save(snapshots.load(0).manifest, snapshots.load(0).parts)
    with structlog.testing.capture_logs() as again:
        rebuild(ridge, log, snapshots, journal, SAVING_LITTLE, life.processor.version)
        Life(log, beginning, journal, action).processor.recover()

    assert warned(first) == [DONE[action]]
    assert warned(again) == []
