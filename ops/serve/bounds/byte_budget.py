"""A bound on the bytes that all requests together hold in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

from thalweg.ops.serve.errors import QueueFull, TooLarge

FREE_BYTES = 1 << 16
"""Of each request, which are not counted: small requests pass while large ones are refused."""


class ByteBudget:
    """Bytes that may be held at once. Thread-safe.

    Args:
        bytes_: The bound.
        refused: Called with `bytes_in_flight` on each refusal.
    """

    def __init__(self, bytes_: int, refused: Callable[[str], None] = lambda reason: None) -> None:
        self._most, self._refused = bytes_, refused
        self._lock = threading.Lock()
        self._taken = 0

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
        if count + held > self._most:
            self._refused("bytes_in_flight")
            raise TooLarge(f"the request would take {count + held} bytes of memory; at most {self._most} are allowed")
        with self._lock:
            if self._taken + count <= self._most:
                self._taken += count
                return
        self._refused("bytes_in_flight")
        raise QueueFull(f"requests hold {self._taken} of at most {self._most} bytes of memory; retry later")

    def give(self, count: int) -> None:
        """Hold `count` bytes less."""
        with self._lock:
            self._taken -= count


class BytesOfRequest:
    """What one request holds; given back at the end of a `with`."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._seen = self._held = 0

    def add(self, count: int) -> None:
        """Hold `count` bytes more. Raises as `ByteBudget.take`."""
        self._seen += count
        more = max(0, self._seen - FREE_BYTES) - self._held
        if more > 0:
            self._budget.take(more, self._held)
            self._held += more

    def __enter__(self) -> BytesOfRequest:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.give(self._held)
        self._held = 0
