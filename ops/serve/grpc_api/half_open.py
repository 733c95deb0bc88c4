"""Calls whose request has not arrived yet: bounded in number and in time, and never in the way of others.

A caller may begin a call and send nothing, or half of its message. Each such call holds a thread that sleeps. When too
many are open, the oldest one ends: a request on its way takes milliseconds, so it is never the oldest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import grpc

from thalweg.ops.serve.errors import DeadlineExceeded
from thalweg.ops.serve.grpc_api.memory_growth import MemoryGrowth
from thalweg.proto.schema import InputError

MOST_HALF_OPEN = 128
_SLOW_SECONDS = 0.2  # a message that takes longer may have to end for the memory that it takes


class HalfOpenCalls:
    """Receives the first message of calls. Thread-safe.

    Args:
        seconds: Time for a message to arrive.
        most: Calls that may wait for their message at once; with one more, the oldest is cancelled.
        cancelled: Called with the reason, `half_open`, `receive_timeout` or `bytes_in_flight`, for each call that is
            cancelled.
        growth: Of the memory; while it exceeds its bound, slow calls are cancelled, the oldest first.
        clock: Seconds.
    """

    def __init__(
        self,
        seconds: float,
        most: int = MOST_HALF_OPEN,
        *,
        cancelled: Callable[[str], None] = lambda reason: None,
        growth: MemoryGrowth | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._growth = growth
        self._seconds, self._most = seconds, most
        self._cancelled, self._clock = cancelled, clock
        self._lock = threading.Lock()
        self._open: dict[grpc.ServicerContext, float] = {}  # since when, in order: the oldest first

    def __len__(self) -> int:
        return len(self._open)

    def message(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """The request of a call.

        Raises:
            InputError: The caller ended the call without one.
            DeadlineExceeded: The caller is gone, or the call was cancelled here; nobody reads the message.
        """
        with self._lock:
            self._open[context] = self._clock()
            oldest = self._pop_oldest() if len(self._open) > self._most else None
        if oldest is not None:
            self._cancel(oldest, "half_open")
        try:
            return next(requests)
        except StopIteration:
            raise InputError("the call has no request message: expected one, got none") from None
        except grpc.RpcError as error:
            raise DeadlineExceeded("the call was cancelled before its request arrived") from error
        finally:
            with self._lock:
                self._open.pop(context, None)

    def expire(self) -> None:
        """Cancel the calls whose time is over; called again and again."""
        while True:
            with self._lock:
                since = next(iter(self._open.values()), None)
                if since is None or self._clock() - since <= self._seconds:
                    return
                oldest = self._pop_oldest()
            self._cancel(oldest, "receive_timeout")

    def relieve(self) -> None:
        """Cancel the oldest call if half-sent messages take too much memory; called again and again."""
        if self._growth is None:
            return
        now = self._clock()
        self._growth.sample(now)
        with self._lock:
            since = next(iter(self._open.values()), now)
            if now - since <= _SLOW_SECONDS or not self._growth.exceeded(since):
                return
            oldest = self._pop_oldest()
        self._cancel(oldest, "bytes_in_flight")

    def _pop_oldest(self) -> grpc.ServicerContext:
        oldest = next(iter(self._open))
        del self._open[oldest]
        return oldest

    def _cancel(self, context: grpc.ServicerContext, reason: str) -> None:
        context.cancel()  # type: ignore[no-untyped-call]
        self._cancelled(reason)
