"""Listen addresses, `HOST:PORT`, an IPv6 host in brackets."""

from __future__ import annotations

import errno
import ipaddress
import socket

from thalweg.proto.bounds.host_port import host_port


def split(address: str) -> tuple[str, int]:
    """Split an address into host, without brackets, and port.

    Raises:
        ValueError: The address is invalid; the message says what was expected and what came.
    """
    return host_port(address, least=0)


class AddressInUse(OSError):
    """An address cannot be listened on; the message names it."""


def not_listening(address: str, key: str, error: OSError | None) -> AddressInUse:
    """The error of an address that cannot be listened on.

    Args:
        address: `HOST:PORT`.
        key: The key of the configuration that has it; empty: it is not known.
        error: What the system said; None: nothing.
    """
    what = f"cannot listen on {address}{f' ({key})' if key else ''}"
    if error is None or error.errno == errno.EADDRINUSE:
        return AddressInUse(f"{what}: another process listens there; end it, or give another address")
    return AddressInUse(f"{what}: {error.strerror or error}")


def listen(address: str, *, key: str = "", shared: bool = False) -> socket.socket:
    """A listening socket whose connections send data without delay (TCP_NODELAY).

    `[::]` also accepts IPv4 connections, where the platform can (as gRPC does).

    Args:
        address: `HOST:PORT`.
        key: The key of the configuration that has it, for the error.
        shared: Whether other processes listen on it, too; the system spreads connections over them.

    Raises:
        ValueError: The address is invalid.
        AddressInUse: The address cannot be listened on.
    """
    host, port = split(address)
    six = ":" in host
    try:
        listening = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if six else socket.AF_INET,
            reuse_port=shared,
            dualstack_ipv6=six and ipaddress.IPv6Address(host).is_unspecified and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise not_listening(address, key, error) from error
    # Accepted connections inherit it. asyncio sets it only on sockets made with the protocol's number, which
    # create_server does not give. Without it a response's body waits for the acknowledgement of its headers: 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
