"""Several versions are rebuilt in one pass over the log, and each is what it would be alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.proto.framing.protobuf_schemas import framed_message, message, protobuf
from tests.proto.framing.test_framing import avro, framed, written
from tests.stream.chain import Chain
from tests.stream.registry.test_schemas import InMemoryRegistry
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.proto.event import Batch
from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.stream.journal.entries import Entry, RollbackEntry
from thalweg.stream.journal.journal import InMemoryJournal, JournalError
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.rebuild import begun_anew, rebuild, rebuild_each
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.registry.schemas import KnownSchemas

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


def test_of_rollbacks_whose_target_is_gone_a_damaged_journal_tells_those_before_the_damage() -> None:
    class Damaged(InMemoryJournal):
        def entries(self, after: int) -> Iterator[Entry]:
            yield from super().entries(after)
            raise JournalError("a line that is none")

    journal = Damaged()
    for version, to in ((1, 0), (2, 1), (3, 0)):
        journal.append(RollbackEntry(version, to, "operator"))

    assert begun_anew(journal, {1, 2, 3}) == [1, 3]


@pytest.mark.parametrize("form", ["AVRO", "JSON", "PROTOBUF"])
def test_versions_of_framed_records_are_rebuilt_from_the_kept_schemas_while_the_registry_is_away(
    tmp_path: Path, form: str
) -> None:
    """One schema is registered too late for the records before it, and one drops the label."""
    clock = [0.0]
    labelled, bare = schemas_of(form)
    registry = InMemoryRegistry({1: labelled.schema, 2: bare.schema})
    log, snapshots, journal = InMemoryLog(), InMemorySnapshots(keep=10), InMemoryJournal()
    for first in range(0, 15, 3):
        rows = [{"inputs": {"features": [float(i), 0.0]}, "label": str(i % 3)} for i in range(first, first + 3)]
        values = [
            labelled.record(1, rows[0]),
            labelled.record(3, rows[1]),
            bare.record(2, {"inputs": rows[2]["inputs"]}),
        ]
        log.append("t", [Message(value, time=float(first)) for value in values])
        known = KnownSchemas(registry, tmp_path / "schemas.json", lambda: clock[0], wait_seconds=0.0)
        ports = Ports(schemas=known, dead_letters=DeadLetters(log, "t", "m"))
        Processor(Chain(), log, snapshots, SETTINGS, journal=journal, ports=ports).run(until_end=True)
        clock[0] += 60.0
        if first == 6:
            registry.schemas[3] = labelled.schema
    registry.away = True

    known = KnownSchemas(registry, tmp_path / "schemas.json", read_only=True)
    found = list(rebuild_each(Chain, log, snapshots, journal, SETTINGS, [1, 3, 5], known))

    kept = {manifest.version: manifest for manifest in snapshots.manifests()}
    assert [one.state_sha256 for one in found] == [kept[version].state_sha256 for version in (1, 3, 5)]
    assert [kept[version].events_learned for version in (1, 3, 5)] == [1, 3, 7]
    letters = DeadLetters(log, "t", "m").newest(99)
    assert sorted(letter.offset for letter in letters) == [1, 4, 7]


class Written(NamedTuple):
    """A schema, and how its records are written."""

    schema: RegisteredSchema
    record: Callable[[int, dict[str, Any]], bytes]


def schemas_of(form: str) -> tuple[Written, Written]:
    """A schema of events with a label, and one without."""
    if form == "JSON":
        one = Written(RegisteredSchema("JSON", "{}"), lambda id, row: framed(id, json.dumps(row).encode()))
        return one, one
    if form == "AVRO":
        features = {"type": "array", "items": "double"}
        inputs = {"type": "record", "name": "In", "fields": [{"name": "features", "type": features}]}
        fields = [{"name": "inputs", "type": inputs}, {"name": "label", "type": "string"}]
        kinds = [{"type": "record", "name": "E", "fields": fields[:count]} for count in (2, 1)]
        labelled, bare = (
            Written(avro(kind), lambda id, row, kind=kind: framed(id, written(kind, row))) for kind in kinds
        )
        return labelled, bare
    texts = [
        f'syntax = "proto3"; message E {{ In inputs = 1; {label} }} message In {{ repeated double features = 1; }}'
        for label in ("string label = 2;", "")
    ]
    labelled, bare = (
        Written(one, lambda id, row, one=one: framed_message(id, message(one, "E", row)))
        for one in map(protobuf, texts)
    )
    return labelled, bare
