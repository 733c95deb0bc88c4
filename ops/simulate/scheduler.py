"""Virtual time and a seeded scheduler: every task of the simulation takes its turns in one thread.

A task that waits lets the others take theirs inside its wait, so real code with blocking calls runs unchanged as long
as it waits through the scheduler. The same seed gives the same turns, the same times and the same trace.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

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
class _Turn:
    time: float
    number: int
    task: Task = field(compare=False)


@dataclass(eq=False)
class Task:
    """Something that takes turns."""

    name: str
    process: Process
    turn: Callable[[], float | None]
    """Takes a turn; returns the seconds until the next one, None if there is none."""
    ended: bool = False


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
        """Turns taken so far."""
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        """The newest lines of the trace."""
        self._now = 0.0
        self._numbers = 0
        self._queue: list[_Turn] = []
        self._stack: list[Task] = []
        self._hash = hashlib.sha256()

    # -- time ---------------------------------------------------------------------------------------------------------

    def ticks(self) -> float:
        """Monotonic seconds since the beginning."""
        return self._now

    def clock(self) -> float:
        """Unix seconds, as a wall clock shows them that may have been set."""
        return _STARTED + self._now + self.offset

    # -- tasks --------------------------------------------------------------------------------------------------------

    def spawn(self, name: str, process: Process, turn: Callable[[], float | None], after: float = 0.0) -> Task:
        """A new task, whose first turn comes after this many seconds."""
        task = Task(name, process, turn)
        self._queue_up(task, after)
        return task

    def run(self, steps: int) -> None:
        """Let tasks take this many turns, those inside waits included."""
        wanted = self.turns + steps
        while self.turns < wanted and self._queue:
            self._take_turn()

    def sleep(self, seconds: float) -> None:
        """The running task waits; others take their turns meanwhile. Raises Crash if its process dies meanwhile."""
        self.wait(lambda: False, seconds)

    def wait(self, true: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition, which other tasks make true, at most this long; whether it is true.

        Raises Crash if the process of the waiting task dies meanwhile.
        """
        until = self._now + max(0.0, seconds)
        while not true():
            if not self._queue or self._queue[0].time > until:
                self._now = max(self._now, until)
                return true()
            self._take_turn()
            if self._stack and not self._stack[-1].process.alive:
                raise Crash
        return True

    @property
    def running(self) -> Task | None:
        """The task whose turn it is."""
        return self._stack[-1] if self._stack else None

    def kill(self, process: Process) -> None:
        """The process dies; the turn in which it is ends with Crash."""
        process.alive = False
        process.deaths += 1
        self._queue = [turn for turn in self._queue if turn.task.process is not process]
        heapq.heapify(self._queue)

    def _take_turn(self) -> None:
        turn = heapq.heappop(self._queue)
        self._now = max(self._now, turn.time)
        self.turns += 1
        task = turn.task
        self._stack.append(task)
        try:
            after = task.turn()
        except Crash:
            if task.process.alive:
                self.kill(task.process)
            after = None
        except Exception as error:
            raise SimulationError(f"task {task.name!r} failed: {type(error).__name__}: {error}") from error
        finally:
            self._stack.pop()
        if after is None or not task.process.alive:
            task.ended = True
        else:
            self._queue_up(task, after)

    def _queue_up(self, task: Task, after: float) -> None:
        self._numbers += 1
        heapq.heappush(self._queue, _Turn(self._now + after, self._numbers, task))

    # -- trace --------------------------------------------------------------------------------------------------------

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        who = self._stack[-1].name if self._stack else "-"
        line = f"{self._now:12.6f} {who:10} {what}"
        self.lines.append(line)
        self._hash.update(line.encode() + b"\n")

    @property
    def trace_sha256(self) -> str:
        """Hash over all lines of the trace."""
        return self._hash.hexdigest()
