"""The losses of one block, and which part of the log they are of; how both are written to a file."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.records import Partition

_HEAD = struct.Struct("<4sII")  # mark, length and CRC-32 of what follows
_MARK = b"TWL1"
BY_ID = "@"
"""Begins the name of a place whose events are paired by id."""


@dataclass(frozen=True, slots=True)
class BlockLosses:
    """The losses of the labelled events of one block. `N` of them.

    A place in the log is named by a text: the topic, the identity of the log that it belongs to, and the partition. A
    topic that was deleted and created again has other places. Places in a model's own topic of events with late labels
    begin with @: no other model has them.
    """

    version: int
    """The version of the state after the block."""
    spans: Mapping[str, tuple[int, int]]
    """By place, the offset before the first record of the block, and that of the last one: all in between was consumed,
    whether it had a label or not."""
    places: tuple[str, ...]
    which: NDArray[np.int32]
    """Indices into `places`, (N,)."""
    offsets: NDArray[np.int64]
    """(N,)."""
    losses: NDArray[np.float64]
    """(N,); NaN: the worst."""
    keys: NDArray[np.int64]
    """Hashes of the ids of events with late labels, (N,); -1 for others."""
    first: int = 0
    """The number of the first event with a key, over all blocks of the model; given when it is written."""

    def __len__(self) -> int:
        return len(self.losses)


def place_name(partition: Partition, identity: str) -> str:
    """The text that names a partition of a log with this identity."""
    return f"{partition}#{identity}" if identity else str(partition)


def to_bytes(block: BlockLosses) -> bytes:
    """A block as it stands in a file."""
    known = {
        "version": block.version,
        "spans": {name: list(span) for name, span in block.spans.items()},
        "places": list(block.places),
        "events": len(block),
        "first": block.first,
    }
    head = json.dumps(known, separators=(",", ":")).encode() + b"\n"
    body = head + block.which.astype("<i4").tobytes() + block.offsets.astype("<i8").tobytes()
    body += block.losses.astype("<f8").tobytes() + block.keys.astype("<i8").tobytes()
    return _HEAD.pack(_MARK, len(body), zlib.crc32(body)) + body


def from_bytes(content: bytes) -> Iterator[tuple[BlockLosses, int]]:
    """The whole blocks at the beginning of this content, each with the number of bytes up to its end.

    Ends at the first that is not whole, or damaged.
    """
    at = 0
    while at + _HEAD.size <= len(content):
        mark, length, checksum = _HEAD.unpack_from(content, at)
        body = content[at + _HEAD.size : at + _HEAD.size + length]
        if mark != _MARK or len(body) < length or zlib.crc32(body) != checksum:
            return
        at += _HEAD.size + length
        yield _block(body), at


def _block(body: bytes) -> BlockLosses:
    head, _, rest = body.partition(b"\n")
    known = json.loads(head)
    count = known["events"]
    spans = {name: (before, last) for name, (before, last) in known["spans"].items()}
    which = np.frombuffer(rest, "<i4", count)
    offsets = np.frombuffer(rest, "<i8", count, 4 * count)
    losses = np.frombuffer(rest, "<f8", count, 12 * count)
    keys = np.frombuffer(rest, "<i8", count, 20 * count)
    return BlockLosses(known["version"], spans, tuple(known["places"]), which, offsets, losses, keys, known["first"])
