"""Which client of Kafka is used."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, TypeAlias, get_args

from thalweg.stream.log.log import LogError

Client: TypeAlias = Literal["auto", "confluent", "kafka-python"]
CLIENTS: tuple[Client, ...] = get_args(Client)


def effective_client(client: Client = "auto") -> Literal["confluent", "kafka-python"]:
    """The client that is used: `auto` takes confluent-kafka where it is installed.

    Raises:
        LogError: It is not installed, or there is no such client.
    """
    if client not in CLIENTS:
        raise LogError(f"log.client: expected one of {', '.join(CLIENTS)}, got {client!r}")
    there = find_spec("confluent_kafka") is not None
    if client == "confluent" and not there:
        raise LogError("log.client: confluent-kafka is not installed; run: pip install 'thalweg[confluent]'")
    return "confluent" if there and client != "kafka-python" else "kafka-python"
