"""Ports for the services that tests start: nothing else on this machine is given the same one meanwhile."""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST, _LAST = 10_000, 65_535
_LEAST = 1000
_held: list[IO[str]] = []


def free_port() -> int:
    """A free port of 127.0.0.1 that is this process's as long as it lives.

    A port that the kernel chose for a moment may be given away again before a service listens there: to another test
    process, or to any connection that needs a port of its own. This one lies outside the kernel's range for
    connections, and a locked file keeps other test processes, also of other checkouts, from it.
    """
    folder = Path(tempfile.gettempdir()) / f"thalweg-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in _in_some_order():
        file = (folder / str(port)).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:  # another process has the lock, or something else listens
            file.close()
            continue
        _held.append(file)
        return port
    raise RuntimeError("no port is free")


def _in_some_order() -> Iterator[int]:
    """All ports that can be had, from a random one on."""
    ports = _outside_the_kernels_range()
    start = random.SystemRandom().randrange(len(ports))
    return itertools.chain(ports[start:], ports[:start])


def _outside_the_kernels_range() -> range:
    try:
        low, high = map(int, _RANGE.read_text().split())
    except (OSError, ValueError):
        low, high = 32_768, 60_999
    below, above = range(_FIRST, min(low, _LAST)), range(max(high + 1, _FIRST), _LAST + 1)
    widest = max(below, above, key=len)
    return widest if len(widest) >= _LEAST else range(_FIRST, _LAST + 1)
