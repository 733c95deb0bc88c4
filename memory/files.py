"""Files and folders that survive a power failure."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""Errors of flushing a folder: it may not be read or written, or its file system flushes no folders."""


def write_durably(path: Path, content: bytes | memoryview) -> None:
    """Write a file under this name and flush it; the folder is not flushed. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_file(path: Path) -> None:
    """Flush a file's content to disk. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, so that they survive a power failure. Raises OSError.

    Those that exist on the same file system are flushed as well: who created them may have died before it did.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = folder.stat().st_dev
    for parent in folder.absolute().parents:
        try:
            if parent.stat().st_dev != device:
                return  # where another file system is mounted
            sync_folder(parent)
        except OSError as error:
            if error.errno in _NOT_OURS:
                return  # nobody like us can have created anything in it, or above it
            raise


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_id(path: Path) -> tuple[int, int] | None:
    """Tells a file from another at its path; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
