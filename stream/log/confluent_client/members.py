"""Who is in a consumer group, asked without librdkafka's calls that go to the group's coordinator.

When the broker goes away while such a call is open, librdkafka may abort the process (`Assertion 'eonce->refcnt > 0'
failed`, its issue 4605), and for long after an outage they do not answer. The other client is asked.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from thalweg.stream.log.confluent_client.clients import Cluster
from thalweg.stream.log.log import LogError, PermanentLogError


class _Other(Protocol):
    def named_members(self, group: str) -> Sequence[str]: ...

    def close(self) -> None: ...


class NamedMembers:
    """Tells which members have a name of their own. Thread-safe.

    Args:
        servers: `HOST:PORT[,HOST:PORT]`.
        properties: The user's properties under their usual names.
        cluster: Asked where the other client does not know these properties. It needs an answer of every broker.
    """

    def __init__(self, servers: str, properties: Mapping[str, Any], cluster: Callable[[], Cluster]) -> None:
        self._servers, self._properties, self._cluster = servers, properties, cluster
        self._lock = threading.Lock()
        self._other: _Other | None = None
        self._refused = self._closed = False

    def of(self, group: str) -> Sequence[str]:
        """Their names, of a group. Raises LogError, or ClientError, while no broker answers."""
        other = self._open()
        if other is not None:
            try:
                return other.named_members(group)
            except PermanentLogError:  # a value that only this client knows; else it says the same
                pass
        return self._cluster().named_members(group)

    def close(self) -> None:
        """Release the other client."""
        with self._lock:
            self._closed = True
            other, self._other = self._other, None
        if other is not None:
            other.close()

    def _open(self) -> _Other | None:
        from thalweg.stream.log.kafka import KafkaLog  # only where it is needed

        with self._lock:
            if self._closed:
                raise LogError("the log is closed")
            if self._other is None and not self._refused:
                # what becomes of its connections is in its answers, and the client in use tells it, too
                logging.getLogger("kafka").setLevel(logging.CRITICAL)
                try:
                    self._other = KafkaLog(self._servers, self._properties)
                except LogError:  # a property that only this client knows
                    self._refused = True
            return self._other
