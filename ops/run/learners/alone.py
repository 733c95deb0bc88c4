"""A part of a learner process that only one process at a time may run, whichever it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from thalweg.memory.folder_lock import FolderLock
from thalweg.stream.health.registry import Health

_LOOK_SECONDS = 0.1


@contextmanager
def alone(lock: FolderLock, health: Health, stopping: threading.Event) -> Iterator[bool]:
    """Hold a lock within the block; waits while another process has it, which the health tells by name.

    Args:
        lock: The lock of the part's files.
        health: That of the part.
        stopping: Ends the wait when set: then the block runs without the lock, and must do nothing.

    Yields:
        Whether the lock is held.
    """
    try:
        while holder := lock.take():
            health.waiting(f"in use by {holder}; goes on here once that has ended")
            if stopping.wait(_LOOK_SECONDS):
                break
        yield not holder
    finally:
        lock.release()
