"""Kafka client properties under their usual names, translated into kafka-python's keywords."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from thalweg.stream.log.kafka_shared.properties import check, hostname_checked, keyword, unknown


def translate(properties: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The properties as keywords.

    Args:
        properties: Under their usual names: `security.protocol`, `sasl.mechanism`, `ssl.cafile`, …
        known: The valid keywords.

    Raises:
        LogError: One is unknown, reserved, or invalid.
    """
    translated = {}
    for key, value in properties.items():
        name = keyword(key)
        check(key, value)
        if name not in known:
            raise unknown(key, known, "kafka-python")
        translated[name] = hostname_checked(value) if name == "ssl_check_hostname" else value
    return translated
