"""Record batches as this service reads them: checked, unpacked within a bound, and told where they cannot be read.

kafka-python has no option for any of this, and goes on with the same batch for ever inside one call once it has failed.
Three of its classes are derived from here; the tests fail if a
newer release renames what they use.
"""

from __future__ import annotations

from typing import Any

from kafka.consumer.fetcher import CompletedFetch, Fetcher
from kafka.errors import OffsetOutOfRangeError, TopicAuthorizationFailedError
from kafka.record import legacy_records, memory_records
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint
from kafka.structs import TopicPartition

from thalweg.proto.records import Partition
from thalweg.stream.log.kafka_client.unpack import CODECS, CannotUnpack, unpack
from thalweg.stream.log.kafka_shared.consumer import UnreadableBatch
from thalweg.stream.log.log import Reading

UNPACKED_BYTES = Reading().unpacked_bytes
"""Default bound of what one batch may unpack to."""
_NEWEST_FORMAT = 2


class CheckedBatch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch whose unpacked size is bounded, and whose header names may have any bytes."""

    most_bytes = UNPACKED_BYTES
    _buffer: bytearray
    _decompressed: bool
    _pos: int  # where the next record starts

    def _maybe_uncompress(self) -> None:
        if not self._decompressed and self.compression_type != self.CODEC_NONE:
            packed = bytes(memoryview(self._buffer)[self._pos :])
            self._buffer = unpack(self.compression_type, packed, self.most_bytes)
            self._pos = 0
        self._decompressed = True

    def _read_msg(self) -> Any:
        at = self._pos
        try:
            record = super()._read_msg()
        except UnicodeDecodeError:
            self._pos = at
            _make_names_text(self._buffer, at)
            record = super()._read_msg()
        if not self.base_offset <= record.offset <= self.last_offset:
            raise ValueError(f"a record of offset {record.offset} in a batch that ends at {self.last_offset}")
        return record


class CheckedRecords:
    """The batches of one response, each checked before its records are read.

    Args:
        records: kafka-python's own.
        following: The offset that was asked for.
        end: The partition's next offset to be written, according to the response.
        most_bytes: What one batch may unpack to.
        earliest: The first offset that the first batch may have; one that is read from its middle begins earlier.
    """

    def __init__(self, records: Any, following: int, end: int, most_bytes: int, earliest: int = 0) -> None:
        self._records, self._following, self._end, self._most_bytes = records, following, end, most_bytes
        self._ahead: Any = None
        self.earliest = earliest
        """The first offset that the next batch may have."""
        self.codec = ""
        """Compression of the latest batch."""
        self.last: int | None = None
        """Last offset of the latest batch; None if its header is damaged."""

    def next_batch(self) -> Any:
        """The next sound batch; None at the end. Raises ValueError, with `codec` and `last` set, if it is damaged."""
        self.last, self.codec = None, ""
        batch = self._pull()
        if batch is None:
            return None
        if (wrong := self._damage(batch)) is not None:
            # what of its header is true? The next batch knows better where it ends
            after = self._peek()
            sound = after is not None and self._damage(after) is None
            if not sound or after.base_offset > self._following:
                claimed = after.base_offset - 1 if sound else _last(batch)
                self.last = claimed if self._following <= claimed < self._end else None
                self.codec = _codec(batch)
                raise ValueError(wrong)
            batch = after  # the damaged one lies before what was asked for, although it claims otherwise
        self.codec, self.last = _codec(batch), _last(batch)
        self._following = self.earliest = self.last + 1
        if isinstance(batch, CheckedBatch):
            batch.most_bytes = self._most_bytes
        return batch

    def _pull(self) -> Any:
        """The next batch, whatever its state."""
        batch, self._ahead = self._ahead, None
        return self._records.next_batch() if batch is None else batch

    def _peek(self) -> Any:
        """The next batch; None if there is none, or not even its frame is sound."""
        try:
            return self._pull()
        except Exception:
            return None

    def _damage(self, batch: Any) -> str | None:
        first, last = batch.base_offset, _last(batch)
        if not (self.earliest <= first <= last and self._following <= last < self._end):
            return f"a batch of the offsets {first} to {last} where {self._following} was expected"
        if batch.magic > _NEWEST_FORMAT:
            return f"unknown format {batch.magic}"
        if not batch.validate_crc():
            return "its checksum is wrong"
        if first > self._following and self._ahead is None:
            # a hole: what transactions and compaction leave, or an offset that is wrong: no checksum covers it
            self._ahead = self._peek()
            if self._ahead is not None and self._ahead.base_offset <= last and self._ahead.validate_crc():
                return f"a batch of the offsets {first} to {last} before one of {self._ahead.base_offset}"
        return None


class CheckedFetcher(Fetcher):  # type: ignore[misc]
    """Raises UnreadableBatch for a batch that cannot be read, and leaves the fetcher ready for the next poll."""

    def __init__(self, *arguments: Any, most_bytes: int = UNPACKED_BYTES, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._most_bytes = most_bytes
        self._end = 0
        self._read: dict[TopicPartition, int] = {}  # the offset after the last batch

    def _parse_fetched_data(self, completed_fetch: CompletedFetch) -> Any:
        self._end = completed_fetch.partition_data.high_watermark
        try:
            return super()._parse_fetched_data(completed_fetch)
        except (OffsetOutOfRangeError, TopicAuthorizationFailedError):
            raise
        except Exception as error:
            part, offset = completed_fetch.topic_partition, completed_fetch.fetched_offset
            raise UnreadableBatch(Partition(*part), offset, None, "", _reason(error)) from error

    def PartitionRecords(self, fetch_offset: int, tp: TopicPartition, records: Any, **more: Any) -> Any:  # noqa: N802
        earliest = fetch_offset if self._read.get(tp) == fetch_offset else 0
        checked = CheckedRecords(records, fetch_offset, self._end, self._most_bytes, earliest)
        return _CheckedPartition(self._read, fetch_offset, tp, checked, **{**more, "check_crcs": False})


class _CheckedPartition(Fetcher.PartitionRecords):  # type: ignore[misc]
    def __init__(
        self, read: dict[TopicPartition, int], fetch_offset: int, tp: TopicPartition, records: Any, **more: Any
    ) -> None:
        super().__init__(fetch_offset, tp, records, **more)
        self._checked, self._read = records, read

    def take(self, n: int | None = None) -> Any:
        try:
            taken = super().take(n)
            self._read[self.topic_partition] = self._checked.earliest
            return taken
        except Exception as error:
            self.drain()  # otherwise the fetcher asks it for ever
            last = self._checked.last
            if last is not None and last < self.next_fetch_offset:
                last = None
            part, codec = self.topic_partition, self._checked.codec
            raise UnreadableBatch(Partition(*part), self.next_fetch_offset, last, codec, _reason(error)) from error


def install() -> None:
    """Make every consumer of this process use the checked batch. The client has no option for it."""
    memory_records.DefaultRecordBatch = CheckedBatch
    for codec in (1, 2, 3):  # of the format before Kafka 0.11
        setattr(legacy_records, f"{CODECS[codec]}_decode", _decoder(codec))


def _decoder(codec: int) -> Any:
    return lambda packed: bytes(unpack(codec, bytes(packed), UNPACKED_BYTES))


def _last(batch: Any) -> int:
    """The last offset of a batch; in the formats before Kafka 0.11 a batch is called by it."""
    return int(batch.last_offset if batch.magic >= _NEWEST_FORMAT else batch.base_offset)


def _codec(batch: Any) -> str:
    known = 0 <= batch.compression_type < len(CODECS)
    return CODECS[batch.compression_type] if known else f"compression type {batch.compression_type}"


def _reason(error: Exception) -> str:
    if isinstance(error, CannotUnpack) or type(error) is ValueError:
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _make_names_text(buffer: bytearray, at: int) -> None:
    """Replace invalid bytes in the header names of the record that starts at `at`, byte for byte.

    The format: length, attributes, time and offset differences, key, value, number of headers, names and values.
    """
    _, at = decode_varint(buffer, at)
    _, at = decode_varint(buffer, at)
    _, at = decode_varint(buffer, at)
    _, at = decode_varint(buffer, at)
    at = _after(buffer, _after(buffer, at))
    count, at = decode_varint(buffer, at)
    for _ in range(count):
        end = _after(buffer, at)
        length, start = decode_varint(buffer, at)
        name = bytes(buffer[start : start + length])
        try:
            name.decode()
        except UnicodeDecodeError:
            buffer[start:end] = bytes(byte if byte < 0x80 else ord("?") for byte in name)
        at = _after(buffer, end)


def _after(buffer: bytearray, at: int) -> int:
    """The end of a length-prefixed bytes field; a length below 0 means none."""
    length, at = decode_varint(buffer, at)
    return int(at + max(length, 0))
