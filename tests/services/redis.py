"""A real Redis for tests."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.services.ports import free_port
from tests.services.processes import PATIENCE, Unavailable, stop


class RedisServer:
    """One server without persistence, which can be stopped and started again empty.

    Args:
        folder: Where it has its files.
        options: More of its command line.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        if not shutil.which("redis-server"):
            raise Unavailable("no redis-server; run: sudo apt-get install redis-server")
        self._folder, self.options = folder, options
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running server."""
        assert self._process is not None, "the Redis of this test has not been started"
        return self._process

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                *("--dir", self._folder, *self.options),
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 10).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process)
            self._process = None
