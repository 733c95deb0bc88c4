"""The loop: every event predicted before it is learned, learned once, and after a crash the state is as if none was."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.services.processes import PATIENCE
from tests.stream.chain import Chain, ChainPredictor
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots, InMemorySnapshots
from thalweg.memory.snapshots.state import State
from thalweg.proto.event import Batch
from thalweg.proto.records import Partition, Position, Records
from thalweg.proto.schema import Array
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import InMemoryJournal
from thalweg.stream.learn.observer import NoObserver
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.rebuild import rebuild
from thalweg.stream.learn.saving.saving import NotSaved
from thalweg.stream.learn.settings import ProcessorSettings, StateMismatch
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Gap, LogError, LogReplaced, Message
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.publication.file_channel import FilePublisher, FileSubscriber
from thalweg.stream.runtime import Runtime

SETTINGS = ProcessorSettings(
    model="m", topic="t", batch_events=4, batch_seconds=0, idle_seconds=0, snapshot_events=20, snapshot_seconds=1e9
)


def event(i: int, **more: Any) -> Message:
    record = {"inputs": {"features": [i, 0]}, "label": i % 3, **more}
    return Message(json.dumps(record).encode(), time=float(i))


def log_of(count: int) -> InMemoryLog:
    log = InMemoryLog()
    log.append("t", [event(i) for i in range(count)])
    return log


class Crash(BaseException):
    """The process dies here."""


class Watcher(NoObserver):
    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.outcomes: list[Outcome] = []
        self.hashes: dict[int, str] = {}

    def lost(self, gap: Gap) -> None:
        self.calls.append(("lost", gap))

    def block_done(self, outcome: Outcome, learner: Any, lag: Mapping[Partition, int]) -> None:
        self.outcomes.append(outcome)
        self.hashes[outcome.version] = learner.state().sha256()

    def snapshot_failed(self, version: int, error: str) -> None:
        self.calls.append(("snapshot failed", version))


class Grader:
    """Notes which state answered, and how many events were asked; it raises no alarms."""

    def __init__(self) -> None:
        self.answered: list[tuple[int, int]] = []

    def predicted(self, batch: Batch, predictor: Any, outputs: Mapping[str, Array]) -> None:
        assert (outputs["value"] == predictor.events).all()
        self.answered.append((predictor.events, len(batch)))

    def metrics(self) -> Mapping[str, float]:
        return {}

    def state(self) -> State:
        return State({})

    def restore(self, state: State) -> None: ...


def test_every_event_is_predicted_by_a_state_that_has_not_seen_it_and_then_learned() -> None:
    grader, watcher, learner = Grader(), Watcher(), Chain()

    Processor(learner, log_of(10), InMemorySnapshots(), SETTINGS, evaluator=grader, ports=Ports(observer=watcher)).run(
        until_end=True
    )

    assert grader.answered == [(0, 4), (4, 4), (8, 2)]
    assert [len(batch) for batch in learner.learned] == [4, 4, 2]
    (outcome,) = watcher.outcomes
    assert (outcome.version, outcome.learned, outcome.events, outcome.labelled) == (1, 10, 10, 10)
    assert (outcome.oldest_time, outcome.newest_time, len(outcome.learn_seconds)) == (0.0, 9.0, 3)


def test_a_stopped_processor_goes_on_where_it_stopped() -> None:
    log, snapshots, learner = log_of(10), InMemorySnapshots(), Chain()
    Processor(Chain(), log, snapshots, SETTINGS).run(until_end=True)
    log.append("t", [event(10), event(11)])

    Processor(learner, log, snapshots, SETTINGS).run(until_end=True)

    assert learner.learned == [[10, 11]]
    newest = snapshots.newest()
    assert newest is not None
    assert newest.manifest.offsets == {Partition("t", 0): 11}
    assert newest.manifest.events_learned == 12


class _CrashingLearner(Chain):
    """Dies in the middle of a block, after so many micro-batches."""

    def __init__(self, micro_batches: int) -> None:
        super().__init__()
        self.left = micro_batches

    def learn(self, batch: Batch) -> None:
        if self.left == 0:
            raise Crash
        self.left -= 1
        super().learn(batch)


@pytest.mark.slow(5)
@given(
    appended=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    crashes=st.lists(st.integers(0, 9), max_size=5),
    every=st.integers(1, 40),
)
def test_however_often_it_crashes_the_state_is_that_of_an_undisturbed_run(
    appended: list[int], crashes: list[int], every: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("state")
    settings = ProcessorSettings(**{**_fields(SETTINGS), "snapshot_events": every})
    watched: dict[int, str] = {}
    log, count, left = InMemoryLog(), 0, list(crashes)
    for size in appended:
        log.append("t", [event(i) for i in range(count, count + size)])
        count += size
        while True:
            watcher = Watcher()
            learner = _CrashingLearner(left.pop() if left else -1)
            try:
                Processor(
                    learner,
                    log,
                    FolderSnapshots(folder),
                    settings,
                    journal=FileJournal(folder / "journal"),
                    ports=Ports(observer=watcher),
                ).run(until_end=True)
            except Crash:
                for version, seen in watcher.hashes.items():
                    assert watched.setdefault(version, seen) == seen
            else:
                break
    newest = FolderSnapshots(folder).newest()

    assert newest is not None
    assert newest.manifest.events_learned == count
    for version, seen in watched.items():
        if version == newest.manifest.version:
            assert newest.manifest.state_sha256 == seen
    rebuilt = rebuild(
        Chain,
        log,
        FolderSnapshots(folder),
        FileJournal(folder / "journal", read_only=True),
        settings,
        newest.manifest.version,
    )
    assert rebuilt.state_sha256 == newest.manifest.state_sha256


def _fields(settings: ProcessorSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in type(settings).model_fields}


def test_a_changed_batch_size_does_not_change_what_older_entries_mean() -> None:
    log, snapshots, journal = log_of(10), InMemorySnapshots(), InMemoryJournal()
    crashed = Processor(Chain(), log, snapshots, SETTINGS, journal=journal)
    reader = log.reader(["t"], {})
    crashed.recover()
    crashed._step(reader)
    learned = crashed.state_sha256

    settings = ProcessorSettings(**{**_fields(SETTINGS), "batch_events": 7})
    again = Processor(Chain(), log, snapshots, settings, journal=journal)
    again.recover()

    assert again.state_sha256 == learned


def test_redelivered_events_are_learned_once_also_across_a_restart() -> None:
    log, snapshots, watcher, learner = InMemoryLog(), InMemorySnapshots(), Watcher(), Chain()
    log.append("t", [event(i, id=f"e{i}") for i in (0, 1, 0, 2)])
    Processor(Chain(), log, snapshots, SETTINGS, ports=Ports(observer=watcher)).run(until_end=True)
    log.append("t", [event(i, id=f"e{i}") for i in (1, 3)])

    Processor(learner, log, snapshots, SETTINGS, ports=Ports(observer=watcher)).run(until_end=True)

    assert [outcome.duplicates for outcome in watcher.outcomes] == [1, 1]
    assert learner.learned == [[3]]
    newest = snapshots.newest()
    assert newest is not None
    assert newest.manifest.events_learned == 4


class Box:
    """A dead-letter box that refuses at first."""

    def __init__(self, refusals: int = 0, last: Position | None = None) -> None:
        self.kept: list[bytes | None] = []
        self.refusals = refusals
        self.last = last or {}

    def send(self, records: Records, rejected: Sequence[Any]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise LogError("the broker is gone")
        self.kept += [records.values[r.row] for r in rejected]

    def last_sent(self) -> Position:
        return self.last


def test_bad_records_go_to_the_dead_letters_byte_for_byte_and_the_stream_goes_on() -> None:
    log, box, watcher, learner = InMemoryLog(), Box(refusals=2), Watcher(), Chain()
    log.append("t", [event(0), Message(b"{not json"), event(1), Message(b'{"inputs": {"features": [1]}}'), event(2)])

    Processor(learner, log, InMemorySnapshots(), SETTINGS, ports=Ports(dead_letters=box, observer=watcher)).run(
        until_end=True
    )

    assert box.kept == [b"{not json", b'{"inputs": {"features": [1]}}']
    assert learner.learned == [[0, 1, 2]]
    assert watcher.outcomes[0].rejected == {"malformed": 1, "wrong_shape": 1}


def test_a_replay_sends_no_dead_letter_twice() -> None:
    log, snapshots, journal = InMemoryLog(), InMemorySnapshots(), InMemoryJournal()
    log.append("t", [Message(b"bad 0"), Message(b"bad 1"), Message(b"bad 2")])
    first = Processor(Chain(), log, snapshots, SETTINGS, journal=journal, ports=Ports(dead_letters=Box()))
    first.recover()
    first._step(log.reader(["t"], {}))
    box = Box(last={Partition("t", 0): 1})

    Processor(Chain(), log, snapshots, SETTINGS, journal=journal, ports=Ports(dead_letters=box)).recover()

    assert box.kept == [b"bad 2"]


def test_stopped_while_dead_letters_cannot_be_kept_nothing_of_the_block_is_in_the_state() -> None:
    log, snapshots, learner = InMemoryLog(), InMemorySnapshots(), Chain()
    log.append("t", [event(0), Message(b"bad")])
    processors: list[Processor] = []

    class Stops(Box):
        def send(self, records: Records, rejected: Sequence[Any]) -> None:
            processors[0].stop()
            super().send(records, rejected)

    processor = Processor(learner, log, snapshots, SETTINGS, ports=Ports(dead_letters=Stops(refusals=99)))
    processors.append(processor)

    processor.run()

    assert learner.learned == []
    newest = snapshots.newest()
    assert newest is not None
    assert newest.manifest.offsets == {}


def test_records_deleted_by_retention_are_reported_and_the_rest_is_learned() -> None:
    log, snapshots, watcher, learner = log_of(4), InMemorySnapshots(), Watcher(), Chain()
    Processor(Chain(), log, snapshots, SETTINGS).run(until_end=True)
    log.append("t", [event(i) for i in range(4, 10)])
    log.delete_before("t", 7)

    Processor(learner, log, snapshots, SETTINGS, ports=Ports(observer=watcher)).run(until_end=True)

    assert ("lost", Gap(Partition("t", 0), 4, 6)) in watcher.calls
    assert learner.learned == [[7, 8, 9]]


def test_when_journalled_records_are_gone_it_says_so_and_goes_on_from_the_snapshot() -> None:
    log, snapshots, journal = log_of(4), InMemorySnapshots(), InMemoryJournal()
    Processor(Chain(), log, snapshots, SETTINGS, journal=journal).run(until_end=True)
    log.append("t", [event(i) for i in range(4, 10)])
    crashed = Processor(Chain(), log, snapshots, SETTINGS, journal=journal)
    crashed.recover()
    crashed._step(log.reader(["t"], crashed.position))
    log.delete_before("t", 6)
    learner, watcher = Chain(), Watcher()

    Processor(learner, log, snapshots, SETTINGS, journal=journal, ports=Ports(observer=watcher)).run(until_end=True)

    assert learner.learned == [[6, 7, 8, 9]]
    assert ("lost", Gap(Partition("t", 0), 4, 5)) in watcher.calls


def test_a_model_that_starts_at_the_latest_misses_nothing_that_comes_while_it_restarts() -> None:
    log, snapshots, learner = log_of(3), InMemorySnapshots(), Chain()
    settings = ProcessorSettings(**{**_fields(SETTINGS), "start": "latest"})
    Processor(Chain(), log, snapshots, settings).recover()  # and dies before the first event
    log.append("t", [event(3)])

    Processor(learner, log, snapshots, settings).run(until_end=True)

    assert learner.learned == [[3]]


def test_a_state_made_under_other_settings_is_refused_with_advice() -> None:
    snapshots = InMemorySnapshots()
    Processor(Chain(), log_of(3), snapshots, SETTINGS).run(until_end=True)
    other = ProcessorSettings(**{**_fields(SETTINGS), "config_sha256": "beef"})

    with pytest.raises(StateMismatch, match=r"model 'm'.*other settings.*another state_dir"):
        Processor(Chain(), log_of(3), snapshots, other).run(until_end=True)


def test_a_state_made_under_other_settings_is_refused_with_each_that_differs(tmp_path: Path) -> None:
    def settings(gamma: float, sha256: str) -> ProcessorSettings:
        identity = {"learner": "ridge", "params": {"gamma": gamma}}
        return SETTINGS.model_copy(update={"config_sha256": sha256, "identity": identity})

    Processor(Chain(), log_of(3), FolderSnapshots(tmp_path, keep=9), settings(1.0, "aa")).run(until_end=True)

    with pytest.raises(StateMismatch, match=r"other settings \(params.gamma: was 1.0, is 2.0\); give"):
        Processor(Chain(), log_of(3), FolderSnapshots(tmp_path, keep=9), settings(2.0, "bb")).run(until_end=True)


def test_a_state_that_the_learner_does_not_take_back_is_refused_with_its_reason_and_advice() -> None:
    class Updated(Chain):
        def restore(self, state: State) -> None:
            raise ValueError("state of other parameters: turn_events: expected 250, got none")

    snapshots = InMemorySnapshots()
    Processor(Chain(), log_of(3), snapshots, SETTINGS).run(until_end=True)

    with pytest.raises(
        StateMismatch, match=r"version \d+\) cannot be restored: .*expected 250, got none; give the model"
    ):
        Processor(Updated(), log_of(3), snapshots, SETTINGS).run(until_end=True)


@pytest.mark.parametrize("error", [KeyError("seen"), IndexError("list index"), TypeError("unexpected keyword")])
def test_a_state_of_which_a_part_is_missing_is_refused_likewise(error: Exception) -> None:
    class Older(Chain):
        def restore(self, state: State) -> None:
            raise error

    snapshots = InMemorySnapshots()
    Processor(Chain(), log_of(3), snapshots, SETTINGS).run(until_end=True)

    with pytest.raises(StateMismatch, match=rf"version \d+\) cannot be restored: {type(error).__name__}: "):
        Processor(Older(), log_of(3), snapshots, SETTINGS).run(until_end=True)


class Asked:
    """Commands, and their answers."""

    def __init__(self, *commands: tuple[str, dict[str, Any]]) -> None:
        self.waiting = [
            SimpleNamespace(id=str(number), verb=verb, arguments=more) for number, (verb, more) in enumerate(commands)
        ]
        self.answers: dict[str, Mapping[str, Any]] = {}

    def poll(self, model: str) -> list[Any]:
        waiting, self.waiting = self.waiting, []
        return waiting

    def respond(self, id: str, result: Mapping[str, Any]) -> None:
        self.answers[id] = result


def test_a_rollback_brings_back_the_state_under_a_new_number_and_keeps_the_position() -> None:
    log, snapshots, journal = log_of(4), InMemorySnapshots(), InMemoryJournal()
    Processor(Chain(), log, snapshots, SETTINGS, journal=journal).run(until_end=True)
    good = snapshots.newest()
    assert good is not None
    log.append("t", [event(i) for i in range(4, 8)])
    Processor(Chain(), log, snapshots, SETTINGS, journal=journal).run(until_end=True)
    asked, learner = Asked(("rollback", {"version": good.manifest.version}), ("rollback", {"version": 77})), Chain()

    Processor(learner, log, snapshots, SETTINGS, journal=journal, ports=Ports(commands=asked)).run(until_end=True)

    newest = snapshots.newest()
    assert newest is not None
    assert newest.manifest.version == 3
    assert newest.manifest.parent == good.manifest.version
    assert newest.manifest.state_sha256 == good.manifest.state_sha256
    assert newest.manifest.offsets == {Partition("t", 0): 7}
    assert learner.learned == []
    assert asked.answers["0"] == {"version": 3}
    assert asked.answers["1"]["error"] == "failed_precondition"
    assert "version 77 is not kept; kept: 0, 1, 2" in asked.answers["1"]["message"]
    rebuilt = rebuild(Chain, log, snapshots, journal, SETTINGS, 3)
    assert rebuilt.state_sha256 == newest.manifest.state_sha256


def test_a_rollback_to_a_version_made_under_other_settings_is_refused_before_it_is_journalled() -> None:
    log, snapshots, journal = log_of(4), InMemorySnapshots(), InMemoryJournal()
    Processor(Chain(), log, snapshots, SETTINGS, journal=journal).run(until_end=True)
    old = snapshots.load(0)
    snapshots.save(replace(old.manifest, config_sha256="beef"), old.parts)
    asked, entries = Asked(("rollback", {"version": 0})), list(journal.entries(0))

    Processor(Chain(), log, snapshots, SETTINGS, journal=journal, ports=Ports(commands=asked)).run(until_end=True)

    assert asked.answers["0"]["error"] == "failed_precondition"
    assert "(version 0) was made under other settings" in asked.answers["0"]["message"]
    assert list(journal.entries(0)) == entries


def test_a_snapshot_that_is_asked_for_is_there_when_the_answer_comes() -> None:
    log, snapshots, asked = log_of(4), InMemorySnapshots(), Asked(("snapshot", {}), ("dance", {}))
    Processor(Chain(), log, snapshots, SETTINGS, ports=Ports(commands=asked)).run(until_end=True)

    assert asked.answers["0"] == {"version": 0}
    assert asked.answers["1"]["error"] == "unimplemented"
    assert 0 in [kept.version for kept in snapshots.manifests()]


class _Refusing(InMemorySnapshots):
    """Keeps version 0 and then finds the disk full, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def save(self, manifest: Manifest, parts: Mapping[str, State], *which: int | None) -> Manifest:
        if manifest.version and self.times:
            self.times -= 1
            raise OSError(28, "No space left on device")
        return super().save(manifest, parts, *which)


