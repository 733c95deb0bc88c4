"""Builds of the distributions take turns: they share folders of the tree."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = Path(__file__).parents[2] / ".cache" / "building"


@contextmanager
def building() -> Iterator[None]:
    """Nobody else builds within this block."""
    _LOCK.parent.mkdir(exist_ok=True)
    with _LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
