"""Files and folders that survive a power failure, and files that have room for what is written into their memory map.

Linux's calls where there are any: macOS has neither `fdatasync` nor `posix_fallocate`; some file systems refuse them.
"""

from __future__ import annotations

import errno
import fcntl
import os
from itertools import pairwise
from pathlib import Path

from thalweg.memory.kept_folders import must_be_kept

_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""Errors of flushing a folder: it may not be read or written, or its file system flushes no folders."""

_NO_RESERVING = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS, errno.ENODEV)
"""Errors of reserving room: this file system, or this system's library, cannot."""
_NO_FOLDERS = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
_ZEROS = 1 << 20
_FLUSHED: dict[Path, tuple[int, int] | None] = {}
"""The folders whose entry in the one above them this process has flushed: one that was removed and created again since
is another one.
"""
_MOST_FLUSHED = 4096


def without_locks(error: OSError) -> bool:
    """Whether an error of `flock` says that this file system has none, as NFS without its lock service."""
    return error.errno in _NO_LOCKS


def flush(handle: int, data_only: bool = False) -> None:
    """Flush an open file to its disk, the disk's own cache included. Raises OSError.

    Args:
        handle: Its descriptor.
        data_only: Not its times of change, where that is possible.
    """
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, where fsync leaves the disk's cache as it is
        try:
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
        except OSError as error:
            if error.errno not in _NOT_OURS:  # file systems of other hosts have no such call
                raise
    if data_only and hasattr(os, "fdatasync"):
        os.fdatasync(handle)
    else:
        os.fsync(handle)


def reserve(handle: int, size: int) -> None:
    """Make an open file at least this long, with room on its disk; what it holds stays. Raises OSError.

    To write into the map of a file without room kills the process.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
            return
        except OSError as error:
            if error.errno not in _NO_RESERVING:
                raise
    at = os.fstat(handle).st_size
    while at < size:
        at += os.pwrite(handle, bytes(min(_ZEROS, size - at)), at)


def write_durably(path: Path, content: bytes | memoryview) -> None:
    """Write a file under this name and flush it; the folder is not flushed. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        flush(file.fileno())


def flush_file(path: Path) -> None:
    """Flush a file's content to disk. Raises OSError."""
    with path.open("rb") as file:
        flush(file.fileno())


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, so that they survive a power failure. Raises OSError; FolderMoved where it is
    in a folder that is kept and gone.

    Those that exist on the same file system are flushed as well, once in this process: who created them may have died
    before it did. A hundred shards below one folder would flush all above it a hundred times otherwise, and more.
    """
    must_be_kept(folder)
    path = folder.absolute()
    missing = {one for one in (path, *path.parents) if not one.exists()}
    folder.mkdir(parents=True, exist_ok=True)
    device = folder.stat().st_dev
    for child, parent in pairwise((path, *path.parents)):
        try:
            if parent.stat().st_dev != device:
                return  # where another file system is mounted
            identity = file_id(child)
            if child in missing or identity is None or _FLUSHED.get(child) != identity:
                sync_folder(parent)
                if len(_FLUSHED) >= _MOST_FLUSHED:
                    _FLUSHED.clear()
                _FLUSHED[child] = identity
        except OSError as error:
            if error.errno in _NOT_OURS:
                return  # nobody like us can have created anything in it, or above it
            raise


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power failure: where the file system can, which
    others order by themselves. Raises OSError.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        flush(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
    finally:
        os.close(handle)


def file_id(path: Path) -> tuple[int, int] | None:
    """Tells a file from another at its path; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
