"""The journal: what was appended is read back, torn ends are cut, what no snapshot needs goes."""

import errno
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ops.simulate.test_disk import Plan
from tests.services.processes import PATIENCE
from thalweg.memory.snapshots.state import State
from thalweg.ops.simulate.disk import FaultyDisk
from thalweg.proto.records import Partition
from thalweg.stream.journal import file_journal
from thalweg.stream.journal.entries import (
    AveragingEntry,
    BlockEntry,
    Entry,
    ForgettingEntry,
    Range,
    ResetEntry,
    RollbackEntry,
    Skip,
    from_line,
    to_line,
)
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import InMemoryJournal, Journal, JournalError


def entry(version: int) -> Entry:
    if version % 5 == 0:
        return RollbackEntry(version, version - 3, "operator")
    if version % 5 == 1:
        mixed = State({"weight": np.array([version * 1.5])}, {"of": version})
        return AveragingEntry(version, mixed.sha256(), 2.5, ((1, 7), (3, 9)), mixed)
    if version % 5 == 2:
        return ResetEntry(version, "drift")
    if version % 5 == 4:
        return ForgettingEntry(version, 2.5, 1000 + version, "drift")
    first = 10 * version
    return BlockEntry(version, (Range(Partition("événements", 0), first, first + 9, 8),), 64)


@pytest.fixture(params=["memory", "files"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Journal]]:
    """A journal as a new process finds it; in memory there is only the one."""
    memory = InMemoryJournal()
    opened: list[Journal] = []

    def reopen() -> Journal:
        opened.append(memory if request.param == "memory" else FileJournal(tmp_path / "journal"))
        return opened[-1]

    yield reopen
    for journal in opened:
        journal.close()


def test_what_was_appended_is_there_for_the_next_process(reopened: Callable[[], Journal]) -> None:
    journal = reopened()
    for version in range(1, 8):
        journal.append(entry(version))

    found = list(reopened().entries(after=0))

    assert found == [entry(version) for version in range(1, 8)]
    assert list(reopened().entries(after=5)) == [entry(6), entry(7)]
    assert reopened().begins_after() == 0


def test_a_cut_forgets_what_no_kept_snapshot_needs(reopened: Callable[[], Journal]) -> None:
    journal = reopened()
    for version in range(1, 31):
        journal.append(entry(version))
        if version % 10 == 0:
            journal.cut(version, oldest_kept=version - 10)

    assert journal.begins_after() == 20
    assert [e.version for e in reopened().entries(after=20)] == list(range(21, 31))
    journal.append(entry(31))
    assert [e.version for e in reopened().entries(after=29)] == [30, 31]


@pytest.mark.parametrize("at", [0, 4, 7, 10, 12])
def test_truncating_forgets_what_is_above_and_appending_goes_on_there(reopened: Callable[[], Journal], at: int) -> None:
    journal = reopened()
    for version in range(1, 13):
        journal.append(entry(version))
        if version == 7:
            journal.cut(7, oldest_kept=0)

    journal.truncate(at)
    journal.append(entry(at + 1))

    assert [e.version for e in reopened().entries(after=0)] == list(range(1, at + 2))


def block(version: int, *skipped: int) -> BlockEntry:
    place = Partition("t", 0)
    skips = tuple(Skip(place, offset, None if offset % 2 else 3, f"ValueError: {offset} é") for offset in skipped)
    return BlockEntry(version, (Range(place, 10 * version, 10 * version + 9, 10),), 64, skips)


def test_an_amended_block_takes_the_place_of_the_first_wherever_it_stands(reopened: Callable[[], Journal]) -> None:
    journal = reopened()
    for one in (block(1), block(2), block(3), block(2, 21), block(4), block(4, 42, 43), block(2, 21, 22)):
        journal.append(one)

    assert list(reopened().entries(after=0)) == [block(1), block(2, 21, 22), block(3), block(4, 42, 43)]
    assert list(reopened().entries(after=2)) == [block(3), block(4, 42, 43)]
    assert list(reopened().entries(after=4)) == []


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_truncated_at_any_version_a_journal_with_amended_blocks_goes_on(
    reopened: Callable[[], Journal], at: int
) -> None:
    journal = reopened()
    for one in (block(1), block(2), block(3), block(2, 21), block(4), block(4, 41), block(5)):
        journal.append(one)

    journal.truncate(at)
    journal.append(block(at + 1, 99))

    versions = [entry.version for entry in reopened().entries(after=0)]
    assert versions == list(range(1, at + 2))


def test_a_block_amended_after_a_cut_stays_with_the_entries_behind_it(reopened: Callable[[], Journal]) -> None:
    journal = reopened()
    for version in range(1, 9):
        journal.append(block(version))
    journal.cut(5, oldest_kept=2)  # a model that stands still at version 5 was saved
    journal.append(block(6, 61))
    journal.cut(5, oldest_kept=5)

    assert list(reopened().entries(after=5)) == [block(6, 61), block(7), block(8)]