def test_a_full_disk_while_saving_stops_no_learning_and_the_next_save_is_tried() -> None:
    log, snapshots, watcher, learner = log_of(30), _Refusing(1), Watcher(), Chain()
    settings = ProcessorSettings(**{**_fields(SETTINGS), "block_bytes": 300, "snapshot_events": 1})

    Processor(learner, log, snapshots, settings, ports=Ports(observer=watcher)).run(until_end=True)

    assert [name for name, _ in watcher.calls].count("snapshot failed") == 1
    newest = snapshots.newest()
    assert newest is not None
    assert newest.manifest.events_learned == 30


def test_a_state_folder_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(OSError, match="file"):
        Processor(Chain(), log_of(3), FolderSnapshots(tmp_path / "file" / "m"), SETTINGS).run(until_end=True)


def test_weights_and_missing_labels_reach_the_learner() -> None:
    log = InMemoryLog()
    log.append("t", [event(0, weight=2.5), Message(b'{"inputs": {"features": [1, 2]}}', time=1.0)])
    seen: list[Batch] = []

    class Keeps(Chain):
        def learn(self, batch: Batch) -> None:
            seen.append(batch)

    Processor(Keeps(), log, InMemorySnapshots(), SETTINGS).run(until_end=True)

    np.testing.assert_array_equal(seen[0].weights, [2.5, 1.0])
    assert seen[0].labels is not None
    np.testing.assert_array_equal(seen[0].labels.present, [True, False])


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_when_every_snapshot_is_damaged_the_journal_and_the_log_still_lead_to_the_state(
    tmp_path: Path, start: Any
) -> None:
    log, undisturbed = log_of(5), Chain()
    settings = ProcessorSettings(**{**_fields(SETTINGS), "start": start})

    def processor(learner: Chain) -> Processor:
        snapshots, journal = FolderSnapshots(tmp_path, keep=99), FileJournal(tmp_path / "journal")
        return Processor(learner, log, snapshots, settings, journal=journal)

    processor(undisturbed).run(until_end=True)
    log.append("t", [event(i) for i in range(5, 9)])
    processor(again := Chain()).run(until_end=True)
    expected = again.state().sha256()
    for path in tmp_path.glob("*/state.safetensors"):
        path.write_bytes(b"damaged")

    processor(recovered := Chain()).run(until_end=True)

    assert recovered.state().sha256() == expected


