"""Blocks: runs of whole records that are read from the log, journalled and learned together.

`gather` cuts a block from the records that are available now. `Replay` reads the records of journalled blocks again.
A fold learns from a decoded block and the version that the block leads to.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from crc32c import crc32c

from thalweg.proto.bounds.counted import counted
from thalweg.proto.bounds.times import record_times
from thalweg.proto.event import Decoded
from thalweg.proto.records import Partition, Position, Records
from thalweg.stream.journal.entries import BlockEntry, Range
from thalweg.stream.log.log import Gap, Reader

_PAUSE_SECONDS = 0.005  # records that arrive closer together than this belong to one stream


class HistoryLost(Exception):
    """The log no longer has the records of a journalled block; the message names them.

    Args:
        what: The message.
        other: The partition that ends before them, or has others in their place: the log may be an older copy.
    """

    def __init__(self, what: str, other: Partition | None = None) -> None:
        self.other = other
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Block:
    """Runs of whole records, in the order in which they are learned."""

    records: tuple[Records, ...]

    def __len__(self) -> int:
        return sum(len(run) for run in self.records)

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The ranges of records that the journal needs to find the block again."""
        return tuple(Range(r.partition, r.offsets[0], r.offsets[-1], len(r), _checksum(r)) for r in self.records)

    @property
    def end(self) -> Position:
        """The last offset of each partition in the block."""
        return {r.partition: r.offsets[-1] for r in self.records}

    @property
    def appended_time(self) -> float:
        """Unix seconds at which the log appended the newest record; infinite if no record has a time."""
        newest = max((max(record_times(r.times), default=0.0) for r in self.records), default=0.0)
        return newest or math.inf


@dataclass(frozen=True, slots=True)
class DecodedBlock:
    """A decoded block, ready for a fold to learn; its events come from a log or a file."""

    version: int
    """The version of the state after this block."""
    batch_events: int
    """Maximum events per micro-batch; micro-batches are cut across the whole block."""
    parts: Iterable[Decoded]
    """The events in order. Can be iterated once; a file is decoded while it is learned."""
    end: Position
    """The last offset of each partition in the block; empty for a file."""
    appended_time: float = math.inf
    """Unix seconds at which the log appended the newest record; infinite if unknown, as for a file."""
    delay_events: int = 0
    """How many events late labels become known, besides those of their micro-batch; only of a file."""
    runs: tuple[Records, ...] = ()
    """The records of each part, to which the rows of its rejected ones refer; empty for a file."""


_RECORDS = 500  # read at once, at least
_ENDED_SECONDS = 20.0  # a broker that leads a partition from now on may know its end only a while later


