"""An HTTP server in a separate thread."""

from __future__ import annotations

import threading
import time

import uvicorn
from starlette.applications import Starlette

from thalweg.ops.config.addresses import listen

_START_SECONDS = 10.0


class HttpServer:
    """Serves an application.

    Args:
        application: The ASGI application.
        address: `HOST:PORT`, an IPv6 host in brackets; port 0 selects a free one.

    Raises:
        OSError: The address cannot be listened on; the message names it.
    """

    def __init__(self, application: Starlette, address: str) -> None:
        self._socket = listen(address)
        config = uvicorn.Config(
            application, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._socket.getsockname()[1])

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start serving."""
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)

    def close(self) -> None:
        """Finish running requests and stop."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()