def test_a_log_out_of_reach_is_not_taken_for_one_that_has_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shown:
        confirmed = 0

        def publish(self, predictor: Any, **facts: Any) -> None: ...
        def shown(self) -> int | None: ...

        def confirm(self, as_of: float) -> None:
            self.confirmed += 1

    log, shown = log_of(3), Shown()
    processor = Processor(Chain(), log, InMemorySnapshots(), SETTINGS, ports=Ports(publisher=shown))
    reader = log.reader(["t"], {})
    assert processor._step(reader)
    confirmed = shown.confirmed

    monkeypatch.setattr(reader, "reached", lambda: False)
    assert not processor._step(reader)
    assert shown.confirmed == confirmed
    monkeypatch.undo()
    assert not processor._step(reader)
    assert shown.confirmed == confirmed + 1


def test_a_publisher_without_room_stops_no_learning() -> None:
    class Full:
        refusals = 1

        def publish(self, predictor: Any, *, version: int, learned_events: int, event_time: float) -> None:
            if version and self.refusals:
                self.refusals -= 1
                raise OSError(28, "No space left on device")
            self.version = version

        def shown(self) -> int | None: ...
        def confirm(self, as_of: float) -> None: ...

    publisher, learner = Full(), Chain()

    Processor(learner, log_of(5), InMemorySnapshots(), SETTINGS, ports=Ports(publisher=publisher)).run(until_end=True)

    assert len(learner.learned) == 2
    assert publisher.version == 1


