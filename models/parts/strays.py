"""Classes that came so seldom that each may be a mistyped label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ONCE_OR_TWICE = 4
"""What came so often at most may be a mistake."""
_OF_A_CLASS = 0.01


def strays(seen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which classes hardly ever came, of these numbers of events (C,): at most four events, and at most one for every
    hundred of a class that came more often, on average. At least two others are left: of two classes the rare one is
    what many look for.
    """
    often = seen > ONCE_OR_TWICE
    if np.count_nonzero(often) < 2:
        return np.zeros(len(seen), np.bool_)
    found: NDArray[np.bool_] = (seen > 0) & ~often & (seen <= _OF_A_CLASS * seen[often].mean())
    return found
