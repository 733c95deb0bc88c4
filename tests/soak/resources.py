"""What a process takes from the machine, by Linux's /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Resources:
    """Of one process at one moment."""

    resident_bytes: int
    """Of its own: without files that it maps and memory that it shares."""
    files: int
    threads: int


def resources(pid: int) -> Resources | None:
    """What a process has now; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names are not needed
        threads = len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208
    except OSError:
        return None
    if fields[0] == "0":  # it ended, and nobody has noticed yet
        return None
    return Resources((int(fields[1]) - int(fields[2])) * _PAGE, files, threads)


def resident_bytes(pid: int) -> int:
    """Its own resident memory; 0 if it has ended."""
    found = resources(pid)
    return 0 if found is None else found.resident_bytes
