"""The log in Kafka, through kafka-python; the only file that imports it.

Offsets are stored in snapshots: partitions are assigned manually, and offsets committed to the consumer group are only
for monitoring. Only committed records are read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from kafka import KafkaConsumer, KafkaProducer, TopicPartition, codec
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaConfigurationError, KafkaError, OffsetOutOfRangeError
from kafka.serializer import Serializer
from kafka.structs import OffsetAndMetadata

from thalweg.proto.records import Headers, Partition, Position, Records
from thalweg.stream.log.kafka_properties import translate
from thalweg.stream.log.kafka_records import be_tolerant
from thalweg.stream.log.log import Appended, Gap, LogError, Message, Reader, Start

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 2.0  # between two checks for new partitions; for existing topics a check costs nothing
_FIRST_LOOKS_SECONDS = 0.2  # for a missing topic, doubling each time: such a check asks the cluster
_ASK_SECONDS = 1.0  # while no records arrive: is this still the end, is the cluster reachable?
_ANSWER_SECONDS = 5.0  # the longest wait for a response that Kafka usually gives at once
_OFFSET, _TIMESTAMP, _KEY, _VALUE, _HEADERS = (
    ConsumerRecord._fields.index(name) for name in ("offset", "timestamp", "key", "value", "headers")
)
_APPEND_SECONDS = 30.0
_FIRST_POLL_BYTES = 64 << 10  # the assumed size of a record before one was seen
_CONSUMER = {
    "enable_auto_commit": False,
    "auto_offset_reset": "none",  # the reader sets the start itself, and must notice when records are gone
    "isolation_level": "read_committed",
    "check_crcs": True,
    "allow_auto_create_topics": False,
    "max_partition_fetch_bytes": 4 << 20,  # about a block: larger ones only wait longer; a larger record still arrives
    "fetch_max_bytes": 64 << 20,
    "fetch_max_wait_ms": 100,
    "bootstrap_timeout_ms": int(_ANSWER_SECONDS * 1000),  # the reader retries itself and must notice a stop
    "reconnect_backoff_max_ms": 1000,
    "metadata_max_age_ms": 10_000,
    "metrics_enabled": False,
}
_PRODUCER = {
    "acks": -1,
    "enable_idempotence": True,
    "linger_ms": 2,
    "batch_size": 256 << 10,
    "compression_type": "lz4",
    "max_request_size": 64 << 20,
    "delivery_timeout_ms": int(_APPEND_SECONDS * 1000),
    "request_timeout_ms": 10_000,
    "max_block_ms": int(_APPEND_SECONDS * 1000),
    "reconnect_backoff_max_ms": 1000,
    "metrics_enabled": False,
}
_NOTHING = object()


class _Nothing(Serializer):  # type: ignore[misc]  # kafka-python has no types
    """Allows a record with neither key nor value: Kafka has such records, kafka-python refuses to send one."""

    def serialize(self, topic: str, headers: object, value: object) -> object:
        return None if value is _NOTHING else value


class KafkaLog:
    """Topics of a Kafka cluster.

    Args:
        servers: `HOST:PORT[,HOST:PORT]`.
        properties: Client properties under their usual names (`security.protocol`, `sasl.mechanism`, …).

    Raises:
        LogError: A property is unknown, reserved or invalid, or a required package is missing.
    """

    def __init__(self, servers: str, properties: Mapping[str, Any] | None = None) -> None:
        _require_crc32c()
        _require_codecs()
        be_tolerant()
        self._servers = [server.strip() for server in servers.split(",") if server.strip()]
        known = set(KafkaConsumer.DEFAULT_CONFIG) | set(KafkaProducer.DEFAULT_CONFIG)
        self._properties = translate(properties or {}, known)
        self._lock = threading.Lock()
        self._producer: Any = None
        self._looker: Any = None
        self._closed = False

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        try:
            producer = self._open_producer()
            waiting = [
                producer.send(
                    topic,
                    value=_NOTHING if message.value is None and message.key is None else message.value,
                    key=message.key,
                    headers=list(message.headers),
                    timestamp_ms=None if message.time is None else round(message.time * 1000),
                )
                for message in messages
            ]
            # longer than a delivery may take: a record reported as failed must not arrive after all
            patience = producer.config["delivery_timeout_ms"] / 1000 + _ANSWER_SECONDS
            landed = [future.get(patience) for future in waiting]
        except (KafkaError, ValueError) as error:  # ValueError: an invalid topic name
            raise LogError(f"topic {topic!r}: Kafka rejected the records: {_text(error)}") from error
        return [Appended(Partition(one.topic, one.partition), one.offset) for one in landed]

    def reader(self, topics: Sequence[str], after: Position, start: Start = "earliest", group: str = "") -> Reader:
        reader = _KafkaReader(lambda: self._consumer(group or None), topics, after, start, commits=bool(group))
        if start == "latest" and not reader.reached():
            reader.close()
            raise LogError(f"topics {', '.join(topics)}: Kafka is unavailable, so the latest offset is unknown")
        return reader

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        with self._lock:
            try:
                if self._looker is None:
                    self._looker = self._consumer(None)
                parts = [TopicPartition(topic, number) for number in self._looker.partitions_for_topic(topic)]
                if not parts:
                    return {}
                first = self._looker.beginning_offsets(parts, timeout_ms=_ANSWER_SECONDS * 1000)
                end = self._looker.end_offsets(parts, timeout_ms=_ANSWER_SECONDS * 1000)
            except KafkaError as error:
                raise LogError(f"topic {topic!r}: cannot read its offsets from Kafka: {_text(error)}") from error
        return {Partition(topic, part.partition): (first[part], end[part]) for part in parts}

    def identity(self, topic: str) -> str | None:
        return None

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._producer is not None:
                self._producer.close(timeout=5)
                self._producer = None
            if self._looker is not None:
                self._looker.close(autocommit=False, timeout_ms=1000)
                self._looker = None

    def _open_producer(self) -> Any:
        with self._lock:
            if self._closed:
                raise LogError("the log is closed")
            if self._producer is None:
                self._producer = self._open(KafkaProducer, _PRODUCER, value_serializer=_Nothing())
            return self._producer

    def _consumer(self, group: str | None) -> Any:
        return self._open(KafkaConsumer, _CONSUMER, group_id=group)

    def _open(self, client: Any, ours: Mapping[str, Any], **more: Any) -> Any:
        try:
            return client(**{**self._settings(ours, client.DEFAULT_CONFIG), **more})
        except (KafkaConfigurationError, TypeError, ValueError) as error:
            raise LogError(f"log.kafka: the client refuses these properties: {_text(error)}") from error

    def _settings(self, ours: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
        theirs = {key: value for key, value in self._properties.items() if key in known}
        return {"bootstrap_servers": self._servers, **ours, **theirs}


class _KafkaReader:
    def __init__(
        self, connect: Callable[[], Any], topics: Sequence[str], after: Position, start: Start, *, commits: bool
    ) -> None:
        self._connect = connect
        self._topics = list(topics)
        self._after = dict(after)
        self._start = start
        self._commits = commits
        self._next: dict[TopicPartition, int] = {}
        self._gaps: list[Gap] = []
        self._consumer: Any = None
        self._look_after = 0.0
        self._look_wait = _FIRST_LOOKS_SECONDS
        self._found_any = False
        self._idle = True
        self._record_bytes = float(_FIRST_POLL_BYTES)  # recent: Kafka's poll counts records, the reader limits bytes
        self._ends: dict[TopicPartition, int] = {}
        self._ask_after = 0.0
        self._lag: dict[Partition, int] = {}
        self._reached = False
        self._warned = False
        self._attempt(self._look_for_partitions)

    def seek(self, after: Position) -> None:
        self._after = dict(after)
        self._start = "earliest" if self._found_any else self._start
        self._next.clear()
        self._lag = {}
        self._look_after = 0.0
        if self._consumer is not None:
            self._attempt(lambda: self._consumer.assign([]))

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        deadline = time.monotonic() + timeout_seconds
        while True:
            found: list[Records] = self._attempt(lambda: self._poll(deadline, max_records, max_bytes)) or []
            self._idle = not found
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(left, 0.05) if not self._next else 0)

    def _poll(self, deadline: float, max_records: int, max_bytes: int) -> list[Records]:
        if time.monotonic() >= self._look_after:
            self._look_for_partitions()
        if not self._next:
            return []
        try:
            most = max(1, min(max_records, int(max_bytes / self._record_bytes)))
            patience = max(0.0, min(deadline, self._look_after) - time.monotonic())
            polled = self._consumer.poll(int(patience * 1000), most)
        except OffsetOutOfRangeError:
            self._jump_gaps()
            return []
        runs = []
        for part, records in polled.items():
            if not records:
                continue
            self._next[part] = records[-1].offset + 1
            columns = list(zip(*records))  # the client's records are tuples
            runs.append(
                Records(
                    Partition(part.topic, part.partition),
                    columns[_OFFSET],
                    [stamp / 1000 for stamp in columns[_TIMESTAMP]],
                    columns[_KEY],
                    columns[_VALUE],
                    [_headers(one) for one in columns[_HEADERS]] if any(columns[_HEADERS]) else columns[_HEADERS],
                )
            )
        count = sum(map(len, runs))
        if count:
            self._heard()
            self._record_bytes = max(64.0, sum(run.size_bytes for run in runs) / count)
        return runs

    def position(self) -> Position:
        known = {Partition(p.topic, p.partition): offset - 1 for p, offset in self._next.items() if offset > 0}
        return {**{partition: last for partition, last in self._after.items() if partition not in known}, **known}

    def lag(self) -> Mapping[Partition, int]:
        lags = self._attempt(self._lags)
        if lags is not None:
            self._lag = lags
        return self._lag

    def _lags(self) -> dict[Partition, int]:
        lags: dict[Partition, int] = {}
        if self._idle and self._next and time.monotonic() >= self._ask_after:
            # an unreachable broker looks like an idle one: only a response tells them apart
            self._ask_after = time.monotonic() + _ASK_SECONDS
            self._ends |= self._consumer.end_offsets(list(self._next), timeout_ms=_ASK_SECONDS * 500)
            self._heard()
        for part, following in self._next.items():
            end = max(self._consumer.highwater(part) or 0, self._ends.get(part, 0))
            if self._idle and end > following:  # transaction markers and aborted records are skipped
                following = max(following, self._consumer.position(part, timeout_ms=100) or 0)
            lags[Partition(part.topic, part.partition)] = max(0, end - following)
        return lags

    def reached(self) -> bool:
        return self._reached

    def gaps(self) -> list[Gap]:
        found, self._gaps = self._gaps, []
        return found

    def commit(self, position: Position, note: str = "") -> None:
        if not self._commits or self._consumer is None:
            return
        offsets = {
            TopicPartition(p.topic, p.number): OffsetAndMetadata(offset + 1, note, -1) for p, offset in position.items()
        }
        self._attempt(lambda: self._consumer.commit_async(offsets, callback=_ignore))

    def close(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            try:
                consumer.close(autocommit=False, timeout_ms=1000)
            except KafkaError as error:
                log.warning("Kafka consumer did not close cleanly", problem=_text(error))

    def _attempt(self, action: Callable[[], Any]) -> Any:
        """Run it; None while Kafka is unavailable, which is logged once."""
        try:
            if self._consumer is None:
                self._consumer = self._connect()
            result = action()
        except KafkaError as error:
            self._reached = False
            if not self._warned:
                log.warning("Kafka is unavailable: retrying", problem=_text(error))
                self._warned = True
            time.sleep(0.05)
            return None
        return result

    def _heard(self) -> None:
        """Record that Kafka responded."""
        self._reached = True
        self._ask_after = time.monotonic() + _ASK_SECONDS
        if self._warned:
            log.info("Kafka is available again")
            self._warned = False

    def _look_for_partitions(self) -> None:
        """Read every partition of the topics, including new ones."""
        there = {topic: self._consumer.partitions_for_topic(topic) for topic in self._topics}
        if all(there.values()):
            self._look_wait = _LOOK_SECONDS
        else:  # the cluster was asked and responded
            self._heard()
            self._look_wait = min(2 * self._look_wait, _LOOK_SECONDS)
        self._look_after = time.monotonic() + self._look_wait
        new = [
            part
            for topic, numbers in there.items()
            for number in sorted(numbers)
            if (part := TopicPartition(topic, number)) not in self._next
        ]
        if not new:
            return
        first = self._consumer.beginning_offsets(new, timeout_ms=_ANSWER_SECONDS * 1000)
        ends = self._consumer.end_offsets(new, timeout_ms=_ANSWER_SECONDS * 1000)
        self._heard()
        self._ends |= ends
        self._consumer.assign([*self._next, *new])
        for part, offset in self._next.items():
            self._consumer.seek(part, offset)
        for part in new:
            taken = self._after.get(Partition(part.topic, part.partition))
            if taken is None:
                following = first[part] if self._start == "earliest" or self._found_any else ends[part]
            else:
                following = taken + 1
                if following < first[part]:
                    self._gaps.append(Gap(Partition(part.topic, part.partition), following, first[part] - 1))
                    following = first[part]
            self._next[part] = following
            self._consumer.seek(part, following)
        self._found_any = True

    def _jump_gaps(self) -> None:
        """Continue at the earliest record after retention, and at the start if the topic was created again."""
        parts = list(self._next)
        first, ends = self._consumer.beginning_offsets(parts), self._consumer.end_offsets(parts)
        for part in parts:
            following = self._next[part]
            if following < first[part]:
                self._gaps.append(Gap(Partition(part.topic, part.partition), following, first[part] - 1))
                self._next[part] = first[part]
            elif following > ends[part]:
                log.error(
                    "topic ends before the reader's position: was it deleted and recreated? continuing at its start",
                    partition=f"{part.topic}/{part.partition}",
                    expected=following,
                    end=ends[part],
                )
                self._next[part] = first[part]
            self._consumer.seek(part, self._next[part])


def _require_crc32c() -> None:
    try:
        import crc32c  # noqa: F401 - only its presence matters
    except ImportError as error:
        raise LogError(
            "the package crc32c is missing: without it reading from Kafka takes 5 to 27 times the CPU; "
            "run: pip install crc32c"
        ) from error


def _require_codecs() -> None:
    """A record that cannot be decompressed cannot be skipped either: it would stop its partition permanently."""
    there = {
        "snappy": (codec.has_snappy(), "python-snappy"),
        "lz4": (codec.has_lz4(), "lz4"),
        "zstd": (codec.has_zstd(), "zstandard"),
    }
    missing = {name: package for name, (has, package) in there.items() if not has}
    if missing:
        raise LogError(
            f"the codecs {', '.join(missing)} are missing: compressed records could not be read; "
            f"run: pip install {' '.join(missing.values())}"
        )


def _headers(headers: Headers) -> Headers:
    """Kafka allows headers without a value; they are read as empty."""
    return [(name, b"" if value is None else value) for name, value in headers]


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _ignore(*_: object) -> None:
    """A commit is for monitoring only; one that is lost is followed by another."""
