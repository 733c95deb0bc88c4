"""Open streams of one method: bounded in number; idle ones make room for new ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

from thalweg.ops.serve.errors import QueueFull

Item = TypeVar("Item")

MOST_STREAMS = 64
"""Streams of one method."""
_IDLE_SECONDS = 10.0  # without a message, after which a stream may have to make room


class OpenStreams:
    """The streams of one method. Thread-safe.

    Args:
        name: The method, for the refusal's text.
        most: Streams at once. With one more, the one that is idle for longest is cancelled if it has been idle for a
            while; else the new one is refused.
        refused: Called with the reason, the name, for each stream that is refused or cancelled.
        clock: Seconds.
    """

    def __init__(
        self,
        name: str,
        most: int = MOST_STREAMS,
        *,
        refused: Callable[[str], None] = lambda name: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._most, self._refused, self._clock = most, refused, clock
        self._lock = threading.Lock()
        self._active: dict[grpc.ServicerContext, float] = {}  # when last, the longest idle first

    @contextmanager
    def slot(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Hold a slot for this stream. Raises QueueFull."""
        idle = None
        with self._lock:
            if len(self._active) >= self._most:
                idle = next(iter(self._active))
                if self._clock() - self._active[idle] < _IDLE_SECONDS:
                    self._refused(self.name)
                    raise QueueFull(f"{self._most} streams of {self.name} are open, the maximum; retry later")
                del self._active[idle]
            self._active[context] = self._clock()
        if idle is not None:
            self._refused(self.name)
            idle.cancel()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            with self._lock:
                self._active.pop(context, None)

    def noting(self, items: Iterator[Item], context: grpc.ServicerContext) -> Iterator[Item]:
        """The items of a stream, each of which shows that it is not idle."""
        for item in items:
            with self._lock:
                if self._active.pop(context, None) is not None:
                    self._active[context] = self._clock()
            yield item
