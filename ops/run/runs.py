"""Parts that run in supervised threads, a fresh one for every start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from thalweg.ops.config.error import ConfigurationError
from thalweg.stream.learn.settings import StateMismatch

REFUSALS = (StateMismatch, ConfigurationError)
"""Errors of a model's configuration: a restart does not help, and their message is all that the user needs."""


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
