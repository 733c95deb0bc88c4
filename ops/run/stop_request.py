"""A request to stop that a signal handler may make.

`threading.Event` is none: `set` takes the lock that `wait` of the same thread may hold at that moment, and then waits
for itself.
"""

from __future__ import annotations

import os
import select
import time


class StopRequest:
    """As `threading.Event`, but `set` takes no lock: it writes to a pipe, and `wait` looks for anything in it."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._requested = False

    def set(self) -> None:
        """Request the stop; may be called from a signal handler, and more than once."""
        if not self._requested:
            self._requested = True
            os.write(self._write, b"\0")  # never read: every later wait returns at once

    def is_set(self) -> bool:
        """Whether it was requested."""
        return self._requested

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is requested, or for the timeout in seconds; whether it is requested."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._requested:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            select.select([self._read], [], [], left)
        return self._requested
