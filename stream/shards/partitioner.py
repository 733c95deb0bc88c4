"""The partition of a key, as Kafka's own producer chooses it: murmur2 of the key's bytes, without its sign.

Java's client, kafka-python, Kafka Streams and ksqlDB choose so by default, librdkafka with `partitioner =
murmur2_random`. A record without a key may go to any partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_SEED = 0x9747B28C
_FACTOR, _SHIFT = 0x5BD1E995, 24
_BITS = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF
_FEW = 16  # keys that are hashed one by one
_CACHED_BYTES = 64  # longer keys are hashed each time


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key among so many."""
    return (_cached(key) if len(key) <= _CACHED_BYTES else murmur2(key)) % partitions


def partitions_of(keys: Sequence[bytes], partitions: int) -> NDArray[np.int64]:
    """The partition of each key among so many, (N,)."""
    if len(keys) <= _FEW:
        return np.array([partition_of(key, partitions) for key in keys], dtype=np.int64)
    found = np.empty(len(keys), dtype=np.int64)
    lengths = np.fromiter(map(len, keys), dtype=np.int64, count=len(keys))
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        if len(rows) <= _FEW:
            found[rows] = [partition_of(keys[row], partitions) for row in rows.tolist()]
        else:
            found[rows] = _murmur2_of_equal_length([keys[row] for row in rows.tolist()], length) % partitions
    return found


def murmur2(key: bytes) -> int:
    """murmur2 of these bytes, 31 bits: Kafka takes the sign away before it divides."""
    length = len(key)
    h = (_SEED ^ length) & _BITS
    whole = length - length % 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * _FACTOR & _BITS
        k = (k ^ k >> _SHIFT) * _FACTOR & _BITS
        h = h * _FACTOR & _BITS ^ k
    if whole < length:
        h = (h ^ int.from_bytes(key[whole:], "little")) * _FACTOR & _BITS
    h = (h ^ h >> 13) * _FACTOR & _BITS
    return (h ^ h >> 15) & _POSITIVE


_cached = lru_cache(1 << 16)(murmur2)


def _murmur2_of_equal_length(keys: Sequence[bytes], length: int) -> NDArray[np.int64]:
    """As `murmur2`, of N keys of one length at once, (N,)."""
    factor = np.uint32(_FACTOR)
    columns = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), length)
    whole = length - length % 4
    words = np.ascontiguousarray(columns[:, :whole]).view("<u4")  # (N, length // 4)
    h = np.full(len(keys), (_SEED ^ length) & _BITS, dtype=np.uint32)
    for at in range(whole // 4):
        k = words[:, at] * factor
        k = (k ^ k >> np.uint32(_SHIFT)) * factor
        h = h * factor ^ k
    if whole < length:
        for place in range(length - whole):
            h ^= columns[:, whole + place].astype(np.uint32) << np.uint32(8 * place)
        h *= factor
    h = (h ^ h >> np.uint32(13)) * factor
    h ^= h >> np.uint32(15)
    return (h & np.uint32(_POSITIVE)).astype(np.int64)
