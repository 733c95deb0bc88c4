"""Files beside a journal's segments: what control entries brought into a state, named after their versions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from thalweg.memory.files import make_folder, sync_folder, write_durably
from thalweg.memory.snapshots.state import DamagedFile, State, read_state, write_state
from thalweg.stream.journal.entries import AveragingEntry, Entry
from thalweg.stream.journal.journal import JournalError

_NAME = re.compile(r"averaged-([1-9][0-9]{0,18})\.safetensors", re.ASCII)


def write_attachment(folder: Path, entry: Entry) -> None:
    """Write what an entry brings along, if it brings something, before its line is. Raises OSError."""
    if isinstance(entry, AveragingEntry):
        assert entry.mixed is not None
        write_state(entry.mixed, attachment_path(folder, entry.version))
        sync_folder(folder)


def with_attachments(folder: Path, entries: Iterator[Entry]) -> Iterator[Entry]:
    """The entries, each with what it brought along. Raises JournalError if that is missing, damaged or not the same."""
    for entry in entries:
        yield replace(entry, mixed=_read(folder, entry)) if isinstance(entry, AveragingEntry) else entry


def remove_attachments(folder: Path, which: Callable[[int], bool]) -> None:
    """Remove those of the versions of which this is true."""
    for path in list(folder.glob("averaged-*.safetensors")):
        if (found := _NAME.fullmatch(path.name)) and which(int(found[1])):
            path.unlink(missing_ok=True)


def has_attachment(folder: Path, entry: AveragingEntry) -> bool:
    """Whether what an entry brought along is here, and whole."""
    try:
        _read(folder, entry)
    except JournalError:
        return False
    return True


def put_attachment(folder: Path, entry: AveragingEntry, content: bytes) -> bool:
    """Write the file of an entry as another host has it; whether it is what the entry brought along. Raises OSError."""
    make_folder(folder)
    write_durably(attachment_path(folder, entry.version), content)
    return has_attachment(folder, entry)


def attachment_path(folder: Path, version: int) -> Path:
    """The file of what this version has averaged."""
    return folder / f"averaged-{version}.safetensors"


def _read(folder: Path, entry: AveragingEntry) -> State:
    path = attachment_path(folder, entry.version)
    try:
        mixed = read_state(path)
    except (DamagedFile, OSError) as error:
        raise JournalError(f"what version {entry.version} has averaged cannot be read: {error}") from error
    if mixed.sha256() != entry.sha256:
        raise JournalError(f"{path}: expected what version {entry.version} has averaged, got something else")
    return mixed
