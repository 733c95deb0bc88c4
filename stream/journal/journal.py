"""The journal: a record of each block, written before the block has any visible effect.

Which records share a block depends on timing; the journal fixes it, so a restart learns the same blocks and reaches a
bit-identical state.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Protocol

from thalweg.proto.records import Partition
from thalweg.stream.journal.entries import BlockEntry, Entry, is_amendment


class JournalError(Exception):
    """The journal is incomplete or damaged; the message names the file and the fault."""


class Journal(Protocol):
    """The entries since the oldest snapshot. Single writer."""

    def append(self, entry: Entry) -> None:
        """Append an entry; it survives a killed process.

        Its version follows the newest, or it is a block that amends an earlier one of the same version.

        Raises:
            OSError: It cannot be written now, and nothing of it remains.
            JournalError: The journal was deleted; trying again does not help.
        """

    def entries(self, after: int) -> Iterator[Entry]:
        """Entries of versions above `after`, in order, one for each version: the last that was written.

        Raises JournalError if one is missing or damaged, after those before it.
        """

    def begins_after(self) -> int | None:
        """The version before the oldest entry; None if there never was an entry."""

    def begin_sync(self) -> None:
        """Begin to flush the appended entries to disk, in the background: a `sync` that follows waits the shorter."""

    def sync(self) -> None:
        """Return when the appended entries are on disk. Raises OSError; they stay appended, and may be synced later."""

    def cut(self, version: int, oldest_kept: int) -> None:
        """A snapshot of `version` exists: entries up to `oldest_kept` are no longer needed."""

    def truncate(self, version: int) -> None:
        """Remove the entries above `version`, and amended blocks that were written after one of them."""

    def restart(self, version: int) -> None:
        """Remove every entry; the next one is that of `version` + 1."""

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
        return consecutive((e for e in list(self._entries) if e.version > after), after, "memory")

    def begins_after(self) -> int | None:
        return self._begin

    def begin_sync(self) -> None:
        """Does nothing."""

    def sync(self) -> None:
        """Does nothing."""

    def cut(self, version: int, oldest_kept: int) -> None:
        self._entries = [entry for entry in self._entries if entry.version > oldest_kept]
        if self._begin is not None:
            self._begin = max(self._begin, oldest_kept)

    def truncate(self, version: int) -> None:
        self._entries = list(takewhile(lambda entry: entry.version <= version, self._entries))

    def restart(self, version: int) -> None:
        self._entries, self._begin = [], version

    def close(self) -> None:
        """Does nothing."""


def consecutive(entries: Iterator[Entry], after: int, place: str) -> Iterator[Entry]:
    """One entry for each version: the last that was written, in the order of their versions.

    Raises JournalError where one is missing, after those before it.
    """
    found: list[Entry] = []
    problem: JournalError | None = None
    try:
        found.extend(entries)  # all at once: an amended block may stand behind the entries that follow its version
    except JournalError as error:
        problem = error
    amended = {entry.version: entry for entry in found if is_amendment(entry)}
    expected = after + 1
    for entry in found:
        if after < entry.version < expected and entry.version in amended:
            continue  # took the place of the block it amends
        if entry.version != expected:
            raise JournalError(f"journal {place}: expected the entry of version {expected}, got {entry.version}")
        yield amended.get(entry.version, entry)
        expected += 1
    if problem is not None:
        raise problem
