"""Time as a process would need that has a core to itself: what others on this machine take does not count."""

from __future__ import annotations

import time
from pathlib import Path

_SCHEDULED = Path("/proc/thread-self/schedstat")


def core_seconds() -> float:
    """Seconds, from an arbitrary beginning, for differences on one thread.

    They are those that the calling thread computed, or waited for a disk or a lock; and those that the other threads of
    this process computed, since they share its core. Not those in which it was ready and another process had the core:
    Linux counts them. Elsewhere they count, so a busy machine makes everything look dearer.
    """
    while True:
        before = _waited()
        now = time.perf_counter() + time.process_time() - time.thread_time()
        if _waited() == before:  # not interrupted meanwhile
            return now - before


def _waited() -> float:
    """Seconds in which this thread was ready and had no core."""
    try:
        return int(_SCHEDULED.read_bytes().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
