"""File descriptors for connections: what the process may open, less a reserve for files."""

from __future__ import annotations

import resource
from pathlib import Path

RESERVED = 160
"""For files, logs, stores and snapshots, beside connections."""
_FEWEST = 16


def connections_allowed(wanted: int) -> int:
    """Connections of one interface: as many as wanted, or half of the descriptors that are free if that is less."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return wanted
    free = most - _open_now() - RESERVED
    return max(_FEWEST, min(wanted, free // 2))


def _open_now() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:  # not Linux
        return 64
