"""The journal: a record of each block, written before the block has any visible effect.

A block is a number of whole records of the log, in the order in which they were learned. Which records share a block
depends on timing; the journal fixes it, so a restart learns the same blocks and reaches a bit-identical state.
Control operations that change the state (a rollback, a reset) are entries too. Entry n leads to version n of the
state.

Format: one line per entry, preceded by its CRC-32, in segments that begin at a snapshot, so a segment that no
snapshot needs can be deleted as a file. A line torn by a crash had no visible effect and is truncated.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import structlog

from thalweg.memory.snapshots.state import sync_folder
from thalweg.proto.records import Partition

log = structlog.get_logger(__name__)


class JournalError(Exception):
    """The journal is incomplete or damaged; the message names the file and the fault."""


@dataclass(frozen=True, slots=True)
class Range:
    """`count` records of one partition with offsets from `first` to `last`, both included."""

    partition: Partition
    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """Records that were learned, in order, in micro-batches of at most `batch_events`."""

    version: int
    ranges: tuple[Range, ...]
    batch_events: int


@dataclass(frozen=True, slots=True)
class RollbackEntry:
    """The state was rolled back to that of version `to`."""

    version: int
    to: int
    cause: str


@dataclass(frozen=True, slots=True)
class ResetEntry:
    """The learner was replaced by a new one that has learned nothing."""

    version: int
    cause: str


@dataclass(frozen=True, slots=True)
class ForgettingEntry:
    """Forgetting was raised by a factor, for a number of events."""

    version: int
    factor: float
    events: int
    cause: str


Control: TypeAlias = RollbackEntry | ResetEntry | ForgettingEntry
"""An entry that changes the state without learning."""
Entry: TypeAlias = BlockEntry | Control


class Journal(Protocol):
    """The entries since the oldest snapshot. Single writer."""

    def append(self, entry: Entry) -> None:
        """Append an entry; it survives a killed process. Raises OSError, and then nothing of it remains."""

    def entries(self, after: int) -> Iterator[Entry]:
        """Entries of versions above `after`, in order. Raises JournalError if one is missing or damaged."""

    def begins_after(self) -> int | None:
        """The version before the oldest entry; None if there never was an entry."""

    def sync(self) -> None:
        """Flush the appended entries to disk."""

    def cut(self, version: int, oldest_kept: int) -> None:
        """A snapshot of `version` exists: entries up to `oldest_kept` are no longer needed."""

    def truncate(self, version: int) -> None:
        """Remove the entries above `version`."""

    def close(self) -> None:
        """Flush and close."""


def before_the_first(journal: Journal) -> dict[Partition, int]:
    """The offset in each partition before its first record, that is, the reader's position before version 1.

    The journal must reach back to version 1. Raises JournalError.
    """
    first: dict[Partition, int] = {}
    for entry in journal.entries(0):
        if isinstance(entry, BlockEntry):
            for part in entry.ranges:
                first.setdefault(part.partition, part.first - 1)
    return first


class InMemoryJournal:
    """A journal in memory."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._begin: int | None = None

    def append(self, entry: Entry) -> None:
        if self._begin is None:
            self._begin = entry.version - 1
        self._entries.append(entry)

    def entries(self, after: int) -> Iterator[Entry]:
        return _consecutive((e for e in list(self._entries) if e.version > after), after, "memory")

    def begins_after(self) -> int | None:
        return self._begin

    def sync(self) -> None:
        """Does nothing."""

    def cut(self, version: int, oldest_kept: int) -> None:
        self._entries = [entry for entry in self._entries if entry.version > oldest_kept]
        if self._begin is not None:
            self._begin = max(self._begin, oldest_kept)

    def truncate(self, version: int) -> None:
        self._entries = [entry for entry in self._entries if entry.version <= version]

    def close(self) -> None:
        """Does nothing."""


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
            _write_whole(file, _to_line(entry))
            if self._clock() - self._synced >= self._sync_seconds:
                self.sync()
        except OSError:
            self._torn_at = end  # the next append truncates it if truncating fails here
            file.truncate(end)
            self._torn_at = None
            raise

    def entries(self, after: int) -> Iterator[Entry]:
        return _consecutive((e for e in self._all(after) if e.version > after), after, str(self._folder))

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
            kept = b"".join(_to_line(entry) for entry in _read(path) if entry.version <= version)
            os.truncate(path, len(kept))
            break
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


def _consecutive(entries: Iterator[Entry], after: int, place: str) -> Iterator[Entry]:
    expected = after + 1
    for entry in entries:
        if entry.version != expected:
            raise JournalError(f"journal {place}: expected the entry of version {expected}, got {entry.version}")
        yield entry
        expected += 1


def _to_line(entry: Entry) -> bytes:
    record: dict[str, Any]
    if isinstance(entry, BlockEntry):
        ranges = [[r.partition.topic, r.partition.number, r.first, r.last, r.count] for r in entry.ranges]
        record = {"version": entry.version, "batch_events": entry.batch_events, "block": ranges}
    elif isinstance(entry, RollbackEntry):
        record = {"version": entry.version, "rollback": entry.to, "cause": entry.cause}
    elif isinstance(entry, ResetEntry):
        record = {"version": entry.version, "reset": True, "cause": entry.cause}
    else:
        record = {"version": entry.version, "forgetting": [entry.factor, entry.events], "cause": entry.cause}
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _from_line(line: bytes) -> Entry:
    """Raises ValueError or KeyError for a line that is not whole."""
    if not line.endswith(b"\n") or zlib.crc32(line[9:-1]) != int(line[:8], 16):
        raise ValueError("checksum does not match")
    record = json.loads(line[9:])
    if "block" in record:
        ranges = tuple(Range(Partition(topic, number), *place) for topic, number, *place in record["block"])
        return BlockEntry(record["version"], ranges, record["batch_events"])
    if "reset" in record:
        return ResetEntry(record["version"], record["cause"])
    if "forgetting" in record:
        factor, events = record["forgetting"]
        return ForgettingEntry(record["version"], factor, events, record["cause"])
    return RollbackEntry(record["version"], record["rollback"], record["cause"])


def _read(path: Path, *, torn_end: bool = False) -> Iterator[Entry]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if torn_end and not line.endswith(b"\n"):
                return  # the writer is at it
            try:
                yield _from_line(line)
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
