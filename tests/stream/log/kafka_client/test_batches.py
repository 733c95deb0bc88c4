"""Record batches: a damaged one is told with its offsets, and never read as something else."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder

from thalweg.stream.log.kafka_client import batches
from thalweg.stream.log.kafka_client.batches import CheckedBatch, CheckedRecords
from thalweg.stream.log.kafka_client.unpack import CannotUnpack

BASE, LENGTH, MAGIC, LAST_DELTA = 7, 11, 16, 26  # the lowest byte of each in the header of a batch

batches.install()


def batch(first: int, *values: bytes, codec: int = 0) -> bytes:
    """As a broker stores them."""
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 20)
    for place, value in enumerate(values):
        builder.append(place, 1000, None, value, [])
    made = bytearray(builder.build())
    made[0:8] = first.to_bytes(8, "big")  # beside what the checksum covers
    return bytes(made)


def three(codec: int = 0) -> tuple[bytes, bytes, bytes]:
    return batch(5, b"5", b"6", codec=codec), batch(7, b"7", b"8", codec=codec), batch(9, b"9", codec=codec)


def read(stored: bytes, following: int = 5, end: int = 10, most: int = 1 << 20) -> tuple[list[Any], CheckedRecords]:
    """The records up to the first damage."""
    records = CheckedRecords(MemoryRecords(bytearray(stored)), following, end, most)
    found: list[Any] = []
    while (one := records.next_batch()) is not None:
        found += [(record.offset, record.value) for record in one]
    return found, records


def damaged(stored: bytes, **more: Any) -> tuple[str, int | None]:
    """What is said of the damage, and the last offset of the batch."""
    records = CheckedRecords(MemoryRecords(bytearray(stored)), more.get("following", 5), 10, 1 << 20)
    try:
        while (one := records.next_batch()) is not None:
            list(one)
    except Exception as error:
        return str(error), records.last
    raise AssertionError("nothing was found")


def flipped(stored: bytes, place: int, bit: int = 1) -> bytes:
    return stored[:place] + bytes([stored[place] ^ bit]) + stored[place + 1 :]


@pytest.mark.parametrize("codec", range(5))
def test_sound_batches_are_read_whatever_compresses_them(codec: int) -> None:
    assert read(b"".join(three(codec)))[0] == [(number, str(number).encode()) for number in range(5, 10)]


@pytest.mark.parametrize("codec", range(5))
def test_a_flipped_bit_among_the_records_is_told_with_the_offsets_of_its_batch(codec: int) -> None:
    first, second, third = three(codec)

    assert damaged(first + flipped(second, len(second) - 1) + third) == ("its checksum is wrong", 8)
    assert damaged(first + second + flipped(third, len(third) - 1)) == ("its checksum is wrong", 9)


@pytest.mark.parametrize(
    ("place", "bit"),
    [(BASE, 1), (BASE, 4), (0, 0x20), (MAGIC, 1), (MAGIC, 2), (LAST_DELTA, 1), (LAST_DELTA, 2), (23, 1)],
)
def test_a_damaged_header_does_not_say_where_its_batch_ends(place: int, bit: int) -> None:
    first, second, third = three()

    assert damaged(first + flipped(second, place, bit) + third)[1] == 8


def test_no_flipped_bit_lets_wrong_records_through() -> None:
    stored = b"".join(three())
    sound = [(number, str(number).encode()) for number in range(5, 10)]
    second = len(three()[0])
    for place in range(len(stored)):
        for bit in (1, 0x80):
            found: list[Any] = []
            records = CheckedRecords(MemoryRecords(bytearray(flipped(stored, place, bit))), 5, 10, 1 << 20)
            try:
                while (one := records.next_batch()) is not None:
                    found += [(record.offset, record.value) for record in one]
            except (ValueError, struct.error, CorruptRecordError):
                assert records.last is None or 5 <= records.last < 10
            if place > second + BASE:  # a first base offset has nothing before it that would contradict it
                assert found == sound[: len(found)], (place, bit)


def test_a_damaged_batch_before_what_was_asked_for_does_not_come_again() -> None:
    _, second, third = three()
    longer = flipped(second, LAST_DELTA, 2)  # claims to reach to 10, so a broker sends it to whoever asks for 9

    assert read(longer + third, following=9)[0] == [(9, b"9")]


def test_holes_that_compaction_and_transactions_leave_are_no_damage() -> None:
    first, _, third = three()

    assert [offset for offset, _ in read(first + third)[0]] == [5, 6, 9]


def test_a_batch_that_is_read_from_its_middle_is_no_damage() -> None:
    assert [offset for offset, _ in read(b"".join(three()), following=6)[0]] == [5, 6, 7, 8, 9]  # the client skips 5


def test_a_bomb_is_refused_within_its_bound() -> None:
    bomb = batch(5, bytes(1 << 20), codec=1)

    with pytest.raises(CannotUnpack, match="unpacks to more than 1000"):
        read(bomb, most=1000)


def test_records_that_claim_offsets_of_other_batches_are_refused() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    builder.append(0, 1000, None, b"0", [])
    builder.append(40, 1000, None, b"40", [])
    made = CheckedBatch(builder.build())
    made._header_data = (*made._header_data[:6], 1, *made._header_data[7:])  # two offsets, says the header

    with pytest.raises(Exception, match="a record of offset 40 in a batch that ends at 1"):
        list(made)
