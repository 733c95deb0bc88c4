"""Whole numbers that are codes: few, each often, and with gaps between them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from thalweg.ops.init.readings import whole

_MOST, _LEAST = 20, 3  # different numbers
_OFTEN = 3  # rows of each
_LARGE = 100.0
_SPARSE = 5  # times as wide as there are numbers
_ROUND = 5
"""Amounts are multiples of it, or of a power of two."""


def are_codes(numbers: Sequence[float]) -> bool:
    """Whether numbers are codes by themselves, as 200, 404 and 503 are: 1 to 5, 250 and 500, and years are not."""
    counts = Counter(numbers)
    if not _LEAST <= len(counts) <= _MOST or not whole(counts) or min(counts.values()) < _OFTEN:
        return False
    different = sorted(counts)
    steps = [int(after - before) for before, after in pairwise(different)]
    step = math.gcd(*steps)
    even = step % _ROUND == 0 or (step >= 8 and step & (step - 1) == 0) or len(set(steps)) == 1
    gaps = different[-1] - different[0] >= _SPARSE * len(different) and 2 * steps.count(1) < len(steps)
    return different[0] >= 0 and different[-1] >= _LARGE and gaps and not even
