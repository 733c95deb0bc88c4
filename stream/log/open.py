"""Opens the log behind a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.kafka_shared.choice import Client, effective_client
from thalweg.stream.log.kafka_shared.servers import kafka_servers
from thalweg.stream.log.log import Log, LogError, Reading, Retention


def open_log(
    url: str,
    kafka_properties: Mapping[str, Any] | None = None,
    retention: Retention | None = None,
    reading: Reading | None = None,
    client: Client = "auto",
) -> Log:
    """The log behind a URL: `memory:`, `sqlite:PATH` or `kafka://HOST:PORT[,HOST:PORT]`.

    Args:
        url: The URL of the log.
        kafka_properties: Client properties under their usual names, for Kafka.
        retention: Limits of the embedded log.
        reading: What to do about records that cannot be read, for Kafka.
        client: The client of Kafka; `auto` takes confluent-kafka where it is installed.

    Raises:
        LogError: The URL has another form, or the log cannot be opened.
    """
    kind, _, rest = url.partition(":")
    if kind == "memory":
        return InMemoryLog()
    if kind == "sqlite" and rest:
        from thalweg.stream.log.sqlite import SqliteLog

        return SqliteLog(rest, retention)
    if kind == "kafka" and rest.startswith("//"):
        try:
            servers = ",".join(kafka_servers(rest[2:]))
        except ValueError as error:
            raise LogError(f"log url kafka://…: {error}") from error
        if effective_client(client) == "confluent":
            from thalweg.stream.log.confluent import ConfluentLog

            return ConfluentLog(servers, kafka_properties, reading)
        from thalweg.stream.log.kafka import KafkaLog

        return KafkaLog(servers, kafka_properties, reading)
    raise LogError(f"log url {url!r}: expected memory:, sqlite:PATH or kafka://HOST:PORT[,HOST:PORT]")