def gather(
    reader: Reader,
    *,
    batch_records: int,
    batch_seconds: float,
    idle_seconds: float,
    max_bytes: int,
    clock: Callable[[], float] = time.monotonic,
) -> Block | None:
    """Read up to `batch_records` available records, and those that follow shortly after.

    A record that arrives after a quiet period is returned at once, with everything else that is available by then.
    If records arrived while the caller was busy, they are treated as a stream: reading continues while records keep
    arriving or the log reports more (a broker may return only a part), so a busy stream is learned in a few large
    blocks.

    Args:
        reader: Source of the records.
        batch_records: Stop after this many records.
        batch_seconds: Maximum time to gather while records keep arriving.
        idle_seconds: How long to wait for a first record.
        max_bytes: Approximate maximum size of a block.
        clock: Monotonic seconds.

    Returns:
        The block; None if no record arrived within `idle_seconds`.
    """
    wanted = batch_records * -(-_RECORDS // batch_records)  # whole micro-batches, also of a backlog
    runs = reader.poll(0.0, wanted, max_bytes)
    flowing = bool(runs)
    if not runs and idle_seconds > 0:
        runs = reader.poll(idle_seconds, wanted, max_bytes)
    if not runs:
        return None
    deadline = clock() + batch_seconds
    count, size = sum(map(len, runs)), sum(run.size_bytes for run in runs)
    while count < batch_records and size < max_bytes and (left := deadline - clock()) > 0:
        more = reader.poll(min(left, _PAUSE_SECONDS) if flowing else 0.0, wanted - count, max_bytes - size)
        if not more and not any(reader.lag().values()):
            break
        flowing = True
        runs += more
        count += sum(map(len, more))
        size += sum(run.size_bytes for run in more)
    return Block(tuple(run for run in runs if len(run)))


class Replay:
    """Reads journalled blocks from a reader that is positioned at the start of the first of them."""

    def __init__(self, reader: Reader, poll_seconds: float = 0.2, ticks: Callable[[], float] = time.monotonic) -> None:
        self._reader, self._ticks = reader, ticks
        self._poll_seconds = poll_seconds
        self._waiting: dict[Partition, deque[Records]] = defaultdict(deque)
        self._gaps: list[Gap] = []
        self._silent_since: float | None = None  # the log has said that there is no more

    def block(self, entry: BlockEntry, give_up: Callable[[], bool] = lambda: False) -> Block | None:
        """The records of this entry, identical to those that were journalled; None if `give_up` returns true.

        Raises:
            HistoryLost: The log no longer has the records, or has different ones at their offsets.
        """
        runs = []
        for part in entry.ranges:
            run = self._take(part, give_up)
            if run is None:
                return None
            runs.append(run)
        return Block(tuple(runs))

    def _take(self, part: Range, give_up: Callable[[], bool]) -> Records | None:
        waiting = self._waiting[part.partition]
        taken: list[Records] = []
        while not taken or taken[-1].offsets[-1] < part.last:
            while not waiting:
                if give_up():
                    return None
                runs = self._reader.poll(self._poll_seconds)
                for run in runs:
                    self._waiting[run.partition].append(run)
                self._gaps += self._reader.gaps()
                self._check(part)
                if runs:
                    self._silent_since = None
                elif self._ended_before(part):
                    raise HistoryLost(f"{part.partition}: the log ends before offset {part.last}", part.partition)
                elif not taken:
                    self._pass_what_was_skipped(part)
            run = waiting.popleft()
            inside = sum(1 for offset in run.offsets if offset <= part.last)
            if inside < len(run):
                waiting.appendleft(run[inside:])
            if inside == 0:
                break
            taken.append(run[:inside])
        whole = _merge(taken)
        if whole is None or (whole.offsets[0], whole.offsets[-1], len(whole)) != (part.first, part.last, part.count):
            got = "none" if whole is None else f"{len(whole)} from {whole.offsets[0]} to {whole.offsets[-1]}"
            raise HistoryLost(
                f"{part.partition}: the journal has {counted(part.count, 'record')} "
                f"from offset {part.first} to {part.last}, "
                f"the log has {got}",
                part.partition,
            )
        if part.checksum not in (None, _checksum(whole)):
            many = part.count > 1
            where = f"offsets {part.first} to {part.last}" if many else f"offset {part.first}"
            one = f"one of {counted(part.count, 'record')}" if many else "the record"
            raise HistoryLost(
                f"{part.partition}: the log has other contents at {where} than those that were learned: "
                f"{one} was changed or replaced",
                part.partition,
            )
        return whole

    def _check(self, part: Range) -> None:
        """Raise HistoryLost if a record of this range is gone; what lies between the ranges was never learned."""
        for gap in self._gaps:
            within = gap.partition == part.partition and gap.first <= part.last and gap.last >= part.first
            if within or gap.cause in ("replaced", "rewound"):
                what = {"retention": "were deleted by retention", "unreadable": "cannot be read"}
                told = what.get(gap.cause, "are gone with a topic, or a part of the log, that was deleted")
                other = gap.partition if gap.cause == "rewound" else None
                raise HistoryLost(f"{gap.partition}: offsets {gap.first} to {gap.last} {told}", other)

    def _ended_before(self, part: Range) -> bool:
        """Whether the log has said for a while that there is nothing more, though this range was read of it once."""
        lag, position = self._reader.lag(), self._reader.position()
        there = self._reader.reached() and self._reader.problem() is None
        if not there or lag.get(part.partition) != 0 or position.get(part.partition, -1) >= part.last:
            self._silent_since = None
            return False
        if self._silent_since is None:
            self._silent_since = self._ticks()
        return self._ticks() - self._silent_since >= _ENDED_SECONDS

    def _pass_what_was_skipped(self, part: Range) -> None:
        """Go on at the range if nothing before it can be read: what was skipped once is not waited for again."""
        position = self._reader.position()
        if position.get(part.partition, -1) < part.first - 1:
            self._reader.seek({**position, part.partition: part.first - 1})


def _checksum(run: Records) -> int:
    """Of what the records say. Their times and headers are left out: clients of one log may write those differently."""
    return int(crc32c(b"".join(filter(None, run.keys)), crc32c(b"".join(filter(None, run.values)))))


def _merge(runs: Sequence[Records]) -> Records | None:
    if len(runs) < 2:
        return runs[0] if runs else None
    return Records(
        runs[0].partition,
        [offset for run in runs for offset in run.offsets],
        [moment for run in runs for moment in run.times],
        [key for run in runs for key in run.keys],
        [value for run in runs for value in run.values],
        [headers for run in runs for headers in run.headers],
    )
