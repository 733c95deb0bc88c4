"""One thread that looks for whatever many others wait for, so that waiting costs no more for a hundred than for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.002
"""Between two looks while something has changed lately."""
QUIET_LOOK_SECONDS = 0.005
"""Between two looks once nothing has changed for a while."""
IDLE_LOOK_SECONDS = 0.01
"""Between two looks once nothing has changed for long."""
_LATELY_SECONDS = 1.0
_LONG_SECONDS = 20.0


class Watching:
    """Looks for changes while there is somebody to tell. Thread-safe.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._looks: tuple[Callable[[], bool], ...] = ()
        self._thread: threading.Thread | None = None
        self._changed = 0.0

    def add(self, look: Callable[[], bool]) -> None:
        """From now on call `look` every few milliseconds: it tells whoever waits, must be quick, and returns whether
        there was a change."""
        with self._lock:
            self._looks = (*self._looks, look)
            if self._thread is None or not self._thread.is_alive():  # also in a process that was forked
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def remove(self, look: Callable[[], bool]) -> None:
        """Call it no more; one call may still be under way."""
        with self._lock:
            self._looks = tuple(one for one in self._looks if one != look)

    def _run(self) -> None:
        while True:
            with self._lock:
                looks = self._looks
                if not looks:
                    self._thread = None
                    return
            for look in looks:
                try:
                    if look():
                        self._changed = time.monotonic()
                except Exception:  # whoever waits looks for himself from time to time
                    log.exception("a look for changes has failed", watching=self._name)
                    self.remove(look)
            quiet = time.monotonic() - self._changed
            lately, idle = quiet < _LATELY_SECONDS, quiet > _LONG_SECONDS
            time.sleep(LOOK_SECONDS if lately else IDLE_LOOK_SECONDS if idle else QUIET_LOOK_SECONDS)
