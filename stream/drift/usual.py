"""Whether a deterioration of a signal is usual: it was as bad, for as long, several separate times before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PAST_VALUES = 16_384
"""Values before a deterioration that it is compared with."""
LARGEST = 1e30
"""Of those values: their sums stay finite."""
CHECKED = (256, 1024)
"""Values since a deterioration that was usual at first, at which it is judged again."""
TIMES = 3
"""About once in 5,000 values."""
_APART = 1000  # values from one deterioration to the next, or they are one
_LEAST = 64  # shorter ones are compared over this many values


def is_usual(past: NDArray[np.float32], values: Floats, since: int, worse: int, times: int = TIMES) -> bool:
    """Whether the mean of the values from `since` on was reached at least `times` separate times before, within the
    standard error of the difference of both means. A level before that was measured over fewer than 256 values since
    the first is no level yet: what is worse than that is usual, too, until it lasts.

    Args:
        past: Values before `values`, (P,).
        values: (N,), at least one from `since` on.
        since: Index of the first value after the change.
        worse: 1 where a higher value is worse, -1 where a lower one is.
    """
    if since > 0 and len(past) + since < CHECKED[0]:
        return True
    before = np.concatenate([past, values[:since].clip(-LARGEST, LARGEST)])[-PAST_VALUES:]
    length = max(_LEAST, len(values) - since)
    if len(before) < length or len(values) + len(past) < length:
        return False
    short = length - len(values)
    recent = (values[-length:] if short <= 0 else np.concatenate([past[-short:], values])).clip(-LARGEST, LARGEST)
    mean = float(np.add.reduce(recent) / length)
    away = recent - mean
    error = (2.0 * float(np.add.reduce(away * away) / length) / length) ** 0.5
    total = np.zeros(len(before) + 1)
    before.cumsum(out=total[1:])
    means = total[length:] - total[:-length]
    if worse != 1:
        means *= worse
    means /= length
    as_bad = np.flatnonzero(means >= worse * mean - error - 1e-9)
    found, place = 0, 0
    while place < len(as_bad) and found < times:
        found += 1
        place = int(np.searchsorted(as_bad, as_bad[place] + _APART, side="right"))
    return found >= times
