"""Records of the log, and their positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Headers: TypeAlias = Sequence[tuple[str, bytes]]


class Partition(NamedTuple):
    """One ordered sequence of records in the log."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"


Position: TypeAlias = Mapping[Partition, int]
"""The offset of the last consumed record per partition. A missing partition: none consumed yet."""


@dataclass(frozen=True, slots=True)
class Records:
    """A run of records of one partition, in columns of equal length, offsets ascending (gaps are allowed)."""

    partition: Partition
    offsets: Sequence[int]
    times: Sequence[float]
    """Unix seconds at which the log appended the record (or its producer created it)."""
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers]

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, part: slice) -> Records:
        return Records(
            self.partition,
            self.offsets[part],
            self.times[part],
            self.keys[part],
            self.values[part],
            self.headers[part],
        )

    @property
    def size_bytes(self) -> int:
        """Total bytes of keys and values."""
        return sum(map(len, filter(None, self.values))) + sum(map(len, filter(None, self.keys)))
