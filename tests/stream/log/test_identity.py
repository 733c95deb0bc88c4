"""A log that was deleted and created again beside an old state: nothing of it is skipped, and it is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.stream.chain import Chain
from tests.stream.learn.test_processor import SETTINGS, Watcher, event
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.proto.records import Partition
from thalweg.stream.journal.entries import Range
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.rebuild import rebuild
from thalweg.stream.learn.saving.saving import NotSaved
from thalweg.stream.log.identity import replaced
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Log
from thalweg.stream.log.sqlite import SqliteLog


@pytest.fixture(params=["memory", "sqlite"])
def created(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Log]]:
    """Creates a log in the place of the one before, which is deleted."""
    opened: list[Log] = []

    def new() -> Log:
        if opened:
            opened[-1].close()
        shutil.rmtree(tmp_path / "log", ignore_errors=True)
        opened.append(InMemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log" / "log.db"))
        return opened[-1]

    yield new
    opened[-1].close()


class _Replaced(Watcher):
    def log_replaced(self, topic: str) -> None:
        self.calls.append(("replaced", topic))


def _run(log: Log, folder: Path, *, die: bool = False) -> tuple[Processor, _Replaced]:
    watcher = _Replaced()
    processor = Processor(
        Chain(),
        log,
        FolderSnapshots(folder),
        SETTINGS,
        journal=FileJournal(folder / "journal"),
        ports=Ports(observer=watcher),
    )
    if die:
        processor._saving.save = lambda **_: None  # type: ignore[method-assign]  # killed before it saved
    with suppress(NotSaved):
        processor.run(until_end=True)
    return processor, watcher


@pytest.mark.parametrize("count", [3, 10, 40])
@pytest.mark.parametrize("die", [False, True], ids=["saved", "in the journal"])
def test_every_event_of_a_log_that_was_created_again_is_learned(
    created: Callable[[], Log], tmp_path: Path, count: int, die: bool
) -> None:
    log = created()
    _run(log, tmp_path / "m")
    log.append("t", [event(i) for i in range(20)])
    before, _ = _run(log, tmp_path / "m", die=die)
    new = created()
    new.append("t", [event(100 + i) for i in range(count)])

    processor, watcher = _run(new, tmp_path / "m")

    assert processor.events_learned == (0 if die else before.events_learned) + count
    assert processor.position == {Partition("t", 0): count - 1}
    assert ("replaced", "t") in watcher.calls
    again, watcher = _run(new, tmp_path / "m")
    assert (again.events_learned, again.state_sha256) == (processor.events_learned, processor.state_sha256)
    assert watcher.calls == []


def test_a_topic_that_is_created_again_under_a_running_learner_is_learned_from_its_beginning(tmp_path: Path) -> None:
    log = InMemoryLog()
    log.append("t", [event(i) for i in range(20)])
    watcher, journal = _Replaced(), FileJournal(tmp_path / "m" / "journal")
    processor = Processor(
        Chain(), log, FolderSnapshots(tmp_path / "m"), SETTINGS, journal=journal, ports=Ports(observer=watcher)
    )
    with closing(journal), processor.following() as turn:
        while processor.events_learned < 20:
            turn()
        log.recreate("t")
        log.append("t", [event(100 + i) for i in range(30)])
        while processor.events_learned < 50:
            turn()

    assert processor.position == {Partition("t", 0): 29}
    assert ("replaced", "t") in watcher.calls
    again, watcher = _run(log, tmp_path / "m")  # killed before it saved: exact from the new topic alone
    assert (again.events_learned, again.state_sha256) == (50, processor.state_sha256)
    assert watcher.calls == []


def test_no_rebuild_crosses_from_one_log_to_the_other(created: Callable[[], Log], tmp_path: Path) -> None:
    log = created()
    log.append("t", [event(i) for i in range(20)])
    _run(log, tmp_path / "m")
    new = created()
    new.append("t", [event(100 + i) for i in range(20)])
    processor, _ = _run(new, tmp_path / "m")
    journal, snapshots = FileJournal(tmp_path / "m" / "journal", read_only=True), FolderSnapshots(tmp_path / "m")

    rebuilt = rebuild(Chain, new, snapshots, journal, SETTINGS, processor.version)

    assert rebuilt.state_sha256 == processor.state_sha256
    entries = list(journal.entries(journal.begins_after() or 0))
    assert [getattr(entry, "ranges", None) for entry in entries] == [(), (Range(Partition("t", 0), 0, 19, 20),)]


def test_a_manifest_without_identities_is_read_and_the_log_is_taken_for_the_same(
    created: Callable[[], Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = created()
    log.append("t", [event(i) for i in range(8)])
    with monkeypatch.context() as old:
        old.setattr(type(log), "identity", lambda self, topic: None)
        _run(log, tmp_path / "m")
    assert '"log_identity"' not in max((tmp_path / "m").glob("*/manifest.json")).read_text()

    log.append("t", [event(8)])
    processor, watcher = _run(log, tmp_path / "m")

    assert (processor.events_learned, watcher.calls) == (9, [])
    newest: Manifest = FolderSnapshots(tmp_path / "m").manifests()[-1]
    assert newest.log_identity == {"t": log.identity("t")}


def test_only_a_known_identity_that_changed_is_a_replacement() -> None:
    assert replaced({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4", "d": "5"}) == ["b"]
