"""Whether Kafka compacts a topic: then it removes events that are not the newest of their key, read or not, and tells
nobody. Asked for in the background, once for each topic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import structlog

from thalweg.stream.log.kafka_shared.consumer import ClientError
from thalweg.stream.log.log import LogError

log = structlog.get_logger(__name__)

POLICY = "cleanup.policy"


class CompactionWatch:
    """Says so in the log of the service. Thread-safe; never blocks.

    Args:
        ask: `cleanup.policy` of a topic; None for one that does not exist. Raises ClientError, LogError or LookupError
            where it cannot be known.
    """

    def __init__(self, ask: Callable[[str], str | None]) -> None:
        self._policy = ask
        self._lock = threading.Lock()
        self._asked: set[str] = set()

    def look(self, topics: Iterable[str]) -> None:
        """Ask for those that were not asked for."""
        with self._lock:
            new = [topic for topic in topics if topic not in self._asked]
            self._asked |= set(new)
        if new:
            threading.Thread(target=self._ask, args=(new,), name="kafka-policies", daemon=True).start()

    def _ask(self, topics: list[str]) -> None:
        for topic in topics:
            try:
                policy = self._policy(topic)
            except (ClientError, LogError, LookupError) as error:  # the right to see settings may be missing
                log.info("whether a topic is compacted is unknown", topic=topic, problem=str(error))
                with self._lock:
                    self._asked.discard(topic)
                continue
            if policy is not None and "compact" in policy:
                log.warning(
                    "a topic is compacted: Kafka removes events that are not the newest of their key, also before they "
                    "are learned, and without a gap; replays and successors lead to other states",
                    topic=topic,
                    cleanup_policy=policy,
                    expected="delete",
                )
