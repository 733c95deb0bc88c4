"""A queue between two threads that is bounded in items and in bytes: who puts waits, and so does who sends to it."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ByteQueue(Generic[Item]):
    """First in, first out. Any number of threads may use it.

    Args:
        items: Most items that wait.
        size_bytes: Most bytes that wait; one item alone may have more.
    """

    def __init__(self, items: int, size_bytes: int) -> None:
        self._most_items, self._most_bytes = items, size_bytes
        self._waiting: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: Item, size_bytes: int = 0) -> bool:
        """Put an item in as soon as there is room; False once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(size_bytes))
            if self._closed:
                return False
            self._waiting.append((item, size_bytes))
            self._bytes += size_bytes
            self._changed.notify_all()
            return True

    def get(self, most: int) -> list[Item]:
        """Up to so many items, as soon as there is one."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting))
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._bytes -= sum(size for _, size in taken)
            self._changed.notify_all()
            return [item for item, _ in taken]

    def close(self) -> None:
        """Nobody gets any more: nothing is put in, and what waits is let go."""
        with self._changed:
            self._closed, self._bytes = True, 0
            self._waiting.clear()
            self._changed.notify_all()

    def _has_room(self, size_bytes: int) -> bool:
        if not self._waiting:
            return True
        return len(self._waiting) < self._most_items and self._bytes + size_bytes <= self._most_bytes
