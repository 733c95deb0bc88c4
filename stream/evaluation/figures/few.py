"""What is so rare that it may be a mistake: figures leave it out while it is rare, and say how much that is."""

from __future__ import annotations

from thalweg.models.parts.strays import ONCE_OR_TWICE

_SHARE, _LARGEST_SHARE = 0.01, 0.1


def few(events: int, of: int) -> bool:
    """Whether so many of all events are few: at most four or one in a hundred, and one in ten."""
    return events <= _LARGEST_SHARE * of and events <= max(ONCE_OR_TWICE, _SHARE * of)
