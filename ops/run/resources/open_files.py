"""How many files a process may open: sockets of clients, snapshots and journals of each shard, connections of callers.

Most systems give a process 1,024 for the sake of old programs that could not handle more, and let it have more if it
asks. A learner of a hundred shards needs some thousands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_MOST = 1 << 16  # more is of no use, and some systems refuse to say "as many as possible"
_NEARLY = 0.8
_LOOK_SECONDS = 5.0


def raise_limit() -> None:
    """Let this process, and those that it starts, open as many files as they may."""
    try:
        import resource

        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST if most == resource.RLIM_INFINITY else min(_MOST, most)
        if now != resource.RLIM_INFINITY and now < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    except (ImportError, ValueError, OSError):  # no such limit, or none that may be changed
        return


def _open_of_limit() -> tuple[int, int]:
    """How many are open, and how many may be; zeros where the system does not tell."""
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return sum(1 for _ in Path("/proc/self/fd").iterdir()), 0 if most == resource.RLIM_INFINITY else most
    except (ImportError, OSError):
        return 0, 0


class OpenFiles:
    """Tells when a process is about to run out of them. For one thread.

    Args:
        found: How many are open, and how many may be; 0: any number.
        ticks: Monotonic seconds.
    """

    def __init__(
        self, found: Callable[[], tuple[int, int]] = _open_of_limit, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._found, self._ticks = found, ticks
        self._look_after, self._told = 0.0, ""

    def nearly_out(self, shards: int) -> str:
        """What to do about it; empty while there are enough. `shards`: how many are learned here."""
        if self._ticks() >= self._look_after:
            self._look_after = self._ticks() + _LOOK_SECONDS
            now, most = self._found()
            self._told = "" if not most or now < _NEARLY * most else _told(now, most, shards)
        return self._told


def _told(now: int, most: int, shards: int) -> str:
    return (
        f"{now} of the {most} files that this process may open are open, with {shards} shards: raise the limit "
        f"(ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of a container), or let more learners share the "
        f"partitions (service.learners, more hosts)"
    )
