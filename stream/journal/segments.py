"""The files of a journal: each named after the version it begins after, with one line per entry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from thalweg.memory.files import flush, sync_folder, write_durably
from thalweg.stream.journal.entries import Entry, from_line, to_line
from thalweg.stream.journal.journal import JournalError

log = structlog.get_logger(__name__)

_SEGMENT = re.compile(r"(0|[1-9][0-9]{0,18})\.log", re.ASCII)
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def segments(folder: Path) -> list[int]:
    """The versions that the segments begin after, in order; whatever else lies in the folder is none of them."""
    try:
        found = [(_SEGMENT.fullmatch(path.name), path) for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for match, path in found if match and path.is_file() and not path.is_symlink())


def path_of(folder: Path, begin: int) -> Path:
    """The file of the segment that begins after this version."""
    return folder / f"{begin}.log"


def read_segments(folder: Path, after: int, *, torn_end: bool = False) -> Iterator[Entry]:
    """The entries above `after`, in order.

    A damaged line is skipped if the entries around it show that it is none of these; whether the entries follow each
    other is for the caller to check.

    Args:
        folder: Holds the segments.
        after: The version after which to begin.
        torn_end: The last line may be torn: its writer is at it.

    Raises:
        JournalError: A line is damaged and may be one of these entries, or a file cannot be read.
    """
    begins = segments(folder)
    for begin, following in zip(begins, [*begins[1:], None]):
        if following is not None and following <= after:
            continue
        path, last, damage = path_of(folder, begin), begin, ""
        for number, entry in _lines(path, torn_end=torn_end):
            if isinstance(entry, str):
                damage = damage or f"{path}:{number}: {entry}"
                continue
            if damage and entry.version > after + 1 and entry.version != last + 1:
                raise JournalError(damage)
            damage, last = "", max(last, entry.version)  # an amended block has the version of an earlier line
            if entry.version > after:
                yield entry
        if damage and (following is None or last != following):
            raise JournalError(damage)


def keep_whole(path: Path, version: int) -> None:
    """Keep of a segment only the whole entries before the first one above `version`.

    If a line among them or after them is damaged, a copy of the file is kept. Raises OSError.
    """
    kept, damaged = [], False
    for _, entry in _lines(path):
        if isinstance(entry, str):
            damaged = True
        elif entry.version > version:
            break  # what follows may amend a block that this entry was applied after
        else:
            kept.append(to_line(entry))
    whole = b"".join(kept)
    if not damaged and path.read_bytes().startswith(whole):
        with path.open("r+b") as file:  # in place: there may be no room for a copy
            file.truncate(len(whole))
            with suppress(OSError):  # the next flush of the journal covers it
                flush(file.fileno())
        return
    if damaged:
        aside = path.with_name(f"{path.name}.damaged")
        log.error("journal segment is damaged: a copy is set aside", file=str(path), copy=str(aside))
        aside.write_bytes(path.read_bytes())
    beside = path.with_name(f".{path.name}.kept")
    write_durably(beside, whole)
    beside.replace(path)
    sync_folder(path.parent)


def newest_in(path: Path, begin: int) -> int:
    """The highest version in a segment; `begin` where it has no entry. Raises JournalError."""
    return max((entry.version for _, entry in _lines(path) if not isinstance(entry, str)), default=begin)


def _lines(path: Path, *, torn_end: bool = False) -> Iterator[tuple[int, Entry | str]]:
    """Each line's number, and its entry or what is wrong with it. Raises JournalError if the file cannot be read."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if torn_end and not line.endswith(b"\n"):
                    return
                try:
                    yield number, from_line(line)
                except _UNREADABLE as error:
                    yield number, str(error)
    except OSError as error:
        raise JournalError(f"{path}: {error}") from error


def cut_torn_line(path: Path) -> None:
    """Cut off what a crash left half written at the end; damage anywhere before stays, to be found on reading."""
    with path.open("r+b") as file:
        end = 0
        for line in file:
            if not line.endswith(b"\n"):
                log.warning("journal: truncated a torn last line", file=str(path), bytes=len(line))
                file.truncate(end)
                return
            end += len(line)
