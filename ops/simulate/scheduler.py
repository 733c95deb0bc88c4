"""Virtual time and a seeded scheduler: every task of the simulation takes its turns in one thread.

Each task is a greenlet, so that real code with blocking calls runs unchanged as long as it waits through the scheduler:
meanwhile the other tasks take their turns. The same seed gives the same turns, the same times and the same trace.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import greenlet

_LINES_KEPT = 400
_STARTED = 1_700_000_000.0  # Unix seconds of the beginning: any fixed moment


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing in it may catch this."""


class SimulationError(BaseException):
    """A task has failed; no simulated part may catch this."""


@dataclass(eq=False)
class Process:
    """A simulated process; its tasks end when it dies."""

    name: str
    alive: bool = True
    deaths: int = 0


@dataclass(order=True)
class _Due:
    """A moment at which a task goes on."""

    time: float
    number: int
    task: Task = field(compare=False)
    wait: int = field(compare=False)
    """The number of the wait that it ends; a wait that has ended otherwise has another one by then."""


@dataclass(eq=False)
class Task:
    """Something that takes turns."""

    name: str
    process: Process
    turn: Callable[[], float | None]
    """Takes a turn; returns the seconds until the next one, None if there is none."""
    lane: greenlet.greenlet | None = None
    waits: int = 0
    condition: Callable[[], bool] | None = None
    """What ends its present wait, if anything but time does."""


class Scheduler:
    """Runs tasks in the order of virtual time.

    Args:
        seed: Determines everything random.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.offset = 0.0
        """Seconds by which the wall clock has been set forward (or back)."""
        self.turns = 0
        """Times that a task went on, so far."""
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        """The newest lines of the trace."""
        self.running: Task | None = None
        """The task whose turn it is."""
        self._now = 0.0
        self._numbers = 0
        self._queue: list[_Due] = []
        self._tasks: list[Task] = []
        self._hub = greenlet.getcurrent()
        self._hash = hashlib.sha256()

    # -- time ---------------------------------------------------------------------------------------------------------

    def ticks(self) -> float:
        """Monotonic seconds since the beginning."""
        return self._now

    def clock(self) -> float:
        """Unix seconds, as a wall clock shows them that may have been set."""
        return _STARTED + self._now + self.offset

    # -- tasks --------------------------------------------------------------------------------------------------------

    def spawn(self, name: str, process: Process, turn: Callable[[], float | None], after: float = 0.0) -> None:
        """A new task, whose first turn comes after this many seconds."""
        task = Task(name, process, turn)
        task.lane = greenlet.greenlet(lambda: self._live(task), self._hub)
        self._tasks.append(task)
        self._due(task, after)

    def run(self, steps: int) -> None:
        """Let tasks go on this many times."""
        wanted = self.turns + steps
        while self.turns < wanted and self._queue:
            due = heapq.heappop(self._queue)
            if due.wait != due.task.waits or due.task.lane is None:
                continue
            self._now = max(self._now, due.time)
            self._go_on(due.task)
            for task in [one for one in self._tasks if one.condition is not None]:
                if task.condition is not None and task.condition():
                    task.condition = None
                    task.waits += 1
                    self._due(task, 0.0)

    def sleep(self, seconds: float) -> None:
        """The running task waits; others take their turns meanwhile. Raises Crash if its process dies meanwhile."""
        self._pause(seconds, None)

    def wait(self, true: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition, which other tasks make true, at most this long; whether it is true.

        Raises Crash if the process of the waiting task dies meanwhile.
        """
        if not true():
            self._pause(seconds, true)
        return true()

    def kill(self, process: Process) -> None:
        """The process dies: its other tasks end at once; the running one, if it is one of them, must raise Crash."""
        process.alive = False
        process.deaths += 1
        running = self.running
        for task in [one for one in self._tasks if one.process is process and one is not running]:
            self._tasks.remove(task)
            lane, task.lane = task.lane, None
            if lane:  # has begun: whatever it still does as its calls unwind, it does as a dead process
                self.running = task
                lane.parent = greenlet.getcurrent()
                lane.throw(Crash)
        self.running = running

    def close(self) -> None:
        """End all tasks."""
        for process in list(dict.fromkeys(task.process for task in self._tasks)):
            self.kill(process)

    def _live(self, task: Task) -> None:
        try:
            while (after := task.turn()) is not None:
                self._pause(after, None)
        except Crash:
            if task.process.alive:
                self.kill(task.process)
        except Exception as error:
            raise SimulationError(f"task {task.name!r} failed: {type(error).__name__}: {error}") from error
        task.lane = None
        if task in self._tasks:
            self._tasks.remove(task)

    def _pause(self, seconds: float, condition: Callable[[], bool] | None) -> None:
        task = self.running
        assert task is not None, "only a task can wait"
        task.waits += 1
        task.condition = condition
        self._due(task, max(0.0, seconds))
        self._hub.switch()
        if not task.process.alive:
            raise Crash

    def _go_on(self, task: Task) -> None:
        self.turns += 1
        task.condition = None
        assert task.lane is not None
        self.running = task
        task.lane.switch()
        self.running = None

    def _due(self, task: Task, after: float) -> None:
        self._numbers += 1
        heapq.heappush(self._queue, _Due(self._now + after, self._numbers, task, task.waits))

    # -- trace --------------------------------------------------------------------------------------------------------

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        who = self.running.name if self.running is not None else "-"
        line = f"{self._now:12.6f} {who:10} {what}"
        self.lines.append(line)
        self._hash.update(line.encode() + b"\n")

    @property
    def trace_sha256(self) -> str:
        """Hash over all lines of the trace."""
        return self._hash.hexdigest()
