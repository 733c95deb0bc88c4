"""A disk that is full, flips bits in the journal, or loses the state folder under a process that learns."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.stream.chain import Chain
from tests.stream.learn.test_processor import event
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.proto.records import Partition
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import JournalError
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.saving.saving import NotSaved
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Log, LogError, Message
from thalweg.stream.log.sqlite import SqliteLog

SETTINGS = ProcessorSettings(
    model="m",
    topic="t",
    batch_events=4,
    batch_seconds=0,
    idle_seconds=0,
    snapshot_events=1000,
    snapshot_seconds=1e9,
    block_bytes=200,  # about four events
)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda handle: None)


class _Full(FolderSnapshots):
    """Of a disk without room for another snapshot."""

    def save(self, manifest: Manifest, parts: Mapping[str, State], *which: int | None) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def processor(log: Log, folder: Path, snapshots: type[FolderSnapshots] = FolderSnapshots) -> Processor:
    journal = FileJournal(folder / "m" / "journal")
    return Processor(Chain(), log, snapshots(folder / "m"), SETTINGS, journal=journal, make=Chain)


def ended_unsaved(folder: Path) -> tuple[InMemoryLog, str]:
    """A log, a folder with a snapshot and a journal of several blocks behind it, and the hash of the final state."""
    log = InMemoryLog()
    log.append("t", [event(number) for number in range(12)])
    processor(log, folder).run(until_end=True)
    log.append("t", [event(number) for number in range(12, 28)])
    ending = processor(log, folder, _Full)
    with pytest.raises(NotSaved, match="No space left"):
        ending.run(until_end=True)
    return log, ending.state_sha256


@pytest.mark.slow
def test_whichever_byte_of_a_journal_is_flipped_the_same_state_is_reached_from_log_and_snapshot(tmp_path: Path) -> None:
    log, whole = ended_unsaved(tmp_path / "first")
    (journal,) = (tmp_path / "first" / "m" / "journal").glob("*.log")
    content = journal.read_bytes()
    assert content.count(b"\n") >= 4

    for place in range(len(content)):
        folder = tmp_path / "again"
        shutil.copytree(tmp_path / "first", folder)
        damaged = bytes([*content[:place], content[place] ^ 1 << place % 8, *content[place + 1 :]])
        (folder / "m" / "journal" / journal.name).write_bytes(damaged)

        again = processor(log, folder)
        again.run(until_end=True)

        assert again.state_sha256 == whole, f"byte {place}"
        shutil.rmtree(folder)


def test_a_full_disk_refuses_an_append_whole_and_the_log_goes_on_once_there_is_room(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.append("t", [Message(b"before")])
    (pages,) = log._connection.execute("PRAGMA page_count").fetchone()
    log._connection.execute(f"PRAGMA max_page_count = {pages + 2}")  # as a disk with room for two pages

    with pytest.raises(LogError, match="full"):
        log.append("t", [Message(b"x" * 3000)] * 50)
    assert log.bounds("t") == {Partition("t", 0): (0, 1)}
    log._connection.execute("PRAGMA max_page_count = 1000000")
    log.append("t", [Message(b"after")])

    reader = log.reader(["t"], {})
    assert [value for run in reader.poll(1.0) for value in run.values] == [b"before", b"after"]
    reader.close()
    log.close()


def test_a_learner_whose_state_folder_is_removed_says_so_and_its_successor_learns_everything_once(
    tmp_path: Path,
) -> None:
    log = InMemoryLog()
    log.append("t", [event(number) for number in range(12)])
    learning = processor(log, tmp_path)
    with learning.following() as turn:
        while turn():
            pass
        shutil.rmtree(tmp_path / "m")
        log.append("t", [event(number) for number in range(12, 24)])
        with pytest.raises(JournalError, match="its file was deleted while it was open"):
            turn()
    learning._journal.close()

    again = processor(log, tmp_path)
    again.run(until_end=True)

    whole = processor(log, tmp_path / "whole")
    whole.run(until_end=True)
    assert (again.events_learned, again.state_sha256) == (24, whole.state_sha256)
