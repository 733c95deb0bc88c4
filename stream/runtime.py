"""What the loop takes from the operating system: clocks, waits and threads; a simulation replaces them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Signal(Protocol):
    """As `threading.Event`."""

    def set(self) -> None:
        """Set it."""

    def is_set(self) -> bool:
        """Whether it is set."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for the timeout in seconds; whether it is set."""


class BackgroundTask(Protocol):
    """As `threading.Thread`."""

    def start(self) -> None:
        """Start it."""

    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""

    def join(self) -> None:
        """Wait for its end."""


def _thread(work: Callable[[], None], name: str) -> BackgroundTask:
    return threading.Thread(target=work, name=name, daemon=True)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Clocks, waits and threads; the defaults are those of the operating system."""

    clock: Callable[[], float] = time.time
    """Unix seconds."""
    ticks: Callable[[], float] = time.monotonic
    """Monotonic seconds."""
    signal: Callable[[], Signal] = threading.Event
    """A new signal."""
    background: Callable[[Callable[[], None], str], BackgroundTask] = _thread
    """A task of this name, not started yet, that runs the given work beside the caller."""


REAL = Runtime()
"""The operating system's."""
