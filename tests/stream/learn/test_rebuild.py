"""Several versions are rebuilt in one pass over the log, and each is what it would be alone."""

from __future__ import annotations

import json

import pytest

from tests.stream.chain import Chain
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.proto.event import Batch
from thalweg.stream.journal.journal import InMemoryJournal, JournalError
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.rebuild import rebuild, rebuild_each
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.log import InMemoryLog, Message

SETTINGS = ProcessorSettings(
    model="m", topic="t", batch_events=4, batch_seconds=0, idle_seconds=0, snapshot_events=1, snapshot_seconds=1e9
)


class Counting(Chain):
    """Counts the events that any of its kind learns."""

    events_learned = 0

    def learn(self, batch: Batch) -> None:
        Counting.events_learned += len(batch)
        super().learn(batch)


def a_life_of_five_versions() -> tuple[InMemoryLog, InMemorySnapshots, InMemoryJournal]:
    log, snapshots, journal = InMemoryLog(), InMemorySnapshots(keep=10), InMemoryJournal()
    for first in range(0, 15, 3):
        records = [{"inputs": {"features": [i, 0]}, "label": i % 3} for i in range(first, first + 3)]
        log.append("t", [Message(json.dumps(record).encode(), time=float(first)) for record in records])
        Processor(Chain(), log, snapshots, SETTINGS, journal=journal).run(until_end=True)
    return log, snapshots, journal


def test_several_versions_are_rebuilt_in_one_pass_and_each_is_what_it_is_alone() -> None:
    log, snapshots, journal = a_life_of_five_versions()
    Counting.events_learned = 0

    together = list(rebuild_each(Counting, log, snapshots, journal, SETTINGS, [1, 3, 5]))

    assert Counting.events_learned == 15
    assert together == [rebuild(Chain, log, snapshots, journal, SETTINGS, version) for version in (1, 3, 5)]
    kept = {manifest.version: manifest.state_sha256 for manifest in snapshots.manifests()}
    assert [one.state_sha256 for one in together] == [kept[1], kept[3], kept[5]]
    assert [(one.base, one.events) for one in together] == [(0, 3), (0, 9), (0, 15)]


def test_a_version_beyond_the_journal_is_refused_after_those_it_holds() -> None:
    log, snapshots, journal = a_life_of_five_versions()

    rebuilt = rebuild_each(Chain, log, snapshots, journal, SETTINGS, [5, 6])

    assert next(rebuilt).events == 15
    with pytest.raises(JournalError, match="ends at version 5, before 6"):
        next(rebuilt)
