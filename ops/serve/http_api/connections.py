"""Connections of the HTTP server: bounded in number, in all and per address, and in the time for requests to arrive."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from thalweg.ops.serve.tls.http_context import common_name

CERTIFICATE = "certificate"
"""In the state of a request's scope: the common name of the caller's certificate, if it has one."""
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_LINGER_SECONDS = 5.0  # for the rest of a request that is answered already …
_LINGER_BYTES = 256 << 20  # … and how much of it is thrown away
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connections:
    """The open connections of one server. Used on its event loop only.

    When there are too many, the one that waits longest for its caller makes room: it is idle, or its request does not
    arrive. Those whose request is being answered stay.

    Args:
        most: Connections in all.
        most_per_address: Connections from one address.
        receive_seconds: Time for the head of a request to arrive, and again for its body.
        refused: Called with the reason of each connection that is closed early.
    """

    def __init__(
        self, most: int, most_per_address: int, receive_seconds: float, refused: Callable[[str], None]
    ) -> None:
        self._most, self._most_per_address = most, most_per_address
        self._receive_seconds, self._refused = receive_seconds, refused
        self._open: dict[BoundedProtocol, None] = {}  # those that wait longest for their caller first
        self._by_address: Counter[str] = Counter()
        self.closing = False
        """Whether connections are closed after their next answer."""

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, one: BoundedProtocol) -> None:
        """Count a new connection, and close one if that is too many."""
        self._open[one] = None
        self._by_address[one.address] += 1
        if self._by_address[one.address] > self._most_per_address:
            self._make_room("connections_per_address", one.address)
        elif len(self._open) > self._most:
            self._make_room("connections", None)

    def gone(self, one: BoundedProtocol) -> None:
        """A connection is closed."""
        if one in self._open:
            del self._open[one]
            self._by_address[one.address] -= 1
            if not self._by_address[one.address]:
                del self._by_address[one.address]

    def progressed(self, one: BoundedProtocol) -> None:
        """A connection begins to wait for the next thing from its caller."""
        if one in self._open:
            del self._open[one]
            self._open[one] = None

    async def sweep(self) -> None:
        """Close connections whose request takes too long to arrive; called about once a second."""
        latest = asyncio.get_running_loop().time() - self._receive_seconds
        for one in list(self._open):
            if one.receiving and one.since < latest:
                self._refused("receive_timeout")
                one.end(_LATE)

    def _make_room(self, reason: str, address: str | None) -> None:
        self._refused(reason)
        for one in self._open:
            if one.waits and address in (None, one.address):
                self.gone(one)
                one.end(_BUSY)
                return


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol, counted and timed."""

    def __init__(self, *arguments: Any, connections: Connections, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._bounds = connections
        self._phase: Any = None
        self.address = ""
        self.since = 0.0
        """When it began to wait for what it waits for now, in seconds of the event loop."""
        self.receiving = True
        """Whether a request is expected or arriving: at first, and from a request's first byte to its last."""
        self.lingering = False
        """Whether it is answered and will be closed, once the rest of the request has come."""
        self._unread = 0

    @property
    def waits(self) -> bool:
        """Whether it waits for its caller: it is idle or receiving."""
        return self.receiving or self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._own_transport = transport
        super().connection_made(_LingeringTransport(transport, self))  # type: ignore[arg-type]
        self.address = self.client[0] if self.client else ""
        if (name := common_name(transport.get_extra_info("peercert"))) is not None:
            self.app_state = {**self.app_state, CERTIFICATE: name}
        self.since = self.loop.time()
        self._bounds.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._bounds.gone(self)

    def data_received(self, data: bytes) -> None:
        if self.lingering:
            self._unread += len(data)
            if self._unread > _LINGER_BYTES:
                self.close_now()
            return
        if self.transport.is_closing():
            return
        super().data_received(data)
        phase = (self.conn.their_state, self.cycle)
        if phase != self._phase or not self.receiving:
            self._phase, self.since = phase, self.loop.time()
            self._bounds.progressed(self)
        self.receiving = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def on_response_complete(self) -> None:
        self.receiving = self.conn.their_state is h11.SEND_BODY  # answered before all of it came
        self.since = self.loop.time()
        self._bounds.progressed(self)
        super().on_response_complete()

    def end(self, words: bytes) -> None:
        """Close it; if no answer has begun, with these words."""
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
                self.transport.write(words)
            self.close_now()
        elif self.lingering:
            self.close_now()

    def linger(self) -> bool:
        """Wait for the rest of a request that was answered before all of it came; whether there is such a rest.

        Closed at once, the system would answer what still comes with a reset, and most clients would never read the
        answer: those that send everything first, and ask for the connection to be closed.
        """
        if self.lingering or self.conn.their_state is not h11.SEND_BODY:
            return self.lingering
        self.lingering = True
        self.flow.resume_reading()
        self.loop.call_later(_LINGER_SECONDS, self.close_now)
        return True

    def close_now(self) -> None:
        """Close it, whatever comes."""
        self.lingering = False
        self._own_transport.close()


class _LingeringTransport:
    """A transport that is closed only when the caller has sent his request."""

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        self._transport, self._protocol = transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._protocol.lingering or self._transport.is_closing()

    def close(self) -> None:
        if not self._protocol.linger():
            self._transport.close()
