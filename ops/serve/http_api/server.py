"""An HTTP server in a separate thread: uvicorn, with bounds on what its callers may take."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette

from thalweg.ops.config.addresses import listen
from thalweg.ops.serve.bounds.descriptors import connections_allowed
from thalweg.ops.serve.bounds.rare_log import RareLog, limit_lines
from thalweg.ops.serve.http_api.connections import BoundedProtocol, Connections
from thalweg.ops.serve.settings import ServerLimits
from thalweg.ops.serve.tls.certificates import Certificates
from thalweg.ops.serve.tls.http_context import HANDSHAKE_SECONDS, NewestContext

log = structlog.get_logger(__name__)

_START_SECONDS = 60.0
_QUIET_SECONDS = 0.3  # for the callers of kept connections to send what they have begun
_BACKLOG = 128  # connections that wait to be accepted; also how often asyncio tries to accept when it cannot
_LARGEST_HEAD_BYTES = 32 << 10
_CLOSE = (b"connection", b"close")


class HttpServer:
    """Serves an application.

    Args:
        application: The ASGI application.
        address: `HOST:PORT`, an IPv6 host in brackets; port 0 selects a free one.
        limits: Bounds on connections and on the time for requests.
        refused: Called with the reason of each connection that is closed early.
        certificates: For TLS; None: plain text.
        key: The key of the configuration that has the address.

    Raises:
        OSError: The address cannot be listened on; the message names it.
    """

    def __init__(
        self,
        application: Starlette,
        address: str,
        limits: ServerLimits,
        refused: Callable[[str], None] = lambda reason: None,
        certificates: Certificates | None = None,
        *,
        key: str = "service.http",
    ) -> None:
        limit_lines("uvicorn.error", "asyncio")
        self._socket = listen(address, key=key, shared=limits.servers > 1)
        self._refused = refused
        most = connections_allowed(limits.connections)
        if most < limits.connections:
            log.warning("fewer connections than configured: the limit of open files is low", connections=most)
        self._connections = Connections(most, limits.connections_per_address, limits.receive_seconds, refused)
        self._tls = None if certificates is None else NewestContext.of(certificates, refused)
        self._config = _Config(
            application,
            self._tls,
            http=partial(BoundedProtocol, connections=self._connections),
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            lifespan="off",
            backlog=_BACKLOG,
            h11_max_incomplete_event_size=_LARGEST_HEAD_BYTES,
            callback_notify=self._connections.sweep,
            timeout_notify=0,
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(self._config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._socket.getsockname()[1])

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

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

    def stop_accepting(self) -> None:
        """Accept no connection any more, and close each after its next answer; returns at once."""
        loop = self._loop
        if loop is None or not self._thread.is_alive():
            return

        def stop() -> None:
            for server in self._server.servers:
                server.close()
            self._config.headers.append(("connection", "close"))
            self._config.encoded_headers.append(_CLOSE)
            self._server.server_state.default_headers = [*self._server.server_state.default_headers, _CLOSE]

        loop.call_soon_threadsafe(stop)

    def drain(self, grace_seconds: float) -> None:
        """Answer the requests that were begun, close the connections, and stop."""
        self.stop_accepting()
        quiet_until = time.monotonic() + min(_QUIET_SECONDS, grace_seconds)
        while self._connections and time.monotonic() < quiet_until:
            time.sleep(0.01)
        self._config.timeout_graceful_shutdown = max(1, int(grace_seconds))
        self.close()

    def close(self) -> None:
        """Finish running requests and stop."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = loop = asyncio.get_running_loop()
            if self._tls is not None:  # uvicorn leaves it at asyncio's 60 s
                loop.create_server = partial(  # type: ignore[method-assign]
                    loop.create_server, ssl_handshake_timeout=HANDSHAKE_SECONDS
                )
            self._loop.set_exception_handler(_LoopErrors(self._refused))
            await self._server.serve([self._socket])

        asyncio.run(serve())


class _Config(uvicorn.Config):
    """uvicorn's configuration, with a TLS context of ours."""

    def __init__(self, application: Starlette, context: NewestContext | None, **settings: Any) -> None:
        super().__init__(application, **settings)
        self._context = context

    def load(self) -> None:
        super().load()
        self.ssl = self._context


class _LoopErrors:
    """Logs errors of the event loop, at most one line a second of each kind, and without their traces."""

    def __init__(self, refused: Callable[[str], None]) -> None:
        self._log = RareLog(log)
        self._refused = refused

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error, message = context.get("exception"), str(context.get("message", ""))
        if isinstance(error, OSError) and "accept" in message:
            self._refused("descriptors")
        self._log.error(message or "error in the HTTP server", error=repr(error))
