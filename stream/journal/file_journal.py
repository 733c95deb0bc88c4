"""The journal on disk: one line per entry, in segments that begin at a snapshot.

A segment that no snapshot needs can be deleted as a file. A line torn by a crash had no visible effect: it is cut off.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import structlog

from thalweg.memory.snapshots.state import sync_folder
from thalweg.stream.journal.entries import Entry, from_line, to_line
from thalweg.stream.journal.journal import JournalError, consecutive

log = structlog.get_logger(__name__)


class FileJournal:
    """A journal of segment files in a folder, each named after the version that it begins after.

    An appended entry survives the death of the process at once, and a power cut after `sync`, which the journal runs
    once `sync_seconds` have passed since the last time. After a power cut, the most recent blocks may be cut
    differently; each event is still learned exactly once. `read_only`: for reading while another process writes.
    """

    def __init__(
        self,
        folder: Path,
        sync_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        read_only: bool = False,
    ) -> None:
        self._folder = folder
        self._sync_seconds = sync_seconds
        self._clock = clock
        self._file: IO[bytes] | None = None
        self._synced = clock()
        self._torn_at: int | None = None
        self._fresh_segment = False
        self._read_only = read_only
        if read_only:
            return
        folder.mkdir(parents=True, exist_ok=True)
        segments = self._segments()
        if segments:
            _cut_torn_line(self._path(segments[-1]))

    def append(self, entry: Entry) -> None:
        file = self._file or self._open(entry.version - 1)
        if self._torn_at is not None:
            file.truncate(self._torn_at)
            self._torn_at = None
        end = file.seek(0, os.SEEK_END)
        try:
            _write_whole(file, to_line(entry))
            if self._clock() - self._synced >= self._sync_seconds:
                self.sync()
        except OSError:
            self._torn_at = end  # the next append truncates it if truncating fails here
            file.truncate(end)
            self._torn_at = None
            raise

    def entries(self, after: int) -> Iterator[Entry]:
        return consecutive((e for e in self._all(after) if e.version > after), after, str(self._folder))

    def begins_after(self) -> int | None:
        segments = self._segments()
        return segments[0] if segments else None

    def sync(self) -> None:
        if self._file is not None:
            os.fdatasync(self._file.fileno())
        self._synced = self._clock()

    def cut(self, version: int, oldest_kept: int) -> None:
        self.close()
        self._fresh_segment = True
        segments = self._segments()
        for begin, following in itertools.pairwise(segments):
            if following <= oldest_kept:
                self._path(begin).unlink()

    def truncate(self, version: int) -> None:
        self.close()
        for begin in reversed(self._segments()):
            path = self._path(begin)
            if begin >= version:
                path.unlink()
                continue
            kept = b"".join(to_line(entry) for entry in _read(path) if entry.version <= version)
            os.truncate(path, len(kept))
            break
        sync_folder(self._folder)

    def restart(self, version: int) -> None:
        self.close()
        for begin in reversed(self._segments()):  # what a crash leaves of them has no holes
            self._path(begin).unlink()
        self._path(version).touch()
        self._fresh_segment = False
        sync_folder(self._folder)

    def close(self) -> None:
        if self._file is not None:
            self.sync()
            if self._torn_at is not None:
                self._file.truncate(self._torn_at)
                self._torn_at = None
            self._file.close()
            self._file = None

    def _open(self, begin: int) -> IO[bytes]:
        segments = self._segments()
        if segments and not self._fresh_segment:
            begin = segments[-1]
        self._file = self._path(begin).open("ab", buffering=0)  # the written entries are in the kernel's buffers
        self._fresh_segment = False
        sync_folder(self._folder)
        return self._file

    def _segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("*.log") if path.stem.isdigit())

    def _path(self, begin: int) -> Path:
        return self._folder / f"{begin}.log"

    def _all(self, after: int) -> Iterator[Entry]:
        segments = self._segments()
        for begin, following in zip(segments, [*segments[1:], None]):
            if following is None or following > after:
                yield from _read(self._path(begin), torn_end=self._read_only)


def _write_whole(file: IO[bytes], line: bytes) -> None:
    """Write the whole line: a nearly full disk writes a part, and reports that only by the returned count."""
    left = memoryview(line)
    while left:
        taken = file.write(left)
        if not taken:
            raise OSError(errno.ENOSPC, f"none of {len(left)} bytes was written", file.name)
        left = left[taken:]


def _read(path: Path, *, torn_end: bool = False) -> Iterator[Entry]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if torn_end and not line.endswith(b"\n"):
                return  # the writer is at it
            try:
                yield from_line(line)
            except (ValueError, KeyError) as error:
                raise JournalError(f"{path}:{number}: {error}") from error


def _cut_torn_line(path: Path) -> None:
    """Cut off what a crash left half written at the end; damage anywhere before stays, to be found on reading."""
    with path.open("r+b") as file:
        end = 0
        for line in file:
            if not line.endswith(b"\n"):
                log.warning("journal: truncated a torn last line", file=str(path), bytes=len(line))
                file.truncate(end)
                return
            end += len(line)
