"""Servers of a Kafka cluster, as a URL names them."""

from __future__ import annotations

from thalweg.proto.bounds.host_port import host_port

_PORT = 9092


def kafka_servers(listed: str) -> list[str]:
    """The servers of `HOST:PORT[,HOST:PORT]`. As for Kafka's own clients, a port may be left out, and so may be what
    stands between two commas.

    Raises:
        ValueError: One of them is none; the message has no password.
    """
    if "@" in listed:
        raise ValueError(
            "expected HOST:PORT, got a user before it: user and password are sasl.username and sasl.password in "
            "log.kafka"
        )
    servers = [server.strip() for server in listed.split(",") if server.strip()]
    if not servers:
        raise ValueError("expected HOST:PORT, got none")
    for server in servers:
        host_port(server, _PORT)
    return servers
