"""What fails, and when: everything is drawn from the scheduler's random numbers."""

from __future__ import annotations

import math

from thalweg.ops.simulate.scheduler import Crash, Process, Scheduler

MEAN_POINTS_BETWEEN_CRASHES = 1500.0
"""At how many points, on average, a learner process passes before it dies at one."""


class Faults:
    """The faults in force; `points` of real code pass through it.

    Args:
        scheduler: Source of time and of random numbers.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.healed = False
        """Whether no new fault begins; those in force must be ended by whoever sets it."""
        self.log_away = False
        self.store_away = False
        self._disk_left: float = math.inf
        self._points_left = math.inf
        self.victims: set[Process] = set()
        """The processes that may die at any point."""

    def arm(self) -> None:
        """Draw the point at which a process dies next."""
        self._points_left = self._scheduler.random.expovariate(1 / MEAN_POINTS_BETWEEN_CRASHES)

    def fill_disk(self) -> None:
        """The disk has little room left."""
        self._disk_left = self._scheduler.random.randrange(200)

    def free_disk(self) -> None:
        """The disk has room again."""
        self._disk_left = math.inf

    @property
    def disk_full(self) -> bool:
        """Whether the disk is (about to be) full."""
        return self._disk_left < math.inf

    def point(self, what: str) -> None:
        """A point at which the running process may die. Raises Crash if it does, or is dead."""
        process = self.process()
        if not process.alive:
            raise Crash
        if self.healed or process not in self.victims:
            return
        self._points_left -= 1
        if self._points_left < 0:
            self.arm()
            self._scheduler.note(f"{process.name} dies at: {what}")
            self._scheduler.kill(process)
            raise Crash

    def room(self, wanted: int) -> int:
        """How many of these bytes fit on the disk."""
        taken = int(min(wanted, self._disk_left))
        self._disk_left -= taken
        return taken

    def choose(self, options: int) -> int:
        """A number below `options`."""
        return self._scheduler.random.randrange(options)

    def process(self) -> Process:
        """The process whose turn it is."""
        task = self._scheduler.running
        return task.process if task is not None else _NOBODY


_NOBODY = Process("nobody")