def test_the_entries_before_a_damaged_line_are_read(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    for version in range(1, 4):
        journal.append(block(version))
    journal.close()
    lines = (tmp_path / "0.log").read_bytes().splitlines(keepends=True)
    (tmp_path / "0.log").write_bytes(lines[0] + lines[1] + b"#" + lines[2])

    read = FileJournal(tmp_path).entries(after=0)

    assert [next(read), next(read)] == [block(1), block(2)]
    with pytest.raises(JournalError, match=r"0\.log:3"):
        next(read)


def test_lines_of_a_journal_from_before_skips_are_read() -> None:
    line = to_line(block(7))

    assert b"skipped" not in line
    assert from_line(line) == block(7)


def test_a_restarted_journal_has_forgotten_everything_and_goes_on_after_that_version(
    reopened: Callable[[], Journal],
) -> None:
    journal = reopened()
    for version in range(1, 8):
        journal.append(entry(version))
        if version == 4:
            journal.cut(4, 0)

    journal.restart(20)

    assert (reopened().begins_after(), list(reopened().entries(20))) == (20, [])
    journal.append(entry(21))
    assert list(reopened().entries(20)) == [entry(21)]


def test_a_missing_entry_is_an_error(reopened: Callable[[], Journal]) -> None:
    journal = reopened()
    journal.append(entry(1))
    journal.append(entry(3))

    with pytest.raises(JournalError, match="expected the entry of version 2, got 3"):
        list(reopened().entries(after=0))


def test_however_the_last_line_is_torn_the_entries_before_it_stand(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.append(entry(1))
    whole = (tmp_path / "0.log").read_bytes()
    journal.append(entry(2))
    journal.close()
    both = (tmp_path / "0.log").read_bytes()

    for cut in range(len(whole), len(both)):
        (tmp_path / "0.log").write_bytes(both[:cut])
        journal = FileJournal(tmp_path)
        assert list(journal.entries(after=0)) == [entry(1)]
        journal.append(entry(2))
        assert list(journal.entries(after=0)) == [entry(1), entry(2)]
        journal.close()


def test_a_flipped_bit_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.append(entry(1))
    journal.append(entry(2))
    journal.close()
    damaged = bytearray((tmp_path / "0.log").read_bytes())
    damaged[20] ^= 4
    (tmp_path / "0.log").write_bytes(damaged)

    with pytest.raises(JournalError, match=r"0\.log:1: checksum"):
        list(FileJournal(tmp_path).entries(after=0))


def test_a_reader_beside_the_writer_sees_whole_lines_only(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.append(entry(1))
    journal.close()
    with (tmp_path / "0.log").open("ab") as file:
        file.write(b"0123")

    assert list(FileJournal(tmp_path, read_only=True).entries(after=0)) == [entry(1)]
    assert (tmp_path / "0.log").read_bytes().endswith(b"0123")


NEARLY_FULL = """
import resource, signal, sys
from pathlib import Path
from tests.stream.journal.test_journal import entry
from thalweg.stream.journal.file_journal import FileJournal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit is then short, or an error, as on a full disk
folder, room = Path(sys.argv[1]), int(sys.argv[2])
journal = FileJournal(folder)
journal.append(entry(1))
before = (folder / "0.log").read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, resource.RLIM_INFINITY))
try:
    journal.append(entry(2))
except OSError as error:
    print("refused")
assert (folder / "0.log").read_bytes() == before
assert list(journal.entries(after=0)) == [entry(1)]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append(entry(2))
journal.append(entry(3))
journal.close()
"""


@pytest.mark.parametrize("room", [0, 1, 20])
def test_a_full_disk_is_an_error_and_the_journal_goes_on_once_there_is_space(tmp_path: Path, room: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NEARLY_FULL, tmp_path, str(room)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("refused\n", "")
    assert list(FileJournal(tmp_path).entries(after=0)) == [entry(1), entry(2), entry(3)]


@pytest.mark.parametrize("first", ["append", "sync"])
def test_what_a_failed_flush_lost_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    journal = FileJournal(tmp_path)
    journal.append(entry(1))
    journal.sync()
    size = (tmp_path / "0.log").stat().st_size
    journal.append(entry(2))

    def lose(handle: int) -> None:
        """As Linux does: the error comes once, and the pages count as clean although nothing was written."""
        os.truncate(tmp_path / "0.log", size)
        os.truncate(tmp_path / "0.log", size + len(to_line(entry(2))))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lose)
        with pytest.raises(OSError, match="Input/output error"):
            journal.sync()
    if first == "append":
        journal.append(entry(3))
    journal.sync()

    assert list(journal.entries(after=0)) == [entry(1), entry(2), *([entry(3)] if first == "append" else [])]
    journal.close()


def test_what_could_not_be_cut_off_at_once_is_cut_off_before_the_next_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = FileJournal(tmp_path)
    journal.append(entry(1))
    journal.close()
    file = _Torn(tmp_path / "0.log")
    monkeypatch.setattr(journal, "_file", file)

    with pytest.raises(OSError, match="Input/output error"):
        journal.append(entry(2))
    file.refuses = False
    journal.append(entry(2))
    journal.close()

    assert list(journal.entries(after=0)) == [entry(1), entry(2)]


class _Torn(io.FileIO):
    """Takes a part of a line, and can then not be truncated."""

    refuses = True

    def __init__(self, path: Path) -> None:
        super().__init__(path, "ab")

    def write(self, line: Any, /) -> int:
        if self.refuses:
            super().write(bytes(line[:9]))
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(line)

    def truncate(self, size: int | None = None) -> int:
        if self.refuses:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().truncate(size)


def test_a_flush_in_the_background_is_done_before_a_sync_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, plain = threading.Event(), threading.Event(), os.fdatasync
    flushed: list[int] = []

    def slow(handle: int) -> None:
        begun.set()
        assert go.wait(PATIENCE)
        plain(handle)
        flushed.append(os.fstat(handle).st_size)

    monkeypatch.setattr(os, "fdatasync", slow)
    journal = FileJournal(tmp_path)
    journal.append(entry(1))
    journal.begin_sync()
    assert begun.wait(PATIENCE)
    journal.append(entry(2))  # not held up by the flush
    go.set()
    journal.sync()

    assert flushed[-1] == len(to_line(entry(1)) + to_line(entry(2)))
    journal.close()


class TestDamage:
    """What of a journal with a damaged line is read, by the version from which it is read."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Entries 1 to 10 in segments of five, of which the line of version 4 is damaged."""
        journal = FileJournal(tmp_path)
        for version in range(1, 11):
            if version == 6:
                journal.cut(5, 0)
            journal.append(entry(version))
        journal.close()
        lines = (tmp_path / "0.log").read_bytes().splitlines(keepends=True)
        lines[3] = lines[3].replace(b"forgetting", b"forgettinG")
        (tmp_path / "0.log").write_bytes(b"".join(lines))
        return tmp_path

    @pytest.mark.parametrize("after", range(11))
    def test_entries_after_the_damage_are_read_and_none_across_it(self, folder: Path, after: int) -> None:
        journal = FileJournal(folder)

        if after < 4:
            with pytest.raises(JournalError, match=r"0\.log:4: checksum"):
                list(journal.entries(after))
        else:
            assert list(journal.entries(after)) == [entry(version) for version in range(after + 1, 11)]

    def test_truncating_before_the_damage_keeps_a_copy_and_the_journal_goes_on(self, folder: Path) -> None:
        damaged = (folder / "0.log").read_bytes()
        journal = FileJournal(folder)

        journal.truncate(3)
        journal.append(entry(4))
        journal.close()

        assert (folder / "0.log.damaged").read_bytes() == damaged
        assert list(FileJournal(folder).entries(0)) == [entry(version) for version in range(1, 5)]


@pytest.mark.parametrize("name", ["99999.log", "²5.log", "007.log", "-1.log", "1e3.log", "7", "1" * 30 + ".log"])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_strangers_in_the_folder_are_no_part_of_the_journal(tmp_path: Path, name: str, kind: str) -> None:
    journal = FileJournal(tmp_path / "journal")
    for version in (1, 2):
        journal.append(entry(version))
    journal.close()
    stranger = tmp_path / "journal" / name
    if kind == "file":
        stranger.write_bytes(b"")
    elif kind == "folder":
        stranger.mkdir()
    else:
        stranger.symlink_to("0.log")

    journal = FileJournal(tmp_path / "journal")
    assert list(journal.entries(0)) == [entry(1), entry(2)]
    journal.append(entry(3))
    journal.close()
    assert list(FileJournal(tmp_path / "journal").entries(0)) == [entry(1), entry(2), entry(3)]
    journal.truncate(1)
    assert list(FileJournal(tmp_path / "journal").entries(0)) == [entry(1)]


def test_on_a_full_disk_entries_can_be_removed_and_the_next_one_takes_their_place(tmp_path: Path) -> None:
    plan = Plan()
    journal = FileJournal(tmp_path)
    with closing(journal), FaultyDisk(tmp_path, plan).in_force():
        for version in range(1, 4):
            journal.append(entry(version))
        journal.sync()
        plan.left = 0  # nothing can be written any more
        journal.truncate(2)
        plan.left = 1 << 30
        journal.append(RollbackEntry(3, 1, "operator"))

        assert list(journal.entries(0)) == [entry(1), entry(2), RollbackEntry(3, 1, "operator")]


def _refused(*_: object) -> None:
    raise OSError("Input/output error")


def test_an_entry_whose_removal_failed_is_removed_before_the_next_one_of_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(FileJournal(tmp_path)) as journal:
        journal.append(entry(1))
        journal.append(RollbackEntry(2, 1, "operator"))
        with monkeypatch.context() as patch:
            patch.setattr(file_journal, "keep_whole", _refused)
            with pytest.raises(OSError, match="Input/output error"):
                journal.truncate(1)
        journal.append(entry(2))

        assert list(journal.entries(0)) == [entry(1), entry(2)]
