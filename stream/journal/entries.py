"""The entries of a journal and their lines: JSON, preceded by its CRC-32.

Entry n leads to version n of the state. A block is a number of whole records of the log, in the order in which they
were learned; control operations that change the state (a rollback, a reset) are entries too.

A block with events that cannot be learned is written twice: first as it was read, then once more, under the same
version, with the events that are left out of it. The last line of a version counts, wherever it stands: a crash
between the two leaves a block that raises again and is written again.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from thalweg.memory.snapshots.state import State
from thalweg.proto.records import Partition


@dataclass(frozen=True, slots=True)
class Range:
    """`count` records of one partition with offsets from `first` to `last`, both included."""

    partition: Partition
    first: int
    last: int
    count: int
    checksum: int | None = field(default=None, compare=False)
    """CRC-32C of the records' values and keys (`Block.ranges`); None: of an older journal."""


@dataclass(frozen=True, slots=True)
class Skip:
    """An event, or a whole record, that is left out of its block because it cannot be learned."""

    partition: Partition
    offset: int
    row: int | None
    """The event's index in its record; None: the whole record, which is not decoded."""
    cause: str
    """The first line of the exception."""


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """Records that were learned, in order, in micro-batches of at most `batch_events`."""

    version: int
    ranges: tuple[Range, ...]
    batch_events: int
    skipped: tuple[Skip, ...] = ()
    """What is left out of the block. Such an entry replaces the one of the same version without it."""


@dataclass(frozen=True, slots=True)
class RollbackEntry:
    """The state was rolled back to that of version `to`."""

    version: int
    to: int
    cause: str


@dataclass(frozen=True, slots=True)
class ResetEntry:
    """The learner was replaced by a new one that has learned nothing."""

    version: int
    cause: str


@dataclass(frozen=True, slots=True)
class ForgettingEntry:
    """Forgetting was raised by a factor, for a number of events."""

    version: int
    factor: float
    events: int
    cause: str


@dataclass(frozen=True, slots=True)
class AveragingEntry:
    """Parameters of other shards were mixed into those of this one."""

    version: int
    sha256: str
    """Of `mixed`."""
    weight: float
    """Of this shard's own parameters; that of the others is in `mixed`."""
    shards: tuple[tuple[int, int], ...]
    """Numbers of the other shards, and their versions."""
    mixed: State | None = field(default=None, compare=False, repr=False)
    """What was mixed in, as the learner's `average` returned it: journals keep it beside the line."""
    cause: str = "averaging"


Control: TypeAlias = RollbackEntry | ResetEntry | ForgettingEntry | AveragingEntry
"""An entry that changes the state without learning."""
Entry: TypeAlias = BlockEntry | Control


def is_amendment(entry: Entry) -> bool:
    """Whether an entry replaces the one of its version: the same block, with events left out."""
    return isinstance(entry, BlockEntry) and bool(entry.skipped)


def to_line(entry: Entry) -> bytes:
    """The line of an entry, newline included."""
    record: dict[str, Any]
    if isinstance(entry, BlockEntry):
        ranges = [[r.partition.topic, r.partition.number, r.first, r.last, r.count] for r in entry.ranges]
        record = {"version": entry.version, "batch_events": entry.batch_events, "block": ranges}
        if (sums := [r.checksum for r in entry.ranges]) and None not in sums:
            record["checksums"] = sums  # apart from the ranges: older versions read those
        if entry.skipped:
            record["skipped"] = [[*one.partition, one.offset, one.row, one.cause] for one in entry.skipped]
    elif isinstance(entry, RollbackEntry):
        record = {"version": entry.version, "rollback": entry.to, "cause": entry.cause}
    elif isinstance(entry, ResetEntry):
        record = {"version": entry.version, "reset": True, "cause": entry.cause}
    elif isinstance(entry, AveragingEntry):
        shards = [list(one) for one in entry.shards]
        record = {"version": entry.version, "averaged": entry.sha256, "weight": entry.weight, "shards": shards}
    else:
        record = {"version": entry.version, "forgetting": [entry.factor, entry.events], "cause": entry.cause}
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def from_line(line: bytes) -> Entry:
    """The entry of a line. Raises ValueError or KeyError if it is not whole."""
    if not line.endswith(b"\n") or zlib.crc32(line[9:-1]) != int(line[:8], 16):
        raise ValueError("checksum does not match")
    record = json.loads(line[9:])
    if "block" in record:
        sums = record.get("checksums") or [None] * len(record["block"])
        ranges = tuple(
            Range(Partition(topic, number), first, last, count, checksum)
            for (topic, number, first, last, count), checksum in zip(record["block"], sums, strict=True)
        )
        skipped = tuple(Skip(Partition(topic, number), *rest) for topic, number, *rest in record.get("skipped", ()))
        return BlockEntry(record["version"], ranges, record["batch_events"], skipped)
    if "reset" in record:
        return ResetEntry(record["version"], record["cause"])
    if "forgetting" in record:
        factor, events = record["forgetting"]
        return ForgettingEntry(record["version"], factor, events, record["cause"])
    if "averaged" in record:
        shards = tuple((int(number), int(version)) for number, version in record["shards"])
        return AveragingEntry(record["version"], record["averaged"], record["weight"], shards)
    return RollbackEntry(record["version"], record["rollback"], record["cause"])
