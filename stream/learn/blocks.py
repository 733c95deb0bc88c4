"""Blocks: the whole records that are taken from the log, journalled and learned as one.

`gather` cuts a block from what the log has now; `Replay` finds the records of journalled blocks again. A decoded block
with the number of its entry is all that a fold learns it by.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from thalweg.proto.event import Decoded
from thalweg.proto.records import Partition, Position, Records
from thalweg.stream.learn.journal import BlockEntry, Range
from thalweg.stream.log.log import Reader

_PAUSE_SECONDS = 0.005  # records that follow each other more closely than this are one stream


class HistoryLost(Exception):
    """Records that a journalled block was made of are not in the log any more; the message names them."""


@dataclass(frozen=True, slots=True)
class Block:
    """Runs of whole records in the order they are learned."""

    records: tuple[Records, ...]

    def __len__(self) -> int:
        return sum(len(run) for run in self.records)

    @property
    def ranges(self) -> tuple[Range, ...]:
        """What the journal needs to find the block again."""
        return tuple(Range(r.partition, r.offsets[0], r.offsets[-1], len(r)) for r in self.records)

    @property
    def end(self) -> Position:
        """The last offset of each partition in the block."""
        return {r.partition: r.offsets[-1] for r in self.records}


@dataclass(frozen=True, slots=True)
class DecodedBlock:
    """A block as a fold learns it, whether its events come from a log or from a file."""

    version: int
    """Of the state that it leads to."""
    batch_events: int
    """Learned in micro-batches of at most so many events, cut over the whole block."""
    parts: Iterable[Decoded]
    """Its events in order, read once; a file's are decoded while it is learned."""
    end: Position
    """The last offset of each partition in it; empty for a file."""


def gather(
    reader: Reader,
    *,
    batch_records: int,
    batch_seconds: float,
    idle_seconds: float,
    max_bytes: int,
    clock: Callable[[], float] = time.monotonic,
) -> Block | None:
    """Take what the log has, and what follows close behind, up to `batch_records`.

    A record that comes after a quiet moment is taken at once, with all that is there by then. Records that came while
    the caller was at something else are a stream: more of it is taken as long as it goes on, or as long as the log is
    known to have more (a broker may hand out a part), so that a busy stream is learned in few large blocks.

    Args:
        reader: Where the records come from.
        batch_records: Enough records to go on at once.
        batch_seconds: How long gathering may go on while records keep coming.
        idle_seconds: How long to wait for a first record.
        max_bytes: About how large a block may get.
        clock: Monotonic seconds.

    Returns:
        None when nothing came within `idle_seconds`.
    """
    wanted = max(500, batch_records)
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
    """Reads journalled blocks from a reader that stands where the first of them begins."""

    def __init__(self, reader: Reader, poll_seconds: float = 0.2) -> None:
        self._reader = reader
        self._poll_seconds = poll_seconds
        self._waiting: dict[Partition, deque[Records]] = defaultdict(deque)

    def block(self, entry: BlockEntry, give_up: Callable[[], bool] = lambda: False) -> Block | None:
        """The records of this entry, the same as when it was written; None when `give_up` says so.

        Raises:
            HistoryLost: The log does not have them any more, or has others in their place.
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
                for run in self._reader.poll(self._poll_seconds):
                    self._waiting[run.partition].append(run)
                for gap in self._reader.gaps():
                    raise HistoryLost(f"{gap.partition}: offsets {gap.first} to {gap.last} were deleted by retention")
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
                f"{part.partition}: the journal has {part.count} records from offset {part.first} to {part.last}, "
                f"the log has {got}"
            )
        return whole


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
