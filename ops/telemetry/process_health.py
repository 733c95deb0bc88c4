"""The health of a learner process's parts, from that process to the server: a file that is its sign of life, too."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from thalweg.ops.telemetry.live_file import LiveFile
from thalweg.stream.health.registry import RECOVERED_SECONDS, UNHEARD, ComponentHealth, Condition, HealthRegistry

PROCESS = "learner_process"
"""The component that stands for the learner process as a whole; of several, of the first: see `process_component`."""
SILENT_SECONDS = 10.0
"""A learner process writes its health about once a second; after this long without it counts as failed."""
SUPERVISOR_FILE = "supervisor.json"
"""What the supervisor tells of the processes, in the live folder."""
SILENT = "it sent no heartbeat and was killed"
"""Why the supervisor ended a process that did nothing any more."""
STUCK_EXIT_CODE = 70
"""Of a process that ends because a part of it is stuck."""
STUCK = "a part of it was stuck"
"""Why such a process ended."""
_LOOK_SECONDS = 0.2  # minimum interval between two checks of the file
_MOST_NAMED = 5  # models in one sentence


def learner_role(number: int) -> str:
    """What a learner process is called: `learner`, `learner-2` and so on."""
    return "learner" if number == 1 else f"learner-{number}"


def process_component(number: int) -> str:
    """The component that stands for a learner process: `learner_process`, `learner_process_2` and so on."""
    return PROCESS if number == 1 else f"{PROCESS}_{number}"


def is_process(component: str) -> bool:
    """Whether a component stands for a learner process as a whole."""
    return component.startswith(PROCESS)


def health_file(role: str) -> str:
    """The name of the file in which a learner process tells of its parts."""
    return f"health-{role}.json"


HEALTH_FILE = health_file(learner_role(1))


class HealthFile:
    """The learner process's side.

    Args:
        live: The folder that servers read.
        registry: The health of the process's parts.
        clock: Unix seconds.
        role: What the process is called.
    """

    def __init__(
        self,
        live: Path,
        registry: HealthRegistry,
        clock: Callable[[], float] = time.time,
        role: str = learner_role(1),
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._started = clock()
        self._ended = False
        self._file = LiveFile(live / health_file(role), self.render)

    def start(self) -> None:
        """Start writing the file about once a second."""
        self._file.start()

    def close(self) -> None:
        """Write a last time that the process has ended as asked."""
        self._ended = True
        self._file.close()

    def render(self) -> bytes:
        """The content of the file."""
        content = {
            "time": self._clock(),
            "started": self._started,
            "pid": os.getpid(),
            "ended": self._ended,
            "components": [one.record() for one in self._registry.report()],
        }
        return json.dumps(content).encode()


class LearnerProcess:
    """The server's side: a learner process as it last told of itself. Thread-safe.

    How long it has been silent is measured on this process's own clock, from one change of the file to the next.

    Args:
        live: The folder that the learner process writes to.
        silent_seconds: After this long without a sign of life it is failed.
        clock: Unix seconds.
        ticks: Monotonic seconds.
        number: Which of the learner processes it is, from 1.
        models: Those that it has, where there are several processes.
    """

    def __init__(
        self,
        live: Path,
        silent_seconds: float = SILENT_SECONDS,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        number: int = 1,
        models: Sequence[str] = (),
    ) -> None:
        self.role = learner_role(number)
        """What it is called."""
        self.component = process_component(number)
        """The component that stands for it."""
        self._name = f"learner process {number}" if models else "the learner process"
        self._models = tuple(models)
        self._path = live / health_file(self.role)
        self._silent_seconds = silent_seconds
        self._clock = clock
        self._ticks = ticks
        self._lock = threading.Lock()
        self._heard = ticks()
        self._look_after = 0.0
        self._restarts, self._restarted, self._cause = 0, 0.0, ""
        self._told: dict[str, Any] | None = None
        self._components: tuple[ComponentHealth, ...] = ()

    @property
    def pid(self) -> int | None:
        """Its process id, as it told; None before it was heard of."""
        self._look()
        told = self._told
        return None if told is None else int(told["pid"])

    @property
    def problem(self) -> str:
        """Why it does not work; empty while it does, and while it has time to start."""
        self._look()
        told, silent = self._told, self._ticks() - self._heard
        if told is not None and told["ended"]:
            return f"{self._name} has ended{self._concerned}"
        if silent > self._silent_seconds:
            return f"{self._name} has not been heard of for {silent:.0f} s{self._concerned}"
        return ""

    @property
    def _concerned(self) -> str:
        """The models that it has; empty where it is the only process."""
        if not self._models:
            return ""
        more = len(self._models) - _MOST_NAMED
        return f"; it has {', '.join(self._models[:_MOST_NAMED])}{f' and {more} more' if more > 0 else ''}"

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return not self.problem and self._told is not None

    def components(self) -> tuple[ComponentHealth, ...]:
        """The process and its parts; all of them are failed while it does not work."""
        problem, told = self.problem, self._told
        since = self._clock() - (self._ticks() - self._heard)
        if problem:
            state = Condition.FAILED
        elif told is None:
            state = Condition.STARTING
        else:
            state, since = Condition.RUNNING, float(told["started"])
        reason = problem
        if state is Condition.RUNNING and self._restarts and self._ticks() - self._restarted < RECOVERED_SECONDS:
            state, reason = Condition.DEGRADED, f"{self._name} was restarted after {self._cause}"
        process = ComponentHealth(
            component=self.component, model="", state=state, reason=reason, since=since, restarts=self._restarts
        )
        parts = self._components
        if problem:
            parts = tuple(
                replace(one, state=state, reason=problem, since=since)
                # of a process whose models were all refused, each says why
                if not (told and told["ended"] and one.state is Condition.FAILED)
                else one
                for one in parts
            )
        return (process, *parts)

    def _look(self) -> None:
        with self._lock:
            now = self._ticks()
            if now < self._look_after:
                return
            self._look_after = now + _LOOK_SECONDS
            try:
                told = json.loads(self._path.read_bytes())
                age = max(0.0, self._clock() - float(told["time"]))
                float(told["started"]), int(told["pid"]), bool(told["ended"])
                components = tuple(ComponentHealth.of(record) for record in told["components"])
            except (OSError, ValueError, LookupError, TypeError):
                return  # missing or damaged: what was told before stays, and grows old
            if self._told is None:
                self._heard = now - age  # written before this process looked
            elif (told["time"], told["pid"]) != (self._told["time"], self._told["pid"]):
                self._heard = now
                if told["started"] != self._told["started"] and not self._told["ended"]:
                    self._restarts, self._restarted, self._cause = self._restarts + 1, now, self._why()
            self._told, self._components = told, components

    def _why(self) -> str:
        """Why the process before this one ended, as its supervisor tells."""
        try:
            cause = json.loads((self._path.parent / SUPERVISOR_FILE).read_bytes())["roles"][self.role]["cause"]
        except (OSError, ValueError, LookupError, TypeError):
            cause = ""  # without a supervisor nobody knows
        if cause == STUCK:  # as the process itself told last
            stuck = [
                f"{one.component} {one.model}".strip() for one in self._components if one.reason.startswith(UNHEARD)
            ]
            cause = f"{STUCK}: {', '.join(stuck)}" if stuck else STUCK
        return str(cause) or "it ended unexpectedly"
