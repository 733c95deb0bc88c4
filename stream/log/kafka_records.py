"""Reads record batches with header names that are not UTF-8: Kafka allows any bytes, its Python client only UTF-8.

Without this, one such record raises from every poll and stops its partition permanently.
"""

from __future__ import annotations

from typing import Any

from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint


class TolerantRecordBatch(DefaultRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    """Invalid bytes of a header name become question marks; everything else is unchanged."""

    _pos: int  # where the next record starts

    def _read_msg(self) -> Any:
        at = self._pos
        try:
            return super()._read_msg()
        except UnicodeDecodeError:
            self._pos = at
            _make_names_text(self._buffer, at)
            return super()._read_msg()


def be_tolerant() -> None:
    """Make every consumer of this process use it. The client has no option for it."""
    memory_records.DefaultRecordBatch = TolerantRecordBatch


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
