"""The end of a journal as bytes, for another host."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from thalweg.memory.files import make_folder, sync_folder, write_durably
from thalweg.stream.journal.attachments import remove_attachments
from thalweg.stream.journal.entries import AveragingEntry, Entry, from_line
from thalweg.stream.journal.segments import keep_whole, path_of, segments

_BEGIN = re.compile(rb"([0-9]{1,19})\n", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tail:
    """What `tail` gave."""

    begin: int
    """The version after which it begins."""
    lines: bytes

    @classmethod
    def of(cls, content: bytes | None) -> Tail | None:
        """None for anything else."""
        found = None if content is None else _BEGIN.match(content)
        return None if content is None or found is None else cls(int(found[1]), content[found.end() :])

    def entries(self) -> list[Entry]:
        """Its entries as they were written, up to the first that is not whole."""
        found: list[Entry] = []
        for line in self.lines.splitlines(keepends=True):
            try:
                found.append(from_line(line))
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                break
        return found

    def averaged(self) -> list[AveragingEntry]:
        """Those of its entries that bring files along."""
        if b'"averaged":' not in self.lines:
            return []
        return [entry for entry in self.entries() if isinstance(entry, AveragingEntry)]

    def before(self, version: int) -> Tail:
        """It up to its first entry of this version or a later one."""
        kept: list[bytes] = []
        for line, entry in zip(self.lines.splitlines(keepends=True), self.entries()):
            if entry.version >= version:
                break
            kept.append(line)
        return Tail(self.begin, b"".join(kept))


def tail(folder: Path, version: int) -> bytes | None:
    """The entries above a version, perhaps with some before them; None if the journal does not reach back to it.

    Its writer may be at it: the last line may be torn, as after a crash. Raises OSError.
    """
    begins = segments(folder)
    needed = [
        begin for begin, following in zip(begins, [*begins[1:], None]) if following is None or following > version
    ]
    if not needed or needed[0] > version:
        return None
    try:
        parts = [path_of(folder, begin).read_bytes() for begin in needed]
    except FileNotFoundError:  # a newer snapshot has made it unnecessary
        return None
    return b"%d\n" % needed[0] + b"".join(parts)


def tail_mark(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Tells the files of a journal from those that were there before: an entry makes the last one longer."""
    try:
        with os.scandir(folder) as found:
            return tuple(sorted((one.name, (s := one.stat()).st_size, s.st_mtime_ns) for one in found))
    except FileNotFoundError:  # one of them, if not the folder, was removed meanwhile
        return ()


def restore_tail(folder: Path, found: Tail) -> None:
    """Write a tail into the folder of a journal that has nothing; into another, nothing. Raises OSError."""
    if segments(folder):
        return
    make_folder(folder)
    write_durably(path_of(folder, found.begin), found.lines)
    sync_folder(folder)


def put_tail(folder: Path, tail: Tail, version: int) -> None:
    """Write a tail over what a folder has of the same journal: of that, only what leads from `version` to it is kept.

    Nothing is flushed, as the journal is elsewhere, too: whoever goes on with it does that. Raises OSError.
    """
    make_folder(folder)
    for begin in reversed(segments(folder)):
        if tail.begin <= version or begin > tail.begin:
            if begin != tail.begin:
                path_of(folder, begin).unlink()
        elif begin < tail.begin:
            keep_whole(path_of(folder, begin), tail.begin)
    beside = folder / f".{tail.begin}.copied"
    beside.write_bytes(tail.lines)
    beside.replace(path_of(folder, tail.begin))
    oldest = segments(folder)[0]
    remove_attachments(folder, lambda at: at <= oldest)
