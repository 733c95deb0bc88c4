"""The health of every part that runs by itself: one registry per process, the only source of what is shown as well.

A component (the learner of a model, a joiner, the request buffer, the saver …) registers once and keeps its state up
to date. One that is not heard of within its bound is failed, whatever it said last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_LONGEST_REASON = 1000
RECOVERED_SECONDS = 60.0
"""A component that works again after a restart is degraded for this long: one that fails again and again never looks
well in between."""
UNHEARD = "no sign of life"
"""How the reason of a part begins of which nothing is heard."""


class Condition(StrEnum):
    """The state of a component."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    """For something outside that is expected to come back; tries again by itself."""
    DEGRADED = "degraded"
    """Works, but not as it should."""
    FAILED = "failed"
    """Does not work."""
    STOPPED = "stopped"
    """Ended as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentHealth:
    """The health of one component at one moment."""

    component: str
    """What it is: `learner`, `joiner`, `request_buffer` …; the same name for every model."""
    model: str
    """The model it belongs to; empty: it serves the whole process."""
    state: Condition
    reason: str
    """Why, in one line; empty for `starting`, `running` and `stopped`."""
    since: float
    """Unix seconds since when it has been in this state."""
    restarts: int
    """How often it was restarted after it ended unexpectedly."""

    @property
    def well(self) -> bool:
        """Whether nothing about it needs to be told."""
        return self.state in (Condition.STARTING, Condition.RUNNING, Condition.STOPPED)

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: getattr(self, name) for name in self.__slots__} | {"state": self.state.value}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> ComponentHealth:
        """From `record()`. Raises LookupError, TypeError or ValueError for anything else."""
        return cls(
            component=str(record["component"]),
            model=str(record["model"]),
            state=Condition(record["state"]),
            reason=str(record["reason"]),
            since=float(record["since"]),
            restarts=int(record["restarts"]),
        )


_WORST_FIRST = (
    Condition.FAILED,
    Condition.DEGRADED,
    Condition.WAITING,
    Condition.STARTING,
    Condition.RUNNING,
    Condition.STOPPED,
)


def joined(components: Iterable[ComponentHealth]) -> tuple[ComponentHealth, ...]:
    """One entry per component and model, in order of first appearance: of several (one per process), the worst."""
    found: dict[tuple[str, str], ComponentHealth] = {}
    for one in components:
        known = found.setdefault((one.component, one.model), one)
        if _WORST_FIRST.index(one.state) < _WORST_FIRST.index(known.state):
            found[one.component, one.model] = one
    return tuple(found.values())


class Health:
    """A component's own handle. Thread-safe; every method is cheap enough for once per block or request batch.

    A component outside a registry (a test, a notebook) may use one of its own.

    Args:
        component: See `ComponentHealth`.
        model: See `ComponentHealth`.
        silent_seconds: It is failed if it calls none of the methods for this long; None: never.
        clock: Unix seconds.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        component: str = "",
        model: str = "",
        *,
        silent_seconds: float | None = None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.component = component
        self.model = model
        self._silent_seconds = silent_seconds
        self._clock = clock
        self._ticks = ticks
        self._lock = threading.Lock()
        self._state, self._reason, self._since = Condition.STARTING, "", clock()
        self._restarts = 0
        self._restarted: tuple[float, str] | None = None
        self._heard = ticks()
        self._ended = False

    def beat(self) -> None:
        """It is alive; its state stays what it is."""
        self._heard = self._ticks()

    def running(self) -> None:
        """It does its work."""
        self._enter(Condition.RUNNING)

    def waiting(self, reason: str) -> None:
        """It waits for something outside and tries again by itself."""
        self._enter(Condition.WAITING, reason)

    def degraded(self, reason: str) -> None:
        """It works, but not as it should."""
        self._enter(Condition.DEGRADED, reason)

    def failed(self, reason: str) -> None:
        """It does not work."""
        self._enter(Condition.FAILED, reason)

    def stopped(self) -> None:
        """It ended as asked."""
        self._enter(Condition.STOPPED)

    def ended(self, reason: str) -> None:
        """It does not work and will not be started again: it is expected to be silent."""
        self._ended = True
        self._enter(Condition.FAILED, reason)

    def restarting(self, reason: str) -> None:
        """It ended unexpectedly and is about to be started again; counted."""
        with self._lock:
            self._restarts += 1
            self._restarted = self._ticks(), reason
        self._enter(Condition.FAILED, reason)

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Within this block the component may be silent: for a call that may take long by nature."""
        bound, self._silent_seconds = self._silent_seconds, None
        try:
            yield
        finally:
            self._heard = self._ticks()
            self._silent_seconds = bound

    @property
    def silent(self) -> bool:
        """Whether nothing was heard of it for longer than its bound, although something should have been: also of one
        that said before that it has failed, and is at work again.
        """
        bound = self._silent_seconds
        expected = bound is not None and not self._ended and self._state is not Condition.STOPPED
        return expected and self._ticks() - self._heard > (bound or 0.0)

    def now(self) -> ComponentHealth:
        """Its health at this moment."""
        with self._lock:
            state, reason, since, restarts = self._state, self._reason, self._since, self._restarts
            restarted = self._restarted
        if state is Condition.RUNNING and restarted is not None and self._ticks() - restarted[0] < RECOVERED_SECONDS:
            state, reason = Condition.DEGRADED, _one_line(f"was restarted after {restarted[1]}")
        bound, silent = self._silent_seconds, self._ticks() - self._heard
        if bound is not None and self.silent and state is not Condition.FAILED:
            state, since = Condition.FAILED, self._clock() - silent
            reason = f"{UNHEARD} for more than {bound:g} s" + (f"; last: {reason}" if reason else "")
        return ComponentHealth(
            component=self.component, model=self.model, state=state, reason=reason, since=since, restarts=restarts
        )

    def _enter(self, state: Condition, reason: str = "") -> None:
        reason = _one_line(reason)
        with self._lock:
            if state is not self._state:
                self._state, self._since = state, self._clock()
            self._reason = reason
        self._heard = self._ticks()


def _one_line(reason: str) -> str:
    return " ".join(reason.split())[:_LONGEST_REASON]


class HealthRegistry:
    """The components of one process. Thread-safe.

    Args:
        clock: Unix seconds.
        ticks: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ticks = ticks
        self._lock = threading.Lock()
        self._handles: dict[tuple[str, str], Health] = {}

    def register(self, component: str, model: str = "", *, silent_seconds: float | None = None) -> Health:
        """The handle of a component; the same one if it registered before, so that a restarted one keeps its count.

        `silent_seconds`: it is failed if nothing is heard of it for this long; None: it need not report by itself.
        """
        with self._lock:
            found = self._handles.get((component, model))
            if found is None:
                found = self._handles[component, model] = Health(
                    component, model, silent_seconds=silent_seconds, clock=self._clock, ticks=self._ticks
                )
        return found

    def forget(self, model: str, component: str | None = None) -> None:
        """Forget a component, or all, of a model that is not this process's any more."""
        with self._lock:
            self._handles = {
                place: handle
                for place, handle in self._handles.items()
                if place[1] != model or component not in (None, place[0])
            }

    def report(self) -> tuple[ComponentHealth, ...]:
        """The health of every component, in the order of registration."""
        with self._lock:
            handles = list(self._handles.values())
        return tuple(handle.now() for handle in handles)

    def silent(self) -> tuple[Health, ...]:
        """Those of which nothing was heard for longer than their bound."""
        with self._lock:
            handles = list(self._handles.values())
        return tuple(handle for handle in handles if handle.silent)
