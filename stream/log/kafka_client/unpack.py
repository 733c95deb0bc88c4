"""Decompression of Kafka's record batches within a bound: a few kilobytes of a stranger may unpack to gigabytes.

The client's own functions unpack a batch whole, whatever its size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import lz4.frame
import snappy
import zstandard

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
"""The names of the compression types of a batch."""
_PIECE = 1 << 20  # unpacked at once
_GZIP = 16 + zlib.MAX_WBITS
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER = 16  # the name, and two versions of 4 bytes


class CannotUnpack(ValueError):
    """A batch is damaged, or larger than the bound; the message says which."""


def unpack(codec: int, packed: bytes, most: int) -> bytearray:
    """The records of a batch, decompressed.

    Args:
        codec: The compression type of the batch: a place in `CODECS`.
        packed: The compressed records.
        most: The bound, in bytes.

    Raises:
        CannotUnpack: The codec is unknown, the data is damaged, or it unpacks to more than the bound.
    """
    if not 0 < codec < len(CODECS):
        raise CannotUnpack(f"unknown compression type {codec}")
    try:
        return _UNPACK[codec](packed, most)
    except (zlib.error, struct.error, RuntimeError, ValueError, zstandard.ZstdError, snappy.UncompressError) as error:
        if isinstance(error, CannotUnpack):
            raise
        told = str(error) or str(error.__cause__ or "") or type(error).__name__
        raise CannotUnpack(f"cannot be decompressed: {told}") from error


def _gzip(packed: bytes, most: int) -> bytearray:
    return _frames(_Zlib, packed, most)


def _lz4(packed: bytes, most: int) -> bytearray:
    return _frames(lz4.frame.LZ4FrameDecompressor, packed, most)


class _Zlib:
    """zlib's decompressor with the interface that those of lz4, bz2 and lzma have."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_GZIP)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


def _frames(decompressor: Callable[[], Any], packed: bytes, most: int) -> bytearray:
    """Decompress frames that follow one another."""
    unpacked = bytearray()
    while packed:
        frame, data = decompressor(), packed
        while not frame.eof:
            piece = frame.decompress(data, max_length=_PIECE)
            if not piece and not frame.eof:
                raise CannotUnpack("the compressed data ends early")
            data = b""
            unpacked += piece
            _check(len(unpacked), most)
        packed = frame.unused_data or b""
    return unpacked


def _snappy(packed: bytes, most: int) -> bytearray:
    if not packed.startswith(_XERIAL):
        _check(_snappy_length(packed), most)
        return bytearray(snappy.decompress(packed))
    unpacked, at = bytearray(), _XERIAL_HEADER
    while at < len(packed):
        (length,) = struct.unpack_from(">i", packed, at)
        at += 4
        if not 0 <= length <= len(packed) - at:
            raise CannotUnpack(f"a block of {length} bytes where {len(packed) - at} are left")
        block = packed[at : at + length]
        _check(len(unpacked) + _snappy_length(block), most)
        unpacked += snappy.decompress(block)
        at += length
    return unpacked


def _snappy_length(block: bytes) -> int:
    """The unpacked length, with which a block begins: 7 bits a byte, the lowest first."""
    length = 0
    for place, byte in enumerate(block[:5]):
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return length
    raise CannotUnpack("a block without its length")


def _zstd(packed: bytes, most: int) -> bytearray:
    known = zstandard.get_frame_parameters(packed).content_size
    if known not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
        _check(known, most)
    unpacked = bytearray()
    decompressor = zstandard.ZstdDecompressor(max_window_size=max(most, _PIECE))
    with decompressor.stream_reader(packed, read_across_frames=True) as reader:
        while piece := reader.read(_PIECE):
            unpacked += piece
            _check(len(unpacked), most)
    return unpacked


def _check(size: int, most: int) -> None:
    if size > most:
        raise CannotUnpack(f"unpacks to more than {most} bytes (log.unpacked_bytes)")


_UNPACK: dict[int, Callable[[bytes, int], bytearray]] = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
