"""The largest record that each topic accepts: its own setting, asked for in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from thalweg.stream.log.kafka_client.errors import text
from thalweg.stream.log.log import LogError

log = structlog.get_logger(__name__)

_FRESH_SECONDS = 60.0
_FRAME_BYTES = 512  # of a batch and its only record, beside key, value and headers
_INCOMPRESSIBLE = 1.005  # what compression adds at most to what it cannot compress


class RecordLimits:
    """Thread-safe; never blocks.

    Args:
        connect: Opens an administrative client.
        client_bytes: The client's own limit.
        clock: Monotonic seconds.
    """

    def __init__(
        self, connect: Callable[[], Any], client_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect, self._client_bytes, self._clock = connect, client_bytes, clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, int]] = {}
        self._asking: set[str] = set()
        self._told: set[str] = set()

    def get(self, topic: str) -> int:
        """The largest record in bytes; the client's limit until the topic's is known."""
        with self._lock:
            asked, found = self._known.get(topic, (float("-inf"), self._client_bytes))
            stale = self._clock() - asked > _FRESH_SECONDS and topic not in self._asking
            if stale:
                self._asking.add(topic)
        if stale:
            threading.Thread(target=self._ask, args=(topic,), name="kafka-limits", daemon=True).start()
        return _record_bytes(min(found, self._client_bytes))

    def _ask(self, topic: str) -> None:
        found = None
        try:
            found = self._limit(topic)
        except (KafkaError, LogError, LookupError, TypeError, ValueError) as error:
            if topic not in self._told:  # the right to see settings may be missing: records are refused on append
                log.info("the largest record of a topic is unknown", topic=topic, problem=text(error))
                self._told.add(topic)
        with self._lock:
            before = self._known.get(topic, (0.0, self._client_bytes))[1]
            self._known[topic] = (self._clock(), before if found is None else found)
            self._asking.discard(topic)

    def _limit(self, topic: str) -> int:
        """`max.message.bytes` of a topic; for one that does not exist, what the cluster would give it."""
        admin = self._connect()
        try:
            found = _value(admin, ConfigResourceType.TOPIC, topic, "max.message.bytes")
            if found is None:
                broker = str(admin.describe_cluster()["brokers"][0]["broker_id"])
                found = _value(admin, ConfigResourceType.BROKER, broker, "message.max.bytes")
            if found is None:
                raise LookupError("the cluster does not tell its settings")
            return found
        finally:
            admin.close()


def _value(admin: Any, kind: Any, name: str, setting: str) -> int | None:
    answers = admin.describe_configs([ConfigResource(kind, name, [setting])], config_filter="all")
    found = next(iter(answers.values()))[name]
    return int(found[setting]["value"]) if setting in found else None


def _record_bytes(batch_bytes: int) -> int:
    """The largest record in a batch of this size, even if it cannot be compressed."""
    return max(0, int((batch_bytes - _FRAME_BYTES) / _INCOMPRESSIBLE))
