"""Producers that deliver at least once, and out of order: each event is learned once, whenever the learner dies."""

from __future__ import annotations

import random
from pathlib import Path

from tests.reliability.test_disk_faults import SETTINGS
from tests.stream.chain import Chain
from tests.stream.learn.test_processor import event
from thalweg.memory.snapshots.snapshots import FolderSnapshots, InMemorySnapshots
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.processor import Processor
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message

EVENTS = 2000


def delivered(chance: random.Random) -> list[Message]:
    """The events 0, 1, …, each once, but for 5 % that come up to 200 places later; then 10 % of all once more."""
    place = {number: number + (chance.uniform(1, 200) if chance.random() < 0.05 else 0) for number in range(EVENTS)}
    again = {number: place[number] + chance.uniform(0, 300) for number in range(EVENTS) if chance.random() < 0.1}
    order = sorted([*place.items(), *again.items()], key=lambda pair: pair[1])
    return [event(number, id=f"e{number}") for number, _ in order]


def test_of_a_tenth_delivered_again_and_a_twentieth_late_each_event_is_learned_once_over_restarts(
    tmp_path: Path,
) -> None:
    chance = random.Random(5)
    records, log, learned = delivered(chance), InMemoryLog(), []
    assert len(records) > EVENTS + EVENTS // 20

    while records:
        count = chance.randint(100, 500)
        log.append("t", records[:count])
        records = records[count:]
        learner = Chain()  # a process of its own: what it has seen comes from snapshot and journal
        journal = FileJournal(tmp_path / "journal")
        Processor(learner, log, FolderSnapshots(tmp_path / "m"), SETTINGS, journal=journal).run(until_end=True)
        learned += [number for part in learner.learned for number in part]

    assert sorted(learned) == list(range(EVENTS))


def test_an_event_that_comes_again_after_more_ids_than_the_window_holds_is_learned_again() -> None:
    """The window is bounded, and says so: `dedup_events`."""
    settings = SETTINGS.model_copy(update={"dedup_events": 10})
    log, learner = InMemoryLog(), Chain()
    log.append("t", [event(number, id=f"e{number}") for number in [*range(11), 0, 10]])

    Processor(learner, log, InMemorySnapshots(), settings).run(until_end=True)

    assert [number for part in learner.learned for number in part] == [*range(11), 0]
