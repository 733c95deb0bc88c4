"""A bound on the bytes that all requests together hold in memory: what came, what it expands to, and the answer."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from thalweg.ops.serve.errors import QueueFull, TooLarge

FREE_BYTES = 1 << 16
"""Of each request, which are not counted: small requests pass while large ones are refused."""


_WORTH_TRIMMING = 16 << 20  # bytes that a request held


class HoldsBytes(Protocol):
    """What counts the memory that a request holds."""

    def add(self, count: int) -> None:
        """Hold `count` bytes more, or less where it is negative. Raises TooLarge or QueueFull."""


HELD: ContextVar[HoldsBytes | None] = ContextVar("held", default=None)
"""What the call that runs on this thread holds; None: nobody counts."""


class ByteBudget:
    """Bytes that may be held at once. Thread-safe.

    Args:
        bytes_: The bound.
        refused: Called with `bytes_in_flight` on each refusal.
    """

    def __init__(self, bytes_: int, refused: Callable[[str], None] = lambda reason: None) -> None:
        self.most, self._refused = bytes_, refused
        self._lock = threading.Lock()
        self._taken = 0
        self._large = False  # whether a large request ended since `give_back`
        self._trim = _trimming()

    @property
    def taken(self) -> int:
        """Bytes held now."""
        return self._taken

    def share(self) -> BytesOfRequest:
        """The share of one request; to be closed."""
        return BytesOfRequest(self)

    def take(self, count: int, held: int) -> None:
        """Hold `count` bytes beside the `held` ones of the same request.

        Raises:
            TooLarge: One request would hold more than the bound.
            QueueFull: They do not fit now.
        """
        if count + held > self.most:
            self._refused("bytes_in_flight")
            raise TooLarge(
                f"the request would take {count + held} bytes of memory or more; at most {self.most} are allowed "
                "(service.requests_bytes); send less at once"
            )
        with self._lock:
            if self._taken + count <= self.most:
                self._taken += count
                return
        self._refused("bytes_in_flight")
        raise QueueFull(
            f"the request needs {count} bytes of memory, and requests hold {self._taken} of at most {self.most} "
            "(service.requests_bytes); retry later, or send less at once"
        )

    def give(self, count: int) -> None:
        """Hold `count` bytes less."""
        with self._lock:
            self._taken -= count
        self._large |= count >= _WORTH_TRIMMING

    def give_back(self) -> None:
        """Give the system what large requests took, which the allocator would keep; called again and again."""
        if self._large:
            self._large = False
            self._trim(0)


class BytesOfRequest:
    """What one request holds; given back at the end of a `with`."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._seen = self._held = 0

    @property
    def most(self) -> int:
        """What all requests may hold together."""
        return self._budget.most

    def add(self, count: int) -> None:
        """Hold `count` bytes more, or less where it is negative. Raises as `ByteBudget.take`."""
        self._seen += count
        more = max(0, self._seen - FREE_BYTES) - self._held
        if more > 0:
            self._budget.take(more, self._held)
        elif more < 0:
            self._budget.give(-more)
        self._held += more

    def __enter__(self) -> BytesOfRequest:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.give(self._held)
        self._held = 0


def _trimming() -> Callable[[int], Any]:
    """The C library's `malloc_trim`, where it has one."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda pad: None
