"""Reads record batches whose header names are not all text: to Kafka a name is bytes, to its Python client UTF-8.

Without this one such record, from whatever producer, raises out of every poll and stops its partition for good.
"""

from __future__ import annotations

from typing import Any

from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint


class TolerantRecordBatch(DefaultRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    """Bytes of a header name that are no UTF-8 come as question marks; all else comes as it is."""

    _pos: int  # where the next record begins

    def _read_msg(self) -> Any:
        at = self._pos
        try:
            return super()._read_msg()
        except UnicodeDecodeError:
            self._pos = at
            _make_names_text(self._buffer, at)
            return super()._read_msg()


def be_tolerant() -> None:
    """Have every consumer of this process read so. The client offers no place to say it."""
    memory_records.DefaultRecordBatch = TolerantRecordBatch


def _make_names_text(buffer: bytearray, at: int) -> None:
    """Replace what is no UTF-8 in the header names of the record that begins at `at`, byte for byte.

    The record: length, attributes, time and offset differences, key, value, number of headers, names and values.
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
    """Where a field of bytes ends that begins with its length; a length below 0 means none."""
    length, at = decode_varint(buffer, at)
    return int(at + max(length, 0))
