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
_mine: set[int] = set()
_locks: dict[int, IO[bytes]] = {}


def free_port() -> int:
    """A free port of 127.0.0.1 that is this process's as long as it lives.

    A port that the kernel chose for a moment may be given away again before a service listens there: to another test
    process, or to any connection that needs a port of its own. This one lies outside the kernel's range for
    connections, and a lock on its byte of a file keeps other test processes, also of other checkouts, from it.
    """
    process = os.getpid()
    if process not in _locks:  # a forked process has no locks of its parent's
        path = Path(tempfile.gettempdir()) / f"thalweg-test-ports-{os.getuid()}.locks"
        _locks[process] = path.open("ab")  # closed by no one: that would give up all of its locks
    for port in _in_some_order():
        try:
            if port not in _mine:
                fcntl.lockf(_locks[process], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
                socket.create_server(("127.0.0.1", port)).close()
                _mine.add(port)
                return port
        except OSError:  # another process has the lock, or something else listens
            continue
    raise RuntimeError("no port is free")


def give_back(port: int) -> None:
    """Leave a port of this process to others."""
    _mine.discard(port)
    fcntl.lockf(_locks[os.getpid()], fcntl.LOCK_UN, 1, port)


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
