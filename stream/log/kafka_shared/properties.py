"""Kafka client properties that both clients know, under the name that each of them uses, and what nobody may set."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from thalweg.stream.log.log import LogError

SAME = {  # keyword of kafka-python: name in librdkafka, where it is not the keyword with dots
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
    "ssl_crlfile": "ssl.crl.location",
    "ssl_ciphers": "ssl.cipher.suites",
    "ssl_check_hostname": "ssl.endpoint.identification.algorithm",
    "fetch_max_wait_ms": "fetch.wait.max.ms",
    "max_request_size": "message.max.bytes",
    "receive_buffer_bytes": "socket.receive.buffer.bytes",
    "send_buffer_bytes": "socket.send.buffer.bytes",
}
_OURS = {"enable_auto_commit", "auto_offset_reset", "isolation_level", "group_id", "bootstrap_servers"}
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_FILES = {"ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile"}
_KEYWORDS = {name: keyword for keyword, name in SAME.items()} | {"sasl.mechanisms": "sasl_mechanism"}


def keyword(key: str) -> str:
    """kafka-python's keyword for a property under any of its names, whether or not there is one."""
    return _KEYWORDS.get(key, key.replace(".", "_").replace("-", "_"))


def check(key: str, value: Any) -> None:
    """What a client would only report while connecting, in the background and repeatedly. Raises LogError."""
    name = keyword(key)
    if name in _OURS:
        raise LogError(f"log.kafka.{key}: cannot be set; the service manages its offsets itself")
    if name == "group_protocol" and str(value).lower() != "classic":
        raise LogError(
            f"log.kafka.{key}: expected 'classic', got {value!r}: learners have a session of their own length, "
            "and release partitions before they move, which that protocol leaves to the broker's settings"
        )
    if name == "partitioner":
        raise LogError(f"log.kafka.{key}: cannot be set; equal keys share a partition, by murmur2, whoever writes")
    if name == "security_protocol" and value not in _PROTOCOLS:
        raise LogError(f"log.kafka.{key}: expected one of {', '.join(_PROTOCOLS)}, got {value!r}")
    if name in _FILES and not Path(str(value)).is_file():
        raise LogError(f"log.kafka.{key}: no such file: {value}")


def unknown(key: str, known: Collection[str], client: str) -> LogError:
    """The error for a property that this client does not know."""
    near = get_close_matches(keyword(key), [one.replace(".", "_") for one in known], n=1)
    hint = f"; did you mean {near[0].replace('_', '.')}?" if near else ""
    return LogError(f"log.kafka.{key}: no such client property of {client}{hint}")


def hostname_checked(value: Any) -> bool:
    """Whether the broker's name is checked, by kafka-python's true or false or by librdkafka's https or none."""
    return str(value).lower() not in ("false", "none", "")
