"""The threads of calls, and the refusal of calls without one.

When the server is overloaded, most calls are refused, and their refusals must not wait for threads. gRPC hands over a
call on its own thread, together with our function for its method: a call that is to be refused is refused there.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import grpc

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
    """One thread per call; a call that is to be refused is refused on the thread that submits it."""

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
