"""Follows one shard that another process learns, until it is taken over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from thalweg.memory.folder_lock import FolderLock
from thalweg.memory.objects.objects import ObjectsUnavailable
from thalweg.stream.health.registry import Health
from thalweg.stream.learn.saving.warm import Warm
from thalweg.stream.standby.copy import ShardCopy
from thalweg.stream.standby.warm import WarmFold

LOOK_SECONDS = 0.5
"""Between two looks at the store while its owner learns: it uploads its journal about once a second."""
_LONGEST_LOOK_SECONDS = 4.0
_BEHIND_SECONDS = 5.0  # from then on it is told


class Follower:
    """See above. One thread calls `run`, any thread `stop`, and after its end one of them `taken`.

    Args:
        copy: The copy of the shard.
        make: Makes its fold; called once, by `run`.
        lock: That of the shard's folder: a process of this host that learns the shard has it.
        health: Its health.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        copy: ShardCopy,
        make: Callable[[ShardCopy], WarmFold],
        lock: FolderLock,
        health: Health,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.copy, self._make, self._lock, self._health, self._ticks = copy, make, lock, health, ticks
        self._fold: WarmFold | None = None
        self._reached_at, self._away = ticks(), False
        self._stopping = threading.Event()

    @property
    def behind_seconds(self) -> float | None:
        """For how long there has been something in the store that it has not applied; None while it is not warm."""
        fold = self._fold
        if fold is None or fold.version is None:
            return None
        return max(fold.behind_seconds, self._ticks() - self._reached_at if self._away else 0.0)

    def run(self) -> None:
        """Follow until `stop`. Raises StateMismatch: its owner has other settings."""
        wait = LOOK_SECONDS
        while not self._stopping.is_set():
            with self._health.slow():  # a large version, or a slow store: each request has a bound of its own
                wait = LOOK_SECONDS if self._look() else min(2 * wait, _LONGEST_LOOK_SECONDS)
            self._stopping.wait(wait)

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopping.set()

    def look(self) -> bool:
        """Follow as far as the store tells now; whether there was anything new. Raises ObjectsUnavailable, OSError, and
        as `run`.
        """
        if self._fold is None:
            self._fold = self._make(self.copy)
        changed = self.copy.look()
        if not self._stopping.is_set():
            self._fold.follow(self._stopping.is_set)
        return changed

    def taken(self) -> Warm | None:
        """What is gone on from, once the copy has its last look; None: from the copy's version and journal."""
        return None if self._fold is None else self._fold.taken()

    @property
    def fold(self) -> WarmFold | None:
        """Its fold; None before the first look."""
        return self._fold

    def close(self) -> None:
        """Release what it has open. After the end of `run`."""
        if self._fold is not None:
            self._fold.close()

    def _look(self) -> bool:
        try:
            if holder := self._lock.take():
                self._health.waiting(f"learned on this host by {holder}")
                return False
            changed = self.look()
        except (ObjectsUnavailable, OSError) as error:
            self._away = True
            self._health.waiting(f"not followed: {error}")
            return False
        finally:
            self._lock.release()
        self._reached_at, self._away = self._ticks(), False
        self._tell()
        return changed or (self._fold is not None and not self._fold.level)

    def _tell(self) -> None:
        fold = self._fold
        assert fold is not None
        behind, problem = fold.behind_seconds, self.copy.problem or fold.problem
        if fold.version is None:
            self._health.waiting(problem or "nothing of it is here yet")
        elif problem:
            self._health.degraded(problem)
        elif behind > _BEHIND_SECONDS:
            self._health.degraded(f"{behind:.0f} s behind what its owner has uploaded")
        else:
            self._health.running()
