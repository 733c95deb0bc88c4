"""Requests per second of each identity: a bucket that fills at the rate and holds one second's worth."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_IDENTITIES = 10_000
"""Buckets kept at once; the one that was used least recently is dropped, which is full again by then as a rule."""


class Rates:
    """Limits rates. Thread-safe.

    Args:
        usual: Requests per second of each identity; 0: no limit.
        clock: Seconds.
    """

    def __init__(self, usual: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._usual, self._clock = usual, clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when there were as many

    def wait_seconds(self, identity: str, rate: float | None = None) -> float:
        """Take one request of an identity, and return 0; or how long it must wait for the next, and take none.

        Args:
            identity: Its name.
            rate: Its own rate; None: the usual one.
        """
        rate = self._usual if rate is None else rate
        if not rate:
            return 0.0
        most = max(1.0, rate)
        with self._lock:
            now = self._clock()
            left, since = self._buckets.pop(identity, (most, now))
            left = min(most, left + (now - since) * rate)
            granted = left >= 1
            self._buckets[identity] = (left - granted, now)
            if len(self._buckets) > MOST_IDENTITIES:
                self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - left) / rate
