"""Ends a process in which a part is stuck: no other thread can end that part, a new process begins without it."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable

import structlog

from thalweg.stream.health.registry import Health, HealthRegistry

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 1.0
_LONGEST_STEP_SECONDS = 2.0


class Watchdog:
    """Looks at the parts of a process, in a thread of its own.

    A part is stuck when it has been silent beyond its bound and then for `stuck_seconds` more. While the process itself
    does not run (stopped, or a machine that is suspended) nobody is: at most two seconds are counted from one look to
    the next.

    Args:
        registry: The health of the process's parts.
        stuck_seconds: How much longer a part may be silent; 0: for ever.
        end: Ends the process; called once, with the part that is stuck.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        registry: HealthRegistry,
        stuck_seconds: float,
        end: Callable[[Health], None],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._stuck_seconds = stuck_seconds
        self._end = end
        self._ticks = ticks
        self._looked = ticks()
        self._silent: dict[tuple[str, str], float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start to look."""
        if self._stuck_seconds > 0:
            self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> bool:
        """Look once; whether a part is stuck, and `end` was called."""
        now = self._ticks()
        step, self._looked = min(now - self._looked, _LONGEST_STEP_SECONDS), now
        silent = {(part.component, part.model): part for part in self._registry.silent()}
        self._silent = {name: self._silent.get(name, 0.0) + step for name in silent}
        for name, seconds in self._silent.items():
            if seconds > self._stuck_seconds:
                log.error(
                    "a part is stuck: ending the process, so that it is restarted",
                    component=name[0],
                    model=name[1],
                    where=where(f"{name[0]}-{name[1]}"),
                )
                self._end(silent[name])
                return True
        return False

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_SECONDS):
            if self.look():
                return


def where(name: str) -> str:
    """The file and line at which the thread of this name is; empty if there is none."""
    idents = [thread.ident for thread in threading.enumerate() if thread.name == name]
    frame = sys._current_frames().get(idents[0]) if idents and idents[0] is not None else None
    if frame is None:
        return ""
    last = traceback.extract_stack(frame, limit=1)[-1]
    return f"{last.filename}:{last.lineno}"
