"""One process at a time writes to a folder, and says who it is."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from thalweg.memory.files import make_folder


class FolderLock:
    """A lock of one part of what a folder holds; released when its process ends, however it ends.

    Args:
        folder: The folder; created if needed.
        part: What is written there: `learner`, say.
        who: Whoever takes it, as others are told: `learner-2`, say.
    """

    def __init__(self, folder: Path, part: str, who: str) -> None:
        self._path = folder / f".{part}.lock"
        self._who = f"{who} (process {os.getpid()} on {socket.gethostname()})"
        self._file: int | None = None

    def take(self) -> str:
        """Take it if it is free: empty if it is ours now, else who has it. Raises OSError where there are no locks."""
        if self._file is not None:
            return ""
        make_folder(self._path.parent)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 1000, 0).decode(errors="replace")
            os.close(file)
            return holder or "another process"
        except OSError:
            os.close(file)
            raise
        self._file = file
        with suppress(OSError):  # a full disk: the name is only for people
            os.ftruncate(file, 0)
            os.pwrite(file, self._who.encode(), 0)
        return ""

    def release(self) -> None:
        """Release it; may be called twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
