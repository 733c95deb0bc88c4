"""The journal: what was appended is read back, torn ends are cut, what no snapshot needs goes."""

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thalweg.proto.records import Partition
from thalweg.stream.journal.entries import BlockEntry, Entry, ForgettingEntry, Range, ResetEntry, RollbackEntry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import InMemoryJournal, Journal, JournalError


def entry(version: int) -> Entry:
    if version % 5 == 0:
        return RollbackEntry(version, version - 3, "operator")
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


def test_an_entry_that_could_not_be_flushed_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = FileJournal(tmp_path, sync_seconds=0)
    journal.append(entry(1))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", _broken_disk)
        with pytest.raises(OSError, match="Input/output error"):
            journal.append(entry(2))
    journal.append(entry(2))
    journal.close()

    assert list(journal.entries(after=0)) == [entry(1), entry(2)]


def test_what_could_not_be_cut_off_at_once_is_cut_off_before_the_next_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = FileJournal(tmp_path, sync_seconds=0)
    journal.append(entry(1))
    journal.close()
    file = _NoTruncate(tmp_path / "0.log")
    monkeypatch.setattr(journal, "_file", file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", _broken_disk)
        with pytest.raises(OSError, match="Input/output error"):
            journal.append(entry(2))
    file.refuses = False
    journal.append(entry(2))
    journal.close()

    assert list(journal.entries(after=0)) == [entry(1), entry(2)]


def _broken_disk(_: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


class _NoTruncate(io.FileIO):
    refuses = True

    def __init__(self, path: Path) -> None:
        super().__init__(path, "ab")

    def truncate(self, size: int | None = None) -> int:
        if self.refuses:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().truncate(size)
