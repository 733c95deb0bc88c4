"""confluent-kafka's producer, with a thread that takes its reports: where each record landed, or why it did not."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from thalweg.proto.records import Partition
from thalweg.stream.log.confluent_client.errors import Causes
from thalweg.stream.log.log import Appended
from thalweg.stream.log.log import Message as Record

_POLL_SECONDS = 0.1
_NEVER = 3600.0


class ReportingProducer:
    """Appends records and waits for them. Thread-safe.

    Args:
        producer: The client.
        causes: Why it has no connection.
        delivery_seconds: The longest time that a delivery may take; longer than that, and nothing is heard of it.
    """

    def __init__(self, producer: Producer, causes: Causes, delivery_seconds: float) -> None:
        self.causes = causes
        self._producer, self._seconds = producer, delivery_seconds
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="kafka-deliveries", daemon=True)
        self._thread.start()

    def send_all(self, topic: str, records: Mapping[int, Record]) -> tuple[dict[int, Appended], dict[int, KafkaError]]:
        """Send records; where each landed, or why it did not."""
        landed: dict[int, Appended] = {}
        failed: dict[int, KafkaError] = {}
        all_told = threading.Event()

        def told(row: int, error: KafkaError | None, message: Any) -> None:
            if error is None:
                landed[row] = Appended(Partition(topic, message.partition()), message.offset())
            else:
                failed[row] = error
            if len(landed) + len(failed) == len(records):
                all_told.set()

        for row, record in records.items():
            try:
                self._send(topic, record, lambda error, message, row=row: told(row, error, message))
            except KafkaException as error:
                told(row, error.args[0], None)
        if records and not all_told.wait(self._seconds):
            late = KafkaError(KafkaError._MSG_TIMED_OUT)
            failed |= {row: late for row in records if row not in landed and row not in failed}
        return landed, failed

    def _send(self, topic: str, record: Record, report: Any) -> None:
        # 0 means now to the client, as a time; the first millisecond of 1970 stands for it
        given = {} if record.time is None else {"timestamp": round(record.time * 1000) or 1}
        if record.partition is not None:
            given["partition"] = record.partition
        headers = [(name, content) for name, content in record.headers]
        while True:
            try:
                self._producer.produce(topic, record.value, record.key, headers=headers, on_delivery=report, **given)
            except BufferError:  # full of what was sent before
                self._producer.poll(_POLL_SECONDS)
            else:
                return

    def _serve(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(_POLL_SECONDS)

    def close(self, seconds: float) -> None:
        """Wait this long for what is being sent, and end."""
        self._producer.flush(seconds)
        self._closed.set()
        self._thread.join(_NEVER)
        self.causes.leave()
