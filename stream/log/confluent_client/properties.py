"""Kafka client properties under their usual names, as librdkafka takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, Producer

from thalweg.stream.log.confluent_client.logs import ClientLog
from thalweg.stream.log.kafka_shared.consumer import ANSWER_SECONDS
from thalweg.stream.log.kafka_shared.properties import SAME, check, hostname_checked, keyword, unknown
from thalweg.stream.log.log import LogError

_BOOTSTRAP = "bootstrap_timeout_ms"  # of kafka-python; here the wait of a request before there was any answer
_RESERVED = {"enable.partition.eof", "enable.auto.offset.store", "metadata.broker.list", "transactional.id", "debug"}
_COMMON = (
    *("security.protocol", "sasl.mechanism", *SAME.values(), "client.id", "metadata.max.age.ms", "request.timeout.ms"),
    *("delivery.timeout.ms", "compression.type", "linger.ms", "batch.size", "acks", "fetch.min.bytes"),
    *("max.partition.fetch.bytes", "fetch.max.bytes", "reconnect.backoff.ms", "reconnect.backoff.max.ms"),
)


@dataclass(frozen=True, slots=True)
class Properties:
    """What the user set."""

    settings: Mapping[str, str]
    """By librdkafka's names."""
    first_answer_seconds: float = ANSWER_SECONDS
    """The longest wait for the first response of a broker."""


def translate(properties: Mapping[str, Any]) -> Properties:
    """The properties as librdkafka takes them; each is tried, and no connection is made.

    Raises:
        LogError: One is unknown, reserved, or invalid.
    """
    settings: dict[str, str] = {}
    first_answer_seconds = ANSWER_SECONDS
    for key, value in properties.items():
        check(key, value)
        name = SAME.get(keyword(key), key)
        if name in _RESERVED or name.endswith("_cb"):
            raise LogError(f"log.kafka.{key}: cannot be set; the service sets it itself")
        if keyword(key) == _BOOTSTRAP:
            first_answer_seconds = float(value) / 1000
            continue
        settings[name] = _text(name, value)
        _try(key, name, settings[name])
    return Properties(settings, first_answer_seconds)


def _text(name: str, value: Any) -> str:
    if name == "ssl.endpoint.identification.algorithm":
        return "https" if hostname_checked(value) else "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _try(key: str, name: str, value: str) -> None:
    tried = {name: value}
    if name.startswith("ssl.key") or name.startswith("ssl.cert"):
        return  # valid only together; the first client that is opened tells
    try:
        Producer(tried, logger=ClientLog("check"))
    except KafkaException as error:
        told = " ".join(error.args[0].str().split())
        if "No such configuration property" in told:
            raise unknown(key, _COMMON, "confluent-kafka") from error
        if "outside allowed range" in told or "nvalid value" in told:
            raise LogError(f"log.kafka.{key}: the client refuses it: {told}") from error
        # the rest depends on other properties, such as a mechanism without its user
