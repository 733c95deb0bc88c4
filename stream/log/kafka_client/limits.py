"""Settings of topics, as kafka-python's administrative client learns them."""

from __future__ import annotations

from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from thalweg.stream.log.kafka_client.clients import Clients
from thalweg.stream.log.kafka_client.errors import client_error


def largest_batch(clients: Clients, topic: str) -> int:
    """`max.message.bytes` of a topic; for one that does not exist, what the cluster would give it.

    Raises ClientError or LookupError where it cannot be known.
    """
    try:
        admin = clients.admin()
        try:
            found = _value(admin, ConfigResourceType.TOPIC, topic, "max.message.bytes")
            if found is None:
                broker = str(admin.describe_cluster()["brokers"][0]["broker_id"])
                found = _value(admin, ConfigResourceType.BROKER, broker, "message.max.bytes")
        finally:
            admin.close()
    except (KafkaError, TypeError, ValueError) as error:
        raise client_error(error, clients.where) from error
    if found is None:
        raise LookupError("the cluster does not tell its settings")
    return int(found)


def topic_setting(clients: Clients, topic: str, setting: str) -> str | None:
    """A setting of a topic; None where there is no such topic. Raises ClientError."""
    try:
        admin = clients.admin()
        try:
            return _value(admin, ConfigResourceType.TOPIC, topic, setting)
        finally:
            admin.close()
    except (KafkaError, TypeError, ValueError) as error:
        raise client_error(error, clients.where) from error


def _value(admin: Any, kind: Any, name: str, setting: str) -> str | None:
    answers = admin.describe_configs([ConfigResource(kind, name, [setting])], config_filter="all")
    found = next(iter(answers.values()))[name]
    return str(found[setting]["value"]) if setting in found else None