class _Away(InMemoryLog):
    """A log that is out of reach until `back` is set: asked for a reader it refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.back = threading.Event()
        self.refusals = 0

    def reader(self, *arguments: Any, **more: Any) -> Any:
        if not self.back.is_set():
            self.refusals += 1
            raise LogError("out of reach")
        return super().reader(*arguments, **more)

    def bounds(self, topic: str) -> Any:
        if not self.back.is_set():
            self.refusals += 1
            raise LogError("out of reach")
        return super().bounds(topic)


class _Hanging(_Away):
    """A log that is out of reach until `back` is set: asked for anything it does not answer."""

    def reader(self, *arguments: Any, **more: Any) -> Any:
        self.refusals += 1
        assert self.back.wait(PATIENCE)
        return super().reader(*arguments, **more)

    def bounds(self, topic: str) -> Any:
        self.refusals += 1
        assert self.back.wait(PATIENCE)
        return super().bounds(topic)


def _until(true: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("kind", [_Away, _Hanging])
def test_while_the_log_is_away_what_was_saved_is_published_and_learning_goes_on_when_it_is_back(
    tmp_path: Path, kind: type[_Away]
) -> None:
    log, snapshots, journal = kind(), InMemorySnapshots(), InMemoryJournal()
    log.back.set()
    log.append("t", [event(i) for i in range(10)])
    Processor(Chain(), log, snapshots, SETTINGS, journal=journal).run(until_end=True)
    log.append("t", [event(i) for i in range(10, 14)])
    log.back.clear()
    log.refusals = 0
    publisher, learner = FilePublisher(tmp_path), Chain()
    processor = Processor(
        learner,
        log,
        snapshots,
        SETTINGS,
        journal=journal,
        ports=Ports(publisher=publisher, dead_letters=DeadLetters(log, "t", "m")),
        runtime=Runtime(clock=lambda: 100.0),
    )
    newest = snapshots.newest()
    assert newest is not None
    thread = threading.Thread(target=processor.run, daemon=True)
    thread.start()
    published = FileSubscriber(tmp_path, lambda state: ChainPredictor(int(state.tensors["events"][0])))

    _until(lambda: log.refusals)
    published.look()
    assert published.current is not None
    assert published.current.info.version == newest.manifest.version
    assert published.current.info.learned_events == 10
    assert published.current.info.as_of == newest.manifest.created  # it is as stale as the snapshot is old
    assert thread.is_alive()

    log.back.set()
    _until(lambda: learner.learned)
    processor.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert learner.learned == [[10, 11, 12, 13]]
    assert publisher.shown() == newest.manifest.version + 1
    publisher.close()


def test_stopped_while_the_log_is_away_it_ends_and_what_was_saved_stays(tmp_path: Path) -> None:
    log, snapshots = _Away(), InMemorySnapshots()
    log.back.set()
    log.append("t", [event(0)])
    Processor(Chain(), log, snapshots, SETTINGS).run(until_end=True)
    log.back.clear()
    log.refusals = 0
    processor = Processor(Chain(), log, snapshots, SETTINGS, ports=Ports(dead_letters=DeadLetters(log, "t", "m")))
    thread = threading.Thread(target=processor.run, daemon=True)
    thread.start()
    _until(lambda: log.refusals)

    processor.stop()
    thread.join(PATIENCE)

    assert not thread.is_alive()
    assert processor.events_learned == 1


def test_a_new_model_that_starts_at_the_latest_waits_for_a_log_that_is_away() -> None:
    log, learner = _Away(), Chain()
    log.back.set()
    log.append("t", [event(0)])
    log.back.clear()
    processor = Processor(learner, log, InMemorySnapshots(), SETTINGS.model_copy(update={"start": "latest"}))
    thread = threading.Thread(target=processor.run, daemon=True)
    thread.start()
    _until(lambda: log.refusals > 1)
    log.append("t", [event(1)])
    log.back.set()
    _until(lambda: processor._fold.end)

    log.append("t", [event(2)])
    _until(lambda: learner.learned)
    processor.stop()
    thread.join(PATIENCE)

    assert learner.learned == [[2]]


def test_a_restart_does_not_show_less_than_the_process_before_showed(tmp_path: Path) -> None:
    log, snapshots, journal = log_of(10), InMemorySnapshots(), InMemoryJournal()
    publisher = FilePublisher(tmp_path)
    first = Processor(Chain(), log, snapshots, SETTINGS, journal=journal, ports=Ports(publisher=publisher))
    with first.following() as turn:  # saves version 0, and dies before it saves again
        while turn():
            pass
    assert publisher.shown() == first.version > 0
    publisher.close()
    versions: list[int] = []

    class Heard(FilePublisher):
        def publish(self, predictor: Any, *, version: int, learned_events: int, event_time: float) -> None:
            versions.append(version)
            super().publish(predictor, version=version, learned_events=learned_events, event_time=event_time)

    again = Heard(tmp_path)
    Processor(Chain(), log, snapshots, SETTINGS, journal=journal, ports=Ports(publisher=again)).run(until_end=True)
    again.close()

    assert versions[0] == first.version


class SlowPublisher:
    """Takes a moment for each version, so that the next has to wait its turn."""

    def __init__(self) -> None:
        self.events: Queue[int] = Queue()

    def publish(self, predictor: Any, *, version: int, learned_events: int, event_time: float) -> None:
        time.sleep(0.01)
        self.events.put(learned_events)

    def shown(self) -> int | None:
        return None

    def confirm(self, as_of: float) -> None:
        """Nobody asks how fresh it is."""


def test_what_was_learned_last_is_shown_when_its_turn_comes_also_if_no_record_follows() -> None:
    log, publisher = log_of(0), SlowPublisher()
    settings = SETTINGS.model_copy(update={"idle_seconds": 3600, "publish_share": 0.02})  # a turn each half second
    processor = Processor(Chain(), log, InMemorySnapshots(), settings, ports=Ports(publisher=publisher))
    thread = threading.Thread(target=processor.run, daemon=True)  # it may be waiting for a record when the test ends
    thread.start()
    assert publisher.events.get(timeout=PATIENCE) == 0

    log.append("t", [event(0)])
    assert publisher.events.get(timeout=PATIENCE) == 1
    log.append("t", [event(1)])
    assert publisher.events.get(timeout=PATIENCE) == 2

    processor.stop()
    log.append("t", [event(2)])
    thread.join(PATIENCE)
    assert not thread.is_alive()


class _Full(InMemorySnapshots):
    """Saves the first version, and then nothing any more."""

    def save(self, manifest: Manifest, parts: Mapping[str, State], *which: int | None) -> Manifest:
        if manifest.version:
            raise OSError("the header is too large")
        return super().save(manifest, parts, *which)


def test_a_learner_that_could_not_save_at_the_end_says_so() -> None:
    with pytest.raises(
        NotSaved, match=r"version 1 could not be saved, the newest snapshot is of version 0: the header"
    ):
        Processor(Chain(), log_of(4), _Full(), SETTINGS).run(until_end=True)


def test_a_version_whose_entry_cannot_be_flushed_is_not_published() -> None:
    class Broken(InMemoryJournal):
        broken = True

        def sync(self) -> None:
            if self.broken and list(self.entries(self.begins_after() or 0)):
                raise OSError("Input/output error")

    shown: list[int] = []

    class Shown(SlowPublisher):
        def publish(self, predictor: Any, *, version: int, learned_events: int, event_time: float) -> None:
            shown.append(version)

    journal, log = Broken(), log_of(0)
    processor = Processor(Chain(), log, InMemorySnapshots(), SETTINGS, journal=journal, ports=Ports(publisher=Shown()))
    with processor.following() as turn:
        log.append("t", [event(0)])
        assert turn()
        assert shown == [0]
        journal.broken = False
        processor._publish(now=True)

    assert shown == [0, 1]


def test_what_was_learned_from_a_log_that_is_deleted_meanwhile_is_saved(tmp_path: Path) -> None:
    log, snapshots, shown = SqliteLog(tmp_path / "log.db"), InMemorySnapshots(), list[int]()

    class Shown(SlowPublisher):
        def publish(self, predictor: Any, *, version: int, learned_events: int, event_time: float) -> None:
            shown.append(version)
            if learned_events == 20:
                (tmp_path / "log.db").unlink()

    log.append("t", [event(number) for number in range(20)])
    processor = Processor(Chain(), log, snapshots, SETTINGS, ports=Ports(publisher=Shown()))
    with pytest.raises(LogReplaced):
        processor.run()
    log.close()

    newest = snapshots.newest()
    assert newest is not None
    assert (newest.manifest.version, newest.manifest.events_learned) == (shown[-1], 20)


class _Slow(Chain):
    """Takes a tenth of a second for each event, on a clock of its own."""

    def __init__(self, now: list[float]) -> None:
        super().__init__()
        self.now = now

    def learn(self, batch: Batch) -> None:
        self.now[0] += 0.1 * len(batch)
        super().learn(batch)


def test_what_is_slow_to_learn_is_saved_more_often_so_that_a_crash_costs_little_time() -> None:
    now, log, snapshots = [0.0], InMemoryLog(), InMemorySnapshots(keep=3)
    learner = _Slow(now)
    slow = Processor(learner, log, snapshots, SETTINGS, runtime=Runtime(ticks=lambda: now[0]))
    with slow.following() as turn:
        for number in range(40):
            log.append("t", [event(number)])
            turn()
            slow._saver.wait()

    # without a stop, so nothing is saved at the end: as if it were killed here
    lost = slow.events_learned - snapshots.manifests()[-1].events_learned
    assert slow.events_learned == 40
    assert lost * 0.1 < 0.6
    assert [one.events_learned for one in snapshots.manifests()][:-1] == [0, 20]  # and only the newest between
