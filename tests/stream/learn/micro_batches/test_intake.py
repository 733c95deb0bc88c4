"""The size of micro-batches is chosen for each block and journalled with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.samples import events
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.nearest_mean import NearestMean
from thalweg.proto.encode import EVENT_BATCH_HEADERS, to_event_batch, to_json
from thalweg.proto.schema import TensorSpec
from thalweg.stream.journal.entries import BlockEntry
from thalweg.stream.journal.journal import InMemoryJournal
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.rebuild import rebuild
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message

SETTINGS = ProcessorSettings(topic="t", batch_seconds=0.0, idle_seconds=0.0)


def learner() -> NearestMean:
    return NearestMean(LearnerContext(inputs={"features": TensorSpec("features", "float32", (4,))}))


def learned(log: InMemoryLog, **settings: Any) -> list[int]:
    """The sizes in the journal, after everything in the log is learned; the journal leads to the same state."""
    snapshots, journal = InMemorySnapshots(), InMemoryJournal()
    of = SETTINGS.model_copy(update=settings)
    processor = Processor(learner(), log, snapshots, of, journal=journal)
    processor.run(until_end=True)
    again = rebuild(learner, log, snapshots, journal, of, processor.version)
    assert again.state_sha256 == processor.state_sha256
    return [entry.batch_events for entry in journal.entries(0) if isinstance(entry, BlockEntry)]


def test_few_records_are_learned_one_by_one() -> None:
    log = InMemoryLog()
    log.append("t", [Message(value) for value in to_json(events(300))])

    assert set(learned(log)) == {1}
    assert set(learned(log, least_batch_events=64)) == {64}
    assert set(learned(log, batch_events=7)) == {7}


def test_records_of_many_events_are_not_learned_one_by_one_before_anybody_knows_how_long_that_takes() -> None:
    log = InMemoryLog()
    many = to_event_batch(events(5000))
    log.append("t", [Message(many, headers=EVENT_BATCH_HEADERS)] * 4)

    sizes = learned(log, dedup_events=0)

    assert 20_000 / sizes[0] <= 4096
    assert np.log2(sizes).astype(int).tolist() == np.log2(sizes).tolist()
