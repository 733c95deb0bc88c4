"""Threads for calls that last or block, so that these do not occupy the threads of predictions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

from thalweg.ops.serve.errors import QueueFull, refuse

MOST_LONG = 64
"""Maximum number of streams and of calls that wait for a learner."""
MOST_BLOCKING = 16
"""Maximum number of calls that append to the log or read a folder at once; further ones queue."""

Call = Callable[[Any, grpc.ServicerContext], Any]


def on(pool: Executor, call: Call) -> Call:
    """Runs a call in this pool."""
    call.experimental_thread_pool = pool  # type: ignore[attr-defined]  # where gRPC looks for it
    return call


class LongCalls:
    """Threads for streams and for calls that wait for a learner; more than `most` calls are refused."""

    def __init__(self, most: int = MOST_LONG) -> None:
        self._most = most
        self._slots = threading.BoundedSemaphore(most)
        self._pool = ThreadPoolExecutor(
            2 * most, "grpc-long"
        )  # more threads than slots, because refusing takes one too

    def stream(self, call: Call) -> Call:
        """Runs a call with a stream of responses on these threads."""

        def running(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            self._acquire(context)
            try:
                yield from call(request, context)
            finally:
                self._slots.release()

        return on(self._pool, running)

    def unary(self, call: Call) -> Call:
        """Runs a unary call on these threads."""

        def running(request: Any, context: grpc.ServicerContext) -> Any:
            self._acquire(context)
            try:
                return call(request, context)
            finally:
                self._slots.release()

        return on(self._pool, running)

    def _acquire(self, context: grpc.ServicerContext) -> None:
        if not self._slots.acquire(blocking=False):
            refuse(context, QueueFull(f"{self._most} streams or long calls are open, the maximum; retry later"))


@dataclass(frozen=True, slots=True)
class CallThreads:
    """The threads of one server besides its workers."""

    long: LongCalls = field(default_factory=LongCalls)
    blocking: Executor = field(default_factory=lambda: ThreadPoolExecutor(MOST_BLOCKING, "grpc-blocking"))
