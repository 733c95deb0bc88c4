"""Kafka client properties under their usual names, translated into kafka-python's keywords."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from thalweg.stream.log.log import LogError

_OTHER_NAMES = {  # the names in librdkafka and the Java client
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
    "ssl.key.password": "ssl_password",
}
_OURS = {"enable_auto_commit", "auto_offset_reset", "isolation_level", "group_id", "bootstrap_servers"}
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")


def translate(properties: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The properties as keywords.

    Checks what the client would only report while connecting, in the background and repeatedly: the
    protocol's name and the files.

    Args:
        properties: Under their usual names: `security.protocol`, `sasl.mechanism`, `ssl.cafile`, …
        known: The valid keywords.

    Raises:
        LogError: One is unknown, reserved, or invalid.
    """
    translated = {}
    for key, value in properties.items():
        name = _OTHER_NAMES.get(key, key.replace(".", "_").replace("-", "_"))
        if name in _OURS:
            raise LogError(f"log.kafka.{key}: cannot be set; the service manages its offsets itself")
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0].replace('_', '.')}?" if near else ""
            raise LogError(f"log.kafka.{key}: no such client property{hint}")
        if name == "security_protocol" and value not in _PROTOCOLS:
            raise LogError(f"log.kafka.{key}: expected one of {', '.join(_PROTOCOLS)}, got {value!r}")
        if name in _FILES and not Path(str(value)).is_file():
            raise LogError(f"log.kafka.{key}: no such file: {value}")
        translated[name] = value
    return translated
