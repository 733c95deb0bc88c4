"""Closes sockets that kafka-python leaves open.

A connection that fails while it is made (refused, timed out, a handshake that is none) is dropped with its socket open.
The exception refers to the socket, so it is closed by the garbage collector for cycles only: an outage of the broker
leaves a dozen sockets, and a process that seldom collects keeps those of every outage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from kafka.net.inet import KafkaNetSocket
from kafka.net.transport import KafkaSSLTransport


def install() -> None:
    """Let every client of this process close them. The clients have no option for it."""
    KafkaNetSocket.connect = _connect
    if not hasattr(KafkaSSLTransport.handshake, "__wrapped__"):
        KafkaSSLTransport.handshake = _or_closed(KafkaSSLTransport.handshake)


async def _connect(
    self: Any, net: Any, address: Sequence[Any], socket_options: Sequence[Any] = (), timeout_at: float | None = None
) -> Any:
    """As the client's own, but that the socket of a failed connection is closed."""
    family, kind, protocol, _, where = address
    socket = self.socket(family, kind, protocol)
    try:
        socket.setblocking(False)
        for option in socket_options:
            socket.setsockopt(*option)
        return await self.sock_connect(net, socket, where, timeout_at=timeout_at)
    except BaseException:  # the end of a coroutine that is cancelled as well
        socket.close()
        raise


def _or_closed(handshake: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @wraps(handshake)
    async def closing(self: Any) -> Any:
        try:
            return await handshake(self)
        except BaseException as error:
            self.abort(error)
            raise

    return closing
