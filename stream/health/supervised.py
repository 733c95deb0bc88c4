"""A thread that is started again when it ends unexpectedly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from thalweg.memory.kept_folders import is_away
from thalweg.stream.health.registry import Health
from thalweg.stream.log.log import LogReplaced

log = structlog.get_logger(__name__)

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.1, 30.0


class SupervisedThread:
    """Runs a part in a thread of its own until it returns; an exception is logged, counted, and it is run again.

    Waits before the restarts grow from 0.1 s to the longest, and start anew once it has run for longer than that.

    Args:
        run: The part; called again after an exception, so it must begin from what is saved. Returns when it is done.
        health: Its health; the part itself reports `running`.
        name: The thread's name.
        hopeless: Errors after which a restart would not help: it stays failed until the process ends; `ended` tells.
        ended: Called on the thread when it ends for good, with the error, or None after a return.
        longest_wait_seconds: The longest wait before a restart.
    """

    def __init__(
        self,
        run: Callable[[], None],
        health: Health,
        name: str,
        *,
        hopeless: tuple[type[Exception], ...] = (),
        ended: Callable[[BaseException | None], None] = lambda error: None,
        longest_wait_seconds: float = _LONGEST_WAIT_SECONDS,
    ) -> None:
        self._run = run
        self._health = health
        self._hopeless = hopeless
        self._ended = ended
        self._longest_wait_seconds = longest_wait_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def stop(self) -> None:
        """Start it no more; the part itself must be told to return by its own means."""
        self._stopping.set()

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Wait for its end; whether it has ended. Returns at once if it was never started."""
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        wait = _FIRST_WAIT_SECONDS
        error: BaseException | None = None
        told = ""
        while not self._stopping.is_set():
            error = None
            started = time.monotonic()
            try:
                self._run()
            except BaseException as raised:  # a plug-in may raise SystemExit, and native libraries have their own
                error = raised
            if error is None:
                self._health.stopped()
                break
            if isinstance(error, self._hopeless):
                self._health.ended(str(error).removeprefix(f"model {self._health.model!r}: "))
                break
            told = self._tell(error, wait, told)
            if time.monotonic() - started > self._longest_wait_seconds:
                wait = _FIRST_WAIT_SECONDS
            with self._health.slow():  # until it is started again
                self._health.restarting(f"{type(error).__name__}: {error}")
                self._stopping.wait(wait)
            wait = min(2 * wait, self._longest_wait_seconds)
        self._ended(error)

    def _tell(self, error: BaseException, wait: float, told: str) -> str:
        """Log an error, unless it is what was `told` last; returns what is told now."""
        where = {"component": self._health.component, "model": self._health.model}
        if not is_away(error) and not isinstance(error, LogReplaced):
            log.error("a part ended unexpectedly: restarting it", **where, wait=wait, exc_info=error)
            return ""
        if str(error) != told and not self._stopping.is_set():  # no bug, whose place in the source would help
            log.error("a part cannot go on: trying again", **where, problem=str(error))
        return str(error)


class Part(Protocol):
    """What runs in a thread: a processor or a joiner."""

    def run(self) -> None:
        """Run until `stop`."""

    def stop(self) -> None:
        """Ask `run` to return."""


class Runs:
    """One part at a time, a fresh one for every start; told to stop, the present one and any later one stop.

    Args:
        build: Makes and runs a part: it calls its argument with the part, and runs it.
    """

    def __init__(self, build: Callable[[Callable[[Part], None]], None]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._part: Part | None = None
        self.stopping = threading.Event()
        """Set once it was told to stop."""

    def __call__(self) -> None:
        """Build and run a part; returns when it was stopped."""
        if not self.stopping.is_set():
            self._build(self._run)

    def stop(self) -> None:
        """Stop it."""
        with self._lock:
            self.stopping.set()
            if self._part is not None:
                self._part.stop()

    def _run(self, part: Part) -> None:
        with self._lock:
            self._part = part
            if self.stopping.is_set():
                part.stop()
        try:
            part.run()
        finally:
            with self._lock:
                self._part = None
