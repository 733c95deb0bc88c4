"""What is asked of kafka-python, where librdkafka's own calls end badly or wait in vain.

Who is in a consumer group: librdkafka's calls go to the group's coordinator. When that broker goes away while such a
call is open, librdkafka may abort the process (`Assertion 'eonce->refcnt > 0' failed`, its issue 4605), and for long
after an outage they do not answer.

Which topics there are: librdkafka's call that tells their identities goes to the broker that was named controller,
which is any that the cluster takes for alive, and waits for that one while it is out of the client's reach.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from thalweg.stream.log.kafka_shared.consumer import ClientError, Topic
from thalweg.stream.log.log import LogError, PermanentLogError, Problem

if TYPE_CHECKING:
    from thalweg.stream.log.kafka import KafkaLog
    from thalweg.stream.log.kafka_client.consumer import PythonConsumer


class OtherClient:
    """Opened when it is asked first. Thread-safe.

    Args:
        servers: `HOST:PORT[,HOST:PORT]`.
        properties: The user's properties under their usual names.
    """

    def __init__(self, servers: str, properties: Mapping[str, Any]) -> None:
        self._servers, self._properties = servers, properties
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._log: KafkaLog | None = None
        self._looker: PythonConsumer | None = None
        self._refused = self._closed = False

    def named_members(self, group: str, instead: Callable[[], Sequence[str]]) -> Sequence[str]:
        """The members of a group that have a name. Raises LogError, or ClientError, while no broker answers.

        `instead`: Asked where this client does not know the properties; it needs an answer of every broker.
        """
        log = self._open()
        if log is not None:
            with suppress(PermanentLogError):  # a value that only the client in use knows; else that says the same
                return log.named_members(group)
        return instead()

    def topics(self, names: Sequence[str]) -> Mapping[str, Topic] | None:
        """The topics, each of them; None where this client does not know the properties. Raises ClientError."""
        try:
            log = self._open()
            if log is None:
                return None
            with self._looking:
                if self._looker is None:
                    self._looker = log.consumer()
                return self._looker.topics(names, fresh=True)
        except LogError as error:
            raise ClientError(Problem(str(error), isinstance(error, PermanentLogError))) from error

    def close(self) -> None:
        """Release it."""
        with self._lock:
            self._closed = True
            log, self._log = self._log, None
        with self._looking:
            looker, self._looker = self._looker, None
        for one in (looker, log):
            if one is not None:
                one.close()

    def _open(self) -> KafkaLog | None:
        from thalweg.stream.log.kafka import KafkaLog  # only where it is needed

        with self._lock:
            if self._closed:
                raise LogError("the log is closed")
            if self._log is None and not self._refused:
                # what becomes of its connections is in its answers, and the client in use tells it, too
                logging.getLogger("kafka").setLevel(logging.CRITICAL)
                try:
                    self._log = KafkaLog(self._servers, self._properties)
                except LogError:  # a property that only the client in use knows
                    self._refused = True
            return self._log
