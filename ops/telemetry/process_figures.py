"""Resource usage of a running process, from Linux's /proc."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ProcessFigures(NamedTuple):
    """Resource usage, with Prometheus' names."""

    cpu_seconds: float
    resident_memory_bytes: float
    open_fds: float
    start_time_seconds: float
    """Unix seconds."""


def process_figures(pid: int | None) -> ProcessFigures | None:
    """Resource usage of a process; None if it does not run or may not be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        if fields[0] == "Z":
            return None
        files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names are not needed
    except (OSError, IndexError):
        return None
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    return ProcessFigures(cpu, int(fields[21]) * _PAGE, files, _boot_time() + int(fields[19]) / _TICKS)


@functools.cache
def _boot_time() -> float:
    for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
