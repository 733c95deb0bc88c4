"""One merger of a model on a host: every process that learns its shards may run one, and one of them merges."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class OnlyMerger:
    """A lock on a file beside the published versions; the system releases that of a process that has ended.

    Args:
        path: The file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._inode = 0

    def kept(self) -> bool:
        """Whether it is held: whoever holds only a file that was deleted since has it no longer."""
        return self._handle is not None and self._same()

    def taken(self) -> bool:
        """Take it; whether nobody else has it. A file that was deleted is created again. Raises OSError."""
        self.release()
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._handle, self._inode = handle, os.fstat(handle).st_ino
        return self._same()

    def release(self) -> None:
        """Give it back; it may be taken again."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _same(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False
