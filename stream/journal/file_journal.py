"""The journal on disk: one line per entry, in segments that begin at a snapshot.

A segment that no snapshot needs can be deleted as a file. A line torn by a crash had no visible effect: it is cut off.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import structlog

from thalweg.memory.files import file_id, flush, flush_file, make_folder, sync_folder
from thalweg.memory.kept_folders import FolderMoved
from thalweg.stream.journal.attachments import remove_attachments, with_attachments, write_attachment
from thalweg.stream.journal.entries import Entry, is_amendment, to_line
from thalweg.stream.journal.journal import JournalError, consecutive
from thalweg.stream.journal.segments import cut_torn_line, keep_whole, newest_in, path_of, read_segments, segments

log = structlog.get_logger(__name__)


class FileJournal:
    """A journal of segment files in a folder, each named after the version that it begins after.

    An appended entry survives the death of the process at once, and a power cut after `sync`. `begin_sync` lets a
    thread of the journal do that while the caller goes on; one flush covers everything appended until it starts.
    Entries that nobody waits for are flushed once `sync_seconds` have passed.

    Args:
        folder: Holds the segments; created if needed.
        sync_seconds: See above.
        clock: Monotonic seconds.
        beside: Runs a flush beside the caller; None: in a thread of the journal.
        read_only: For reading while another process writes.
    """

    def __init__(
        self,
        folder: Path,
        sync_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        beside: Callable[[Callable[[], None]], None] | None = None,
        read_only: bool = False,
    ) -> None:
        self._folder = folder
        self._beside = beside
        self._sync_seconds = sync_seconds
        self._clock = clock
        self._file: IO[bytes] | None = None
        self._torn_at: int | None = None
        self._fresh_segment = False
        self._newest: int | None = None
        self._read_only = read_only
        self._flushing = threading.Lock()  # one flush at a time, and the file stays open meanwhile
        self._unsynced: deque[bytes] = deque()  # lines of the open file that are not on disk yet
        self._synced_end = 0  # of the open file
        self._synced = clock()
        self._failed = False  # a flush failed: the kernel may have dropped the unsynced lines
        self._wanted = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        if read_only:
            return
        make_folder(folder)
        found = segments(folder)
        if found:
            cut_torn_line(path_of(folder, found[-1]))
        for begin in found:  # what a killed process wrote is read, and its effect shown: it must be on disk first
            flush_file(path_of(folder, begin))

    def append(self, entry: Entry) -> None:
        if self._newest is not None and entry.version <= self._newest and not is_amendment(entry):
            self.truncate(entry.version - 1)  # an entry that was to be removed, when the disk refused that
        file = self._file or self._open(entry.version - 1)
        self._must_be_there(file)
        if self._failed:
            with self._flushing:
                self._write_again(file)
        if self._torn_at is not None:
            file.truncate(self._torn_at)
            self._torn_at = None
        write_attachment(self._folder, entry)
        end, line = file.seek(0, os.SEEK_END), to_line(entry)
        try:
            _write_whole(file, line)
        except OSError:
            self._torn_at = end  # the next append truncates it if truncating fails here
            file.truncate(end)
            self._torn_at = None
            raise
        self._unsynced.append(line)
        self._newest = max(entry.version, self._newest or 0)
        if self._clock() - self._synced >= self._sync_seconds:
            self.begin_sync()

    def entries(self, after: int) -> Iterator[Entry]:
        lines = read_segments(self._folder, after, torn_end=self._read_only)
        return with_attachments(self._folder, consecutive(lines, after, str(self._folder)))

    def begins_after(self) -> int | None:
        found = segments(self._folder)
        return found[0] if found else None

    def begin_sync(self) -> None:
        if not self._unsynced:
            return
        if self._beside is not None:
            self._beside(self._flush_if_possible)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._flush_when_wanted, name="journal", daemon=True)
            self._thread.start()
        self._wanted.set()

    def sync(self) -> None:
        with self._flushing:
            if self._file is not None and self._failed:
                self._write_again(self._file)
            self._flush()

    def cut(self, version: int, oldest_kept: int) -> None:
        self._close_file()
        self._fresh_segment = True
        for begin, following in itertools.pairwise(segments(self._folder)):
            if following <= oldest_kept:
                path_of(self._folder, begin).unlink()
        oldest = next(iter(segments(self._folder)), 0)
        remove_attachments(self._folder, lambda at: at <= oldest)  # of lines that are gone

    def truncate(self, version: int) -> None:
        self._close_file()
        removed = False
        for begin in reversed(segments(self._folder)):
            path = path_of(self._folder, begin)
            if begin < version or begin == 0:
                keep_whole(path, version)
                break
            path.unlink()
            removed = True
        self._newest = None
        remove_attachments(self._folder, lambda at: at > version)
        if removed:
            sync_folder(self._folder)

    def restart(self, version: int) -> None:
        self._close_file()
        for begin in reversed(segments(self._folder)):  # what a crash leaves of them has no holes
            path_of(self._folder, begin).unlink()
        remove_attachments(self._folder, lambda at: True)
        path_of(self._folder, version).touch()
        self._fresh_segment, self._newest = False, None
        sync_folder(self._folder)

    def close(self) -> None:
        if self._thread is not None:
            self._closing = True
            self._wanted.set()
            self._thread.join()
            self._thread, self._closing = None, False
        self._close_file()

    def _must_be_there(self, file: IO[bytes]) -> None:
        """Raise JournalError if the open file was deleted, FolderMoved if it is not the one at its path."""
        opened = os.fstat(file.fileno())
        if opened.st_nlink == 0:
            raise JournalError(f"journal {self._folder}: its file was deleted while it was open; what it held is lost")
        if file_id(Path(file.name)) != (opened.st_dev, opened.st_ino):
            raise FolderMoved(self._folder)

    def _open(self, begin: int) -> IO[bytes]:
        found = segments(self._folder)
        if found and not (self._fresh_segment and self._newest_in(found[-1]) <= begin):
            begin = found[-1]  # also for an amended block with later entries: a segment begins after all before it
        # unbuffered: a written entry is with the kernel
        file = path_of(self._folder, begin).open("ab", buffering=0)
        try:
            sync_folder(self._folder)
        except BaseException:
            file.close()
            raise
        self._synced_end = file.seek(0, os.SEEK_END)
        self._file, self._fresh_segment = file, False
        return file

    def _newest_in(self, begin: int) -> int:
        if self._newest is None:
            self._newest = newest_in(path_of(self._folder, begin), begin)
        return self._newest

    def _close_file(self) -> None:
        if self._file is not None:
            self.sync()
            if self._torn_at is not None:
                self._file.truncate(self._torn_at)
                self._torn_at = None
            self._file.close()
            self._file = None

    def _flush_when_wanted(self) -> None:
        while not self._closing:
            self._wanted.wait()
            self._wanted.clear()
            self._flush_if_possible()

    def _flush_if_possible(self) -> None:
        with self._flushing:
            try:
                if not self._failed:
                    self._flush()
            except OSError as error:  # whoever waits for it tries again, and gets the error
                log.error("cannot flush the journal", folder=str(self._folder), problem=str(error))

    def _flush(self) -> None:
        """Flush what is written; the lock is held."""
        count = len(self._unsynced)
        if self._file is None or count == 0:
            return
        try:
            flush(self._file.fileno(), data_only=True)
        except OSError:
            self._failed = True
            raise
        self._synced_end += sum(len(self._unsynced.popleft()) for _ in range(count))
        self._synced = self._clock()

    def _write_again(self, file: IO[bytes]) -> None:
        """Write the unsynced lines again: after a failed flush the kernel calls its pages clean, and would never write
        them. The lock is held.
        """
        file.truncate(self._synced_end)
        _write_whole(file, b"".join(self._unsynced))
        self._failed = False


def _write_whole(file: IO[bytes], line: bytes) -> None:
    """Write the whole line: a nearly full disk writes a part, and reports that only by the returned count."""
    left = memoryview(line)
    while left:
        taken = file.write(left)
        if not taken:
            raise OSError(errno.ENOSPC, f"none of {len(left)} bytes was written", file.name)
        left = left[taken:]
