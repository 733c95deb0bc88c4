"""The threads that answer calls; each call can tell how long it waited for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Workers(ThreadPoolExecutor):
    """A thread pool that notes the waiting time of what runs."""

    def __init__(self, count: int, name: str) -> None:
        super().__init__(count, thread_name_prefix=name)
        self._running = threading.local()

    @property
    def queue_seconds(self) -> float:
        """How long the call that runs on this thread had waited for it; 0 on a thread that is none of these."""
        return getattr(self._running, "waited", 0.0)

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        return super().submit(self._run, time.perf_counter(), fn, arguments, named)

    def _run(self, submitted: float, fn: Callable[..., Any], arguments: Any, named: Any) -> Any:
        self._running.waited = time.perf_counter() - submitted
        return fn(*arguments, **named)
