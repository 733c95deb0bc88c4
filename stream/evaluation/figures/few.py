"""What is so rare that it may be a mistake: figures leave it out while it is rare, and say how much that is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ONCE_OR_TWICE = 4
"""What came so often at most may be a mistake."""
_SHARE, _LARGEST_SHARE = 0.01, 0.1
_OF_A_CLASS = 0.01


def few(events: int, of: int) -> bool:
    """Whether so many of all events are few: at most four or one in a hundred, and one in ten."""
    return events <= _LARGEST_SHARE * of and events <= max(ONCE_OR_TWICE, _SHARE * of)


def strays(seen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which classes hardly ever came, of these numbers of events (C,): at most four events, and at most one for every
    hundred of a class that came more often, on average. A mistyped label is such a class; at least two others are left.
    """
    often = seen > ONCE_OR_TWICE
    if np.count_nonzero(often) < 2:
        return np.zeros(len(seen), np.bool_)
    found: NDArray[np.bool_] = (seen > 0) & ~often & (seen <= _OF_A_CLASS * seen[often].mean())
    return found
