"""Decompression within a bound: whatever the bytes, the records come back, or one declared error does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import codec

from thalweg.stream.log.kafka_client.unpack import CODECS, CannotUnpack, unpack


def raw_snappy(content: bytes) -> bytes:
    return bytes(codec.snappy_encode(content, xerial_compatible=False))


PACKERS: list[tuple[int, Callable[[bytes], bytes]]] = [
    (1, codec.gzip_encode),
    (2, codec.snappy_encode),
    (2, raw_snappy),
    (3, codec.lz4_encode),
    (4, codec.zstd_encode),
]
EVERY = pytest.mark.parametrize(("number", "pack"), PACKERS, ids=["gzip", "snappy", "raw snappy", "lz4", "zstd"])


@EVERY
def test_what_was_packed_comes_back(number: int, pack: Callable[[bytes], bytes]) -> None:
    for content in (b"", b"a", b"thalweg " * 100_000, bytes(range(256)) * 5000):
        assert unpack(number, pack(content), 2 << 20) == content


@EVERY
def test_a_few_bytes_that_unpack_to_many_are_refused(number: int, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(20 << 20))

    with pytest.raises(CannotUnpack, match=r"unpacks to more than 1048576 bytes \(log.unpacked_bytes\)"):
        unpack(number, bomb, 1 << 20)


@EVERY
def test_damaged_bytes_raise_nothing_undeclared(number: int, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"thalweg " * 40)
    refused = 0
    for place in range(len(packed)):
        flipped = packed[:place] + bytes([packed[place] ^ 0x40]) + packed[place + 1 :]
        for damaged in (flipped, packed[:place]):
            try:
                unpack(number, damaged, 1 << 20)
            except CannotUnpack:
                refused += 1

    assert refused > len(packed) // 2


@given(number=st.integers(-1, 9), content=st.binary(max_size=200))
def test_any_bytes_unpack_or_are_refused(number: int, content: bytes) -> None:
    try:
        unpack(number, content, 1 << 16)
    except CannotUnpack:
        return
    assert 0 < number < len(CODECS)
