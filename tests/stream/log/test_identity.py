"""A log that was deleted and created again beside an old state: nothing of it is skipped, and it is said."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.stream.chain import Chain
from tests.stream.learn.test_processor import SETTINGS, Watcher, event
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.proto.records import Partition
from thalweg.stream.journal.entries import Range
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn import blocks
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.rebuild import rebuild
from thalweg.stream.learn.saving.saving import NotSaved
from thalweg.stream.log.identity import diverged, replaced
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


def _older_copy(folder: Path) -> None:
    """Put back the copy of the log's file that was made before, as an operator does."""
    for beside in ("", "-wal", "-shm"):
        (folder / f"log.db{beside}").unlink(missing_ok=True)
    shutil.copy(folder / "backup.db", folder / "log.db")


def _copied(folder: Path) -> None:
    with (
        closing(sqlite3.connect(folder / "log.db")) as source,
        closing(sqlite3.connect(folder / "backup.db")) as target,
    ):
        source.backup(target)


@pytest.mark.parametrize("appended", [0, 5, 60], ids=["nothing since", "less than was read", "more than was read"])
def test_of_an_older_copy_that_is_put_back_nothing_is_learned_twice_and_what_is_new_once(
    tmp_path: Path, appended: int
) -> None:
    """Without ids in the events: no duplicate is dropped by them."""
    with closing(SqliteLog(tmp_path / "log.db")) as log:
        log.append("t", [event(i) for i in range(20)])
        _copied(tmp_path)
        log.append("t", [event(20 + i) for i in range(20)])
        before, _ = _run(log, tmp_path / "m")
    assert before.events_learned == 40
    _older_copy(tmp_path)
    with closing(SqliteLog(tmp_path / "log.db")) as log:
        if appended:
            log.append("t", [event(100 + i) for i in range(appended)])

        after, watcher = _run(log, tmp_path / "m")

        assert after.events_learned == 40 + appended
        assert ("replaced", "t") in watcher.calls
        log.append("t", [event(1000 + i) for i in range(7)])
        again, watcher = _run(log, tmp_path / "m")
        assert again.events_learned == 47 + appended
        assert watcher.calls == []


def test_a_state_that_was_not_saved_is_led_to_as_far_as_an_older_copy_of_the_log_goes(tmp_path: Path) -> None:
    with closing(SqliteLog(tmp_path / "log.db")) as log:
        log.append("t", [event(i) for i in range(20)])
        _run(log, tmp_path / "m")
        log.append("t", [event(20 + i) for i in range(8)])
        _run(log, tmp_path / "m", die=True)
        _copied(tmp_path)
        log.append("t", [event(28 + i) for i in range(20)])
        assert _run(log, tmp_path / "m", die=True)[0].events_learned == 48
    _older_copy(tmp_path)
    with closing(SqliteLog(tmp_path / "log.db")) as log:
        after, _ = _run(log, tmp_path / "m")  # does not wait for what is gone

        assert after.events_learned == 28


@pytest.mark.parametrize("appended", [3, 60], ids=["less than was read", "more than was read"])
def test_what_was_learned_after_the_newest_snapshot_and_is_gone_with_an_older_copy_is_told_as_lost(
    tmp_path: Path, appended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_ENDED_SECONDS", 0.5)
    with closing(SqliteLog(tmp_path / "log.db")) as log:
        log.append("t", [event(i) for i in range(20)])
        _run(log, tmp_path / "m")
        log.append("t", [event(20 + i) for i in range(8)])
        _copied(tmp_path)
        log.append("t", [event(28 + i) for i in range(20)])
        assert _run(log, tmp_path / "m", die=True)[0].events_learned == 48
    _older_copy(tmp_path)
    with closing(SqliteLog(tmp_path / "log.db")) as log, capture_logs() as logged:
        log.append("t", [event(100 + i) for i in range(appended)])

        after, watcher = _run(log, tmp_path / "m")

        assert after.events_learned == 28 + appended
        assert watcher.calls.count(("replaced", "t")) == 1
        (told,) = [line for line in logged if line["log_level"] == "error"]
        assert "gone from the log, as if an older copy of it was put back: what was learned of them" in told["event"]
        assert "lost" in told["event"]
        assert (told["read"], told["continues"]) == ({"t/0": 47}, {"t/0": 20})
        again, watcher = _run(log, tmp_path / "m")
        assert (again.state_sha256, watcher.calls) == (after.state_sha256, [])


def test_a_writer_that_begins_again_and_again_is_no_other_log(tmp_path: Path) -> None:
    for number in range(300):
        with closing(SqliteLog(tmp_path / "log.db")) as log:
            log.append("t", [event(number)])
            if number in (10, 299):
                processor, watcher = _run(log, tmp_path / "m")
                assert processor.events_learned == number + 1
                assert watcher.calls == []
    with closing(SqliteLog(tmp_path / "log.db")) as log:
        assert len(log.epochs("t")) == 256
        assert log.epochs("t")[-1][2] == 299
        assert log.identity("t") == FolderSnapshots(tmp_path / "m").manifests()[-1].log_identity["t"]


ONE, TWO, THREE = (1, "one", 0), (2, "two", 10), (3, "three", 20)


@pytest.mark.parametrize(
    ("read", "present", "following", "last", "expected"),
    [
        ([ONE, TWO], [ONE, TWO], 20, 19, None),
        ([ONE, TWO], [ONE, TWO, THREE], 30, 19, None),
        ([ONE, TWO], [ONE, TWO], 15, 19, 15),
        ([ONE, TWO, THREE], [ONE, TWO], 20, 25, 20),
        ([ONE, TWO, THREE], [ONE, TWO, (3, "other", 15)], 99, 25, 15),
        ([ONE, TWO, THREE], [ONE, (2, "other", 5)], 99, 25, 5),
        ([ONE], [ONE, (2, "other", 8)], 99, 7, None),
        ([TWO], [(300, "new", 5000)], 5001, 19, None),
        ([], [ONE], 5, 3, None),
        ([ONE], [], 5, 3, None),
    ],
)
def test_where_a_log_is_another_one_follows_from_the_epochs_that_both_have(
    read: list[tuple[int, str, int]],
    present: list[tuple[int, str, int]],
    following: int,
    last: int,
    expected: int | None,
) -> None:
    assert diverged(read, present, following, last) == expected
