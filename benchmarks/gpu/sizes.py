"""How large the measurements are: those that need a GPU, or just enough to see that they run."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of all measurements."""

    ridge: int
    """Features, D."""
    side: int
    """Pixels of a picture's side."""
    pictures: int
    """Of a step."""
    blocks: tuple[int, ...]
    """Of the residual network, by stage."""
    table_rows: int
    """Of all fields together."""
    clicks: int
    """Of a step."""
    entries: int
    """Of the memory."""
    width: int
    """Of a key."""
    repeats: int
    answers: int
    """Requests whose times are taken."""


FULL = Sizes(8192, 224, 32, (3, 4, 6, 3), 10_000_000, 4096, 10_000_000, 128, 5, 300)
SMALLER_MEMORY = Sizes(8192, 224, 32, (3, 4, 6, 3), 10_000_000, 4096, 1_000_000, 128, 5, 300)
TINY = Sizes(64, 32, 4, (1,), 500, 32, 3000, 8, 2, 6)


def sizes(*, tiny: bool) -> Sizes:
    """Those to measure; a smaller memory where this machine has little."""
    if tiny:
        return TINY
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return FULL if room >= 32 << 30 else SMALLER_MEMORY
