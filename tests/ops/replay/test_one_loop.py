"""One loop: the service, replay, a rebuilt version and library use fold the same events into the same state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.replay.test_replay import model, written
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.replay.replay import replay
from thalweg.ops.run.app import new_learner, new_monitor, settings_of
from thalweg.stream.journal.journal import InMemoryJournal
from thalweg.stream.learn.micro_batches.size import MicroBatchSize
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.rebuild import rebuild
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.sources.files import CsvMapping

LARGEST = 400  # bytes of a record
MALFORMED = (b"{bad", b"[]", b'{"inputs": {"features": [1]}}', b'{"inputs": {}, "label": 1}', b"\xff", b'{"id": "a"}')


def line(number: int, id: str | None, label: str | None, when: float | None, padding: int) -> bytes:
    values = [number % 5, number % 3, (number * number) % 7, 1]
    record: dict[str, Any] = {"inputs": {"features": values}, "key": "k" * padding}
    record |= {name: value for name, value in (("id", id), ("label", label), ("time", when)) if value is not None}
    return json.dumps(record).encode()


events = st.tuples(
    st.integers(0, 20),
    st.sampled_from(["a", "b", "c", "d", None]),
    st.sampled_from(["x", "y", "z", None]),
    st.sampled_from([None, 5.0, 1e9]),
    st.sampled_from([0, 0, 0, LARGEST]),  # some are too large
)
lines = st.lists(st.one_of(events.map(lambda event: line(*event)), st.sampled_from(MALFORMED)), min_size=1, max_size=40)


def appended(sent: list[bytes], log: InMemoryLog | None = None, first: int = 0) -> InMemoryLog:
    """Records at as many seconds as there are before them, as the lines of a file are."""
    log = InMemoryLog() if log is None else log
    log.append("t", [Message(value, time=float(first + number)) for number, value in enumerate(sent)])
    return log


def quick(of: ModelConfig) -> ProcessorSettings:
    return settings_of(of, LARGEST).model_copy(update={"batch_seconds": 0.0, "idle_seconds": 0.0})


def served(of: ModelConfig, sent: list[bytes], lives: int = 1) -> tuple[str, str]:
    """State hashes that a service ends in, which is started anew for each part of the records, and that its log and
    its journal lead to."""
    log, snapshots, journal = InMemoryLog(), InMemorySnapshots(), InMemoryJournal()
    share = -(-len(sent) // lives)
    for first in range(0, len(sent), share):
        appended(sent[first : first + share], log, first)
        learner = new_learner(of)
        processor = Processor(learner, log, snapshots, quick(of), journal=journal, evaluator=new_monitor(of, learner))
        processor.run(until_end=True)
    again = rebuild(lambda: new_learner(of), log, snapshots, journal, quick(of), version=processor.version)
    return processor.state_sha256, again.state_sha256


def used_as_library(of: ModelConfig, sent: list[bytes]) -> str:
    processor = Processor(new_learner(of), appended(sent), InMemorySnapshots(), quick(of))
    processor.run(until_end=True)
    return processor.state_sha256


def replayed(of: ModelConfig, sent: list[bytes], folder: Path) -> str:
    done = replay(of, written(folder / "s.jsonl", sent), max_record_bytes=LARGEST)
    return str(done.report()["state_sha256"])


@settings(max_examples=40)
@given(sent=lines, batch_events=st.integers(1, 12), dedup_events=st.sampled_from([0, 2, 100]))
def test_the_same_events_give_the_same_state_wherever_they_are_folded(
    sent: list[bytes], batch_events: int, dedup_events: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One block: whatever ids, labels and order, whatever cannot be used, whatever the size of micro-batches."""
    folder = tmp_path_factory.mktemp("one")
    of = model(batch_events=batch_events, dedup_events=dedup_events)

    hashes = {*served(of, sent), used_as_library(of, sent), replayed(of, sent, folder)}

    assert len(hashes) == 1


@settings(max_examples=30)
@given(sent=lines, lives=st.integers(1, 4))
def test_learned_one_by_one_it_does_not_matter_what_the_blocks_were(
    sent: list[bytes], lives: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("many")
    of = model(batch_events=1)

    hashes = {*served(of, sent, lives), used_as_library(of, sent), replayed(of, sent, folder)}

    assert len(hashes) == 1


def test_a_label_that_comes_after_its_event_under_the_same_id_is_learned_everywhere(tmp_path: Path) -> None:
    sent = [line(1, "a", None, None, 0), line(1, "a", "x", None, 0), line(2, "b", "y", None, 0)]

    done = replay(model(), written(tmp_path / "s.jsonl", sent))

    assert done.events == 3
    assert {*served(model(), sent)} == {done.report()["state_sha256"]}


def test_a_processor_needs_no_more_than_a_learner_a_log_and_a_place_for_snapshots(tmp_path: Path) -> None:
    of, log = model(batch_events="auto"), InMemoryLog()
    sent = [line(number, None, "xy"[number % 2], None, 0) for number in range(100)]
    log.append("events", [Message(value, time=float(number)) for number, value in enumerate(sent)])
    processor = Processor(new_learner(of), log, InMemorySnapshots())

    processor.run(until_end=True)

    assert processor.events_learned == 100
    assert processor.state_sha256 == replayed(of, sent, tmp_path)


def test_columns_of_a_csv_file_are_folded_as_the_records_of_a_log_are(tmp_path: Path) -> None:
    rows = [(number % 5, number % 7, "abcd"[number % 4], ("x", "y", "")[number % 3]) for number in range(50)]
    table = ["p,q,r,s,id,label", *(f"{p},{q},0.5,1,{id},{label}" for p, q, id, label in rows)]
    path = written(tmp_path / "s.csv", [row.encode() for row in table])
    sent = [
        json.dumps({"inputs": {"features": [p, q, 0.5, 1]}, "id": id, **({"label": label} if label else {})}).encode()
        for p, q, id, label in rows
    ]
    of = model(dedup_events=2)

    done = replay(of, path, CsvMapping(id="id"))

    assert done.report()["state_sha256"] == used_as_library(of, sent)


@settings(max_examples=30)
@given(sent=lines, lives=st.integers(1, 4))
def test_while_a_stream_is_slow_auto_is_one_by_one_and_the_state_is_that_of_a_replay(
    sent: list[bytes], lives: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("auto")
    of = model(batch_events="auto")

    hashes = {*served(of, sent, lives), used_as_library(of, sent), replayed(of, sent, folder)}

    assert hashes == {replayed(model(batch_events=1), sent, folder)}


def test_whatever_sizes_a_service_chooses_its_journal_leads_to_the_same_state(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([1, 4, 2, 64, 1, 256, 8, 1])
    monkeypatch.setattr(MicroBatchSize, "choose", lambda self, block, waiting: next(sizes))
    sent = [line(number, None, "xyz"[number % 3], None, 0) for number in range(700)]

    state, rebuilt = served(model(batch_events="auto"), sent, lives=4)

    monkeypatch.undo()
    assert state == rebuilt
    assert state != served(model(batch_events=1), sent)[0]
