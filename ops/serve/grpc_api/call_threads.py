"""The threads of calls, and the refusal of calls without one.

When the server is overloaded, most calls are refused, and their refusals must not wait for threads. gRPC hands over a
call on its own thread, together with our function for its method: a call that is to be refused is refused there.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import grpc
import structlog

log = structlog.get_logger(__name__)

_FIRST_SECONDS = 10.0
_TELL_SECONDS = 60.0

P = ParamSpec("P")
T = TypeVar("T")


class RefusableCall:
    """A method as gRPC calls it, which can tell whether a call that comes now is refused.

    Args:
        run: Receives and answers the call.
        refuse: Ends the call with a refusal, without blocking.
        overloaded: Whether a call that comes now is refused.
    """

    def __init__(
        self,
        run: Callable[[Any, grpc.ServicerContext], Any],
        refuse: Callable[[Any, grpc.ServicerContext], Any],
        overloaded: Callable[[], bool],
    ) -> None:
        self._run, self._refuse = run, refuse
        self.overloaded = overloaded

    def __call__(self, requests: Any, context: grpc.ServicerContext) -> Any:
        return self._run(requests, context)

    def refusing(self) -> Callable[[Any, grpc.ServicerContext], Any]:
        """What to call instead."""
        return self._refuse


class CallThreads(ThreadPoolExecutor):
    """One thread per call; a call that is to be refused is refused on the thread that submits it.

    Where the system lets this process start no further thread (a limit of tasks, too little memory), a call waits for
    one that is free: an error would end the thread on which gRPC hands over calls, and with it all that it serves.
    Raises RuntimeError: not even the first thread can be started.
    """

    def __init__(self, most: int, name: str) -> None:
        super().__init__(most, name)
        self._tell_after = -math.inf
        first = threading.Event()
        self.submit(first.set)
        if not first.wait(_FIRST_SECONDS):
            raise RuntimeError("no thread can be started for calls of gRPC: the limit of tasks is too low")

    def _adjust_thread_count(self) -> None:  # of `ThreadPoolExecutor`; the call is in its queue already
        try:
            super()._adjust_thread_count()
        except (RuntimeError, MemoryError) as error:
            if (now := time.monotonic()) >= self._tell_after:
                self._tell_after = now + _TELL_SECONDS
                log.error("no further thread can be started: calls wait for one that is free", problem=str(error))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `Executor.submit`."""
        for place, argument in enumerate(args):
            if isinstance(argument, RefusableCall):
                if argument.overloaded():
                    return _done(fn, *args[:place], argument.refusing(), *args[place + 1 :])
                break
        return super().submit(fn, *args, **kwargs)


def _done(fn: Callable[..., T], *args: Any) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(fn(*args))
    except Exception as error:
        future.set_exception(error)
    return future
