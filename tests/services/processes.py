"""What the tests' service processes share."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


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


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def stop(process: subprocess.Popen[bytes], seconds: float = 20.0) -> int:
    """End a process kindly, else by force; its exit code."""
    process.terminate()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
