"""Asks at intervals whether something outside (the log, the store) can be reached."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from thalweg.memory.kept_folders import FolderMoved, is_away
from thalweg.stream.health.registry import Health
from thalweg.stream.health.supervised import SupervisedThread

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 3.0


class Probe:
    """Keeps the health of an outside part up to date, in a thread of its own. What is away with a folder waits for it,
    without a word: another probe tells of the folder.

    Args:
        what: What is asked, as messages name it: `the log`.
        ask: Raises an exception while it cannot be reached.
        health: Its health: running or waiting.
        every_seconds: The interval.
        hopeless: Those of its exceptions that no waiting mends: failed, not waiting. A restart does not help either.
        partly: Those of its exceptions with which it answers, but for a part that they name: degraded.
        restart: Those of its exceptions that only a restart of this process mends.
        remark: What people should know of it although it is within reach: degraded; empty: nothing.
    """

    def __init__(
        self,
        what: str,
        ask: Callable[[], object],
        health: Health,
        every_seconds: float = _EVERY_SECONDS,
        *,
        hopeless: tuple[type[Exception], ...] = (),
        partly: tuple[type[Exception], ...] = (),
        restart: tuple[type[Exception], ...] = (),
        remark: Callable[[], str] = lambda: "",
    ) -> None:
        self._what = what
        self._ask = ask
        self._health = health
        self._every_seconds = every_seconds
        self._hopeless, self._partly, self._restart, self._remark = hopeless, partly, restart, remark
        self._reached, self._partly_reached = True, False
        self.restart_helps = True
        """Whether a restart is due if it is failed; else somebody must mend what is outside."""
        self._stopping = threading.Event()
        self._thread = SupervisedThread(self._run, health, f"probe-{health.component}")

    @property
    def component(self) -> str:
        """The part's name, as its health has it."""
        return self._health.component

    def start(self) -> None:
        """Start to ask."""
        self._thread.start()

    def close(self) -> None:
        """Stop asking; an answer that is still awaited is not."""
        self._stopping.set()
        self._thread.stop()

    def look(self) -> None:
        """Ask once."""
        try:
            self._ask()
        except self._partly as error:
            if not self._partly_reached:
                log.warning(f"a part of {self._what} is out of reach", problem=str(error))
            self._reached = self._partly_reached = self.restart_helps = True
            self._health.degraded(str(error))
        except Exception as error:
            if self._reached and (isinstance(error, FolderMoved) or not is_away(error)):
                log.error(f"{self._what} is out of reach", problem=str(error))
                self._reached = False
            self.restart_helps = isinstance(error, self._restart) and not isinstance(error, self._hopeless)
            failed = isinstance(error, (*self._hopeless, *self._restart))
            (self._health.failed if failed else self._health.waiting)(f"{self._what} is out of reach: {error}")
        else:
            if not self._reached or self._partly_reached:
                log.info(f"{self._what} is within reach again")
            self._reached, self._partly_reached, self.restart_helps = True, False, True
            if remark := self._remark():
                self._health.degraded(remark)
            else:
                self._health.running()

    def _run(self) -> None:
        self.look()
        while not self._stopping.wait(self._every_seconds):
            self.look()
