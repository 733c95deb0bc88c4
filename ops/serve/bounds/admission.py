"""Admission of requests: how many are processed at once, how many may wait, and which are refused at once.

A queue serves bursts; a queue that stays full only makes every answer late. So a queue that overflows is cut to what
can be answered in time, and stays that short until a second has passed without a refusal.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from thalweg.ops.serve.errors import QueueFull

OVERLOAD_WAIT_SECONDS = 0.002
"""While requests are refused, how long an accepted one may expect to wait, or its own duration if that is longer."""
_CALM_SECONDS = 1.0  # without a refusal, after which a queue may fill again
_SHARE = 0.05  # of a new duration in the running mean


class _Place:
    """A request that waits: `go` is set by whoever gives it a slot, or refuses it."""

    __slots__ = ("go", "refused")

    def __init__(self) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.refused = False


class Admission:
    """Slots for requests of one kind, and the queue before them; first come, first served. Thread-safe.

    Args:
        name: What is counted, for the refusal's text.
        count: Requests processed at once.
        queue: Requests that may wait in addition; when one more comes, the server is overloaded.
        refused: Called on each refusal, with the name.
        clock: Seconds.
    """

    def __init__(
        self,
        name: str,
        count: int,
        queue: int,
        *,
        refused: Callable[[str], None] = lambda name: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name = name
        self._count, self._most = count, queue
        self.refused, self._clock = refused, clock
        self._lock = threading.Lock()
        self._running = 0
        self._waiting: deque[_Place] = deque()
        self._mean_seconds = 0.0
        self._calm_at = -1.0
        self._paused = False
        self._here = threading.local()

    @property
    def queue_seconds(self) -> float:
        """How long the present request waited for its slot; 0 on a thread that has none."""
        return getattr(self._here, "queued", 0.0)

    def overloaded(self) -> bool:
        """Whether a request that came now would be refused; asked before its content is read. Lasts a microsecond."""
        return bool(self._waiting) and len(self._waiting) >= self._limit() and not self._paused

    def refusal(self) -> QueueFull:
        """The refusal of a request because of overload; counted."""
        with self._lock:
            return self._overflow()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a slot and hold it. Raises QueueFull, at once or when the queue overflows."""
        started = self._clock()
        self._enter()
        begun = self._clock()
        here = self._here
        here.queued, here.holds, here.waited = begun - started, True, 0.0
        try:
            yield
        finally:
            here.holds, here.queued = False, 0.0
            self._leave(self._clock() - begun - here.waited)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While active, another request is processed in place of the one on this thread.

        Has no effect on a thread without a slot and within another `waiting`. After the wait the request goes on at
        once, beside the others, and one less begins afterwards.
        """
        here = self._here
        if not getattr(here, "holds", False):
            yield
            return
        here.holds, left = False, self._clock()
        self._leave(None)
        try:
            yield
        finally:
            here.holds = True
            here.waited += self._clock() - left
            with self._lock:
                self._running += 1

    def pause(self) -> None:
        """Begin no request until `resume`; those that come wait, beyond the queue's bound."""
        with self._lock:
            self._paused = True

    def resume(self) -> None:
        """Process what waits."""
        with self._lock:
            self._paused = False
            while self._waiting and self._running < self._count:
                self._running += 1
                self._waiting.popleft().go.release()

    def _enter(self) -> None:
        with self._lock:
            if self._running < self._count and not self._paused:
                self._running += 1
                return
            if len(self._waiting) >= self._limit() and not self._paused:
                raise self._overflow()
            place = _Place()
            self._waiting.append(place)
        place.go.acquire()
        if place.refused:
            raise self._counted()

    def _leave(self, seconds: float | None) -> None:
        """Give the slot to the request that waits longest."""
        with self._lock:
            if seconds is not None:
                self._mean_seconds += _SHARE * (seconds - self._mean_seconds)
            if self._waiting and self._running <= self._count and not self._paused:
                self._waiting.popleft().go.release()
            else:
                self._running -= 1

    def _limit(self) -> int:
        """How many may wait now."""
        if self._clock() >= self._calm_at:
            return self._most
        return self._in_time()

    def _in_time(self) -> int:
        """How many may wait while the server is overloaded: those whose turn comes in time."""
        mean = self._mean_seconds
        wanted = max(OVERLOAD_WAIT_SECONDS, mean) * self._count / mean if mean > 0 else self._most
        return min(self._most, max(1, int(wanted)))

    def _overflow(self) -> QueueFull:
        """The refusal of one more; cuts the queue if this is the first. The caller holds the lock."""
        now = self._clock()
        if now >= self._calm_at:
            for _ in range(len(self._waiting) - self._in_time()):
                place = self._waiting.pop()  # those who came last lose least
                place.refused = True
                place.go.release()
        self._calm_at = now + _CALM_SECONDS
        return self._counted()

    def _counted(self) -> QueueFull:
        self.refused(self.name)
        return QueueFull(f"the server is overloaded: too many {self.name} are waiting; retry later")
