"""Folders that a process works in: nothing is created at their paths once they were moved away, removed or replaced.

A state folder that is renamed while a service runs would otherwise begin anew beside it: open files go on in the folder
that was moved, new ones are created at its path, and neither has everything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_kept: dict[object, tuple[Path, tuple[int, int]]] = {}
PUT_BACK = "put the folder back where it was, and it goes on"
"""What every message says of a folder that is away, and of whatever lies in it."""


class FolderMoved(OSError):
    """A folder is not the one any more that was opened; the message says what to do."""

    def __init__(self, folder: Path) -> None:
        if folder.exists():
            told = (
                f"{folder} was replaced while a service uses it: {PUT_BACK}; if what is there now is meant, as on a "
                "disk that was mounted late, start the service again"
            )
        else:
            told = (
                f"{folder} was moved away or removed while a service uses it: {PUT_BACK}; a service that is started "
                "again before that begins anew"
            )
        super().__init__(told)


class FolderElsewhere(FolderMoved):
    """A command would use another folder than the service that runs has opened at the same path."""

    def __init__(self, folder: Path, process: int) -> None:
        of = f" (process {process})" if process else ""
        if folder.exists():
            told = (
                f"{folder} is not the folder that a running service{of} uses: that one was moved away, removed or "
                f"mounted over, and this one, which may be a copy, is in its place. Move this one away and {PUT_BACK}; "
                "if this one is meant, stop that service first"
            )
        else:
            told = (
                f"{folder} was moved away or removed while a running service{of} uses it: {PUT_BACK}; nothing is begun "
                "in its place until that service has ended"
            )
        OSError.__init__(self, told)


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Within the block, nothing is created at this path but in the folder that is there now. Raises OSError if there
    is none.
    """
    folder = folder.absolute()
    token = object()
    _kept[token] = folder, folder_id(folder)
    try:
        yield
    finally:
        del _kept[token]


def must_be_kept(path: Path) -> None:
    """Raise FolderMoved if a path leads into a kept folder that is not there any more."""
    path = path.absolute()
    for folder, opened in list(_kept.values()):
        if path == folder or folder in path.parents:
            must_be(folder, opened)


def is_away(error: BaseException | None) -> bool:
    """Whether an error comes of a folder that is away, which its service tells of already."""
    return isinstance(error, FolderMoved) or (error is not None and isinstance(error.__cause__, FolderMoved))


def must_be(folder: Path, opened: tuple[int, int]) -> None:
    """Raise FolderMoved if a folder is not the one that was opened."""
    try:
        found = folder_id(folder)
    except FileNotFoundError as error:
        raise FolderMoved(folder) from error
    if found != opened:
        raise FolderMoved(folder)


def folder_id(folder: Path) -> tuple[int, int]:
    """Tells a folder from another at its path. Raises OSError."""
    found = os.stat(folder)  # noqa: PTH116 - asked for each entry of a journal
    return found.st_dev, found.st_ino
