"""The growth of the process's memory while requests arrive: gRPC does not say how much of a message it holds."""

from __future__ import annotations

import resource
from collections import deque
from collections.abc import Callable
from pathlib import Path

_STATM = Path("/proc/self/statm")
_PAGE = resource.getpagesize()
_SAMPLES = 1000  # at twenty a second, for longer than a request may take to arrive


def anonymous_bytes() -> int:
    """Resident memory without mapped files, such as those of published versions; 0 where the system does not tell."""
    try:
        _, resident, shared, *_ = _STATM.read_bytes().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * _PAGE


class MemoryGrowth:
    """Whether memory has grown by more than a bound since a given time.

    Args:
        most: The bound in bytes.
        measure: Bytes in use now.
    """

    def __init__(self, most: int, measure: Callable[[], int] = anonymous_bytes) -> None:
        self._most, self._measure = most, measure
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)

    def sample(self, now: float) -> None:
        """Measure what is in use now; called again and again."""
        self._samples.append((now, self._measure()))

    def exceeded(self, since: float) -> bool:
        """Whether more than the bound has come since then, by the newest sample."""
        if not self._samples:
            return False
        before = self._samples[0][1]
        for moment, used in self._samples:
            if moment > since:
                break
            before = used
        return self._samples[-1][1] - before > self._most
