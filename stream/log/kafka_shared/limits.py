"""The largest record that each topic accepts: its own setting, asked for in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from thalweg.stream.log.kafka_shared.consumer import ClientError
from thalweg.stream.log.log import LogError

log = structlog.get_logger(__name__)

_FRESH_SECONDS = 60.0
_FRAME_BYTES = 512  # of a batch and its only record, beside key, value and headers
_INCOMPRESSIBLE = 1.005  # what compression adds at most to what it cannot compress


class RecordLimits:
    """Thread-safe; never blocks.

    Args:
        ask: `max.message.bytes` of a topic; for one that does not exist, what the cluster would give it. Raises
            ClientError, LogError or LookupError where it cannot be known.
        client_bytes: The client's own limit.
        clock: Monotonic seconds.
    """

    def __init__(
        self, ask: Callable[[str], int], client_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._client_bytes, self._clock = ask, client_bytes, clock
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
        except (ClientError, LogError, LookupError) as error:
            if topic not in self._told:  # the right to see settings may be missing: records are refused on append
                log.info("the largest record of a topic is unknown", topic=topic, problem=str(error))
                self._told.add(topic)
        with self._lock:
            before = self._known.get(topic, (0.0, self._client_bytes))[1]
            self._known[topic] = (self._clock(), before if found is None else found)
            self._asking.discard(topic)


def _record_bytes(batch_bytes: int) -> int:
    """The largest record in a batch of this size, even if it cannot be compressed."""
    return max(0, int((batch_bytes - _FRAME_BYTES) / _INCOMPRESSIBLE))
