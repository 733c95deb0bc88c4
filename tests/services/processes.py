"""What the tests' service processes share."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from tests.services.warm import Process

PATIENCE = 240.0
"""Seconds after which what must come is said not to come: so slow is no machine, however busy, only a hang."""

T = TypeVar("T")


class Unavailable(Exception):
    """A real part cannot be had here; the message says what to run."""


@contextmanager
def required_or_skipped() -> Iterator[None]:
    """A missing part skips with its reason, unless THALWEG_REQUIRE_SERVICES=1 makes it an error."""
    try:
        yield
    except Unavailable as error:
        if os.environ.get("THALWEG_REQUIRE_SERVICES") == "1":
            raise
        pytest.skip(str(error))


def until(what: str, true: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Wait for a condition, not for time; what made it true."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)
    return found


def stop(process: subprocess.Popen[bytes] | Process, seconds: float = PATIENCE) -> int:
    """End a process kindly, else by force; its exit code. One that does not end is told to print what its threads do
    (`SIGABRT`, which warm processes, and those of Go, answer so)."""
    process.terminate()
    for number in (signal.SIGABRT, signal.SIGKILL):
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            seconds = 10.0
    return process.wait()
