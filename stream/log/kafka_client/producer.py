"""kafka-python's producer: records are appended and waited for, and one that an error leaves useless is replaced."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from kafka.errors import KafkaError, KafkaTimeoutError

from thalweg.proto.records import Partition
from thalweg.stream.log.kafka_client.clients import NOTHING
from thalweg.stream.log.kafka_client.errors import REFUSED
from thalweg.stream.log.kafka_shared.consumer import ANSWER_SECONDS
from thalweg.stream.log.log import Appended, LogError, Message


class ReplaceableProducer:
    """The producer of a log, opened when it is used first. Thread-safe.

    Two kinds of errors leave it useless. One that no new try mends: it refuses whatever comes after with the same
    error. And a record that was given up after it had waited its time: the producer may wait for a partition that is
    gone, or its sequence numbers stand still for good after a broker stood still. The next call has another one then;
    what other threads have sent by the old one is waited for, and the last of them closes it.

    Args:
        make: Opens the client.
        numbered: It gives its records sequence numbers, of which those of refused ones are missing then.
    """

    def __init__(self, make: Callable[[], Any], *, numbered: bool) -> None:
        self._make, self._numbered = make, numbered
        self._lock = threading.Lock()
        self._current: Any = None
        self._ending: Any = None
        self._calls: Counter[Any] = Counter()
        self._closed = False

    def send_all(self, topic: str, messages: Mapping[int, Message]) -> tuple[dict[int, Appended], dict[int, Exception]]:
        """Send records; where each landed, or why it did not. Raises LogError after `close`, else as the client."""
        with self._used() as producer:
            landed, failed = _send_all(producer, topic, messages)
            if any(map(self._leaves_it_useless, failed.values())):
                self._replace(producer)
        return landed, failed

    def close(self) -> None:
        """Wait a few seconds for what is being sent, and end."""
        with self._lock:
            self._closed = True
            self._ending, self._current = self._current, None
        if self._ending is not None:
            with suppress(KafkaError):  # what it still held is told as not appended
                self._ending.close(timeout=5)

    @contextmanager
    def _used(self) -> Iterator[Any]:
        with self._lock:
            if self._closed:
                raise LogError("the log is closed")
            if self._current is None:
                self._current = self._make()
            producer = self._current
            self._calls[producer] += 1
        try:
            yield producer
        finally:
            with self._lock:
                self._calls[producer] -= 1
                last = not self._calls[producer]
                if last:
                    del self._calls[producer]
                useless = last and producer not in (self._current, self._ending)
            if useless:
                with suppress(KafkaError):
                    producer.close(timeout=0)

    def _replace(self, producer: Any) -> None:
        with self._lock:
            if self._current is producer:
                self._current = None

    def _leaves_it_useless(self, error: Exception) -> bool:
        if isinstance(error, REFUSED):
            return self._numbered
        return isinstance(error, KafkaTimeoutError) or not getattr(error, "retriable", False)


def _send_all(
    producer: Any, topic: str, messages: Mapping[int, Message]
) -> tuple[dict[int, Appended], dict[int, Exception]]:
    """Send records; where each landed, or why it did not."""
    waiting: dict[int, Any] = {}
    landed: dict[int, Appended] = {}
    failed: dict[int, Exception] = {}
    for row, message in messages.items():
        try:
            waiting[row] = _send(producer, topic, message)
        except REFUSED as error:  # of this record; the others can be appended
            failed[row] = error
    # longer than a delivery may take: a record reported as failed must not arrive after all
    deadline = time.monotonic() + producer.config["delivery_timeout_ms"] / 1000 + ANSWER_SECONDS
    for row, future in waiting.items():
        try:
            one = future.get(max(0.0, deadline - time.monotonic()))
        except KafkaError as error:
            failed[row] = error
        else:
            landed[row] = Appended(Partition(one.topic, one.partition), one.offset)
    return landed, failed


def _send(producer: Any, topic: str, message: Message) -> Any:
    return producer.send(
        topic,
        value=NOTHING if message.value is None and message.key is None else message.value,
        key=message.key,
        headers=list(message.headers),
        partition=message.partition,
        timestamp_ms=None if message.time is None else round(message.time * 1000),
    )
