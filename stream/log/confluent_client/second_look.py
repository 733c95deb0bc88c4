"""A second look, by kafka-python, at what librdkafka does not hand over.

librdkafka tells of a damaged batch where it begins, not where it ends, and skips it by itself; and it gives no headers
at all where one of their names is no text. Both are rare: the other client, which tells them exactly, looks at them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from thalweg.proto.records import Partition, Records
from thalweg.stream.log.kafka_shared.consumer import ANSWER_SECONDS, ClientError, OffsetGone
from thalweg.stream.log.log import LogError, Reading


class SecondLook:
    """Looks at one place of a partition.

    Args:
        servers: `HOST:PORT[,HOST:PORT]`.
        properties: The user's properties under their usual names.
        reading: What a batch may unpack to.
    """

    def __init__(self, servers: str, properties: Mapping[str, Any], reading: Reading) -> None:
        self._servers, self._properties, self._reading = servers, properties, reading

    def records(self, partition: Partition, offset: int) -> list[Records]:
        """Some records from this offset on; none if the other client cannot be asked.

        Raises UnreadableBatch if it cannot read them either.
        """
        from thalweg.stream.log.kafka import KafkaLog  # only where it is needed

        try:
            log = KafkaLog(self._servers, self._properties, self._reading)
            consumer = log.consumer()
        except (ClientError, LogError):
            return []
        try:
            consumer.read({partition: offset})
            deadline = time.monotonic() + ANSWER_SECONDS
            while time.monotonic() < deadline:
                if runs := consumer.poll(_STEP_SECONDS, _RECORDS):
                    return runs
        except (ClientError, OffsetGone):
            return []
        finally:
            consumer.close()
            log.close()
        return []


_STEP_SECONDS = 0.5
_RECORDS = 500
