"""Reading the embedded log: in offset order, damaged records skipped and reported."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from thalweg.proto.records import Headers, Partition, Position, Records
from thalweg.stream.log.log import Gap, LogAway, Problem, Start
from thalweg.stream.log.sqlite_file import DAMAGE, Row, bounds_of, is_whole
from thalweg.stream.log.sqlite_writes import Writes

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 0.01  # between two tries to read a file that cannot be read
_unpack = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class SqliteReader:
    """A reader of an embedded log.

    Args:
        connection: Its own, closed with it.
        path: The file.
        must_be_there: Raises LogReplaced if another file is at the path, LogAway while its folder is away.
        topics: As in `Log.reader`.
        after: As in `Log.reader`.
        start: As in `Log.reader`.
        writes: Notices what is appended.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        must_be_there: Callable[[], None],
        topics: Sequence[str],
        after: Position,
        start: Start,
        writes: Writes,
    ) -> None:
        self._connection, self._writes = connection, writes
        self._path = path
        self._must_be_there = must_be_there
        self._starts = {}
        for topic in topics:
            found = bounds_of(connection, topic)
            self._starts[topic] = 0 if found is None else found[1] if start == "earliest" else found[2]
        self._gaps: list[Gap] = []
        self._held = False  # until the caller knows that the log was rewound
        self._reached, self._problem = True, ""
        self._read_all: int | None = None  # what the file was when all of it was read
        self._lags: Mapping[Partition, int] | None = None  # while it is that
        self.seek(after)

    def seek(self, after: Position) -> None:
        self._read_all = self._lags = None
        self._next = {topic: after.get(Partition(topic, 0), first - 1) + 1 for topic, first in self._starts.items()}

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        deadline = time.monotonic() + timeout_seconds
        try:
            self._must_be_there()
        except LogAway as error:  # which is told of the folder
            self._reached, self._problem = False, str(error)
            time.sleep(timeout_seconds)
            return []
        while True:
            found: list[Records] = []
            try:
                seen = self._version()
                if seen != self._read_all:
                    self._lags = None
                    found = [] if self._held else self._take_all(max_records, max_bytes)
                    self._read_all = None if found or self._held else seen
                self._reached = True
            except DAMAGE as error:  # locked for long, a disk error, or damage
                if self._reached:
                    log.error("the log cannot be read: retrying", path=str(self._path), problem=str(error))
                self._reached, self._problem = False, str(error)
            left = deadline - time.monotonic()
            if found or self._held or left <= 0:
                return found
            if self._reached:
                self._writes.wait(dict(self._next), left)
            else:
                time.sleep(min(left, _AGAIN_SECONDS))

    def _take_all(self, max_records: int, max_bytes: int) -> list[Records]:
        before = dict(self._next)
        found = [run for topic in before if (run := self._take(topic, max_records, max_bytes)) is not None]
        if self._held:
            self._next |= {run.partition.topic: before[run.partition.topic] for run in found}  # once the caller knows
            return []
        return found

    def _version(self) -> int:
        """A number that changes whenever another connection wrote to the file."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _take(self, topic: str, max_records: int, max_bytes: int) -> Records | None:
        found = bounds_of(self._connection, topic)
        if found is None:
            return None
        number, earliest, following = found
        if self._next[topic] > following:  # an older copy of the file: one that was created again has another identity
            self._gaps.append(Gap(Partition(topic, 0), following, self._next[topic] - 1, "rewound"))
            self._next[topic], self._held = following, True
            return None
        rows: list[Row] = []
        while not rows:
            self._skip(topic, earliest)
            first = self._next[topic]
            if first >= following:
                return None
            try:
                rows = self._rows(number, first, max_records, max_bytes)
            except sqlite3.OperationalError:
                raise
            except DAMAGE as error:  # a page is damaged; those after it may be whole
                self._damaged(topic, first, self._next_readable(number, first, following), str(error))
            else:
                if not rows:
                    self._damaged(topic, first, first + 1, "it is missing, or its checksum does not match")
        rows = rows[: _contiguous(rows)]  # no run spans a gap
        offsets, times, keys, values, packed = zip(*rows)
        headers: Sequence[Headers] = (
            [_unpack(one) if one else () for one in packed] if any(packed) else [()] * len(rows)
        )
        records = Records(Partition(topic, 0), offsets, times, keys, values, headers)
        if self._next[topic] < offsets[0] and offsets[0] > self._earliest(topic):  # else retention ran meanwhile
            self._damaged(topic, self._next[topic], offsets[0], "they are missing, or their checksums do not match")
        self._skip(topic, offsets[0])
        self._next[topic] = offsets[-1] + 1
        return records

    def _earliest(self, topic: str) -> int:
        found = bounds_of(self._connection, topic)
        return 0 if found is None else found[1]

    def _rows(self, number: int, first: int, max_records: int, max_bytes: int) -> list[Row]:
        """The whole ones among the next records from `first` on, in order; those before a damaged page.

        Raises an error of `DAMAGE` if the first of them cannot be read.
        """
        found = self._connection.execute(
            f"SELECT offset, time, key, value, headers, crc FROM t{number} WHERE offset >= ? ORDER BY offset LIMIT ?",
            (first, max_records),
        )
        rows: list[Row] = []
        size, following = 0, first
        try:
            for *row, crc in found:  # read one by one: records beyond the byte limit are never loaded
                if row[0] < following or not is_whole(self._connection, number, tuple(row), crc):
                    continue
                rows.append(tuple(row))
                following = row[0] + 1
                size += len(row[3] or b"")
                if size >= max_bytes:
                    found.close()
                    break
        except DAMAGE:
            if not rows:
                raise
        return rows

    def _next_readable(self, number: int, first: int, following: int) -> int:
        """An offset after the damaged page, at most `following`."""
        step = 1
        while first + step < following:
            if self._readable(number, first + step):
                return first + step
            step += max(1, step // 4)
        step, found = 1, following  # the last ones may be whole, and lie between two steps
        while following - step > first and self._readable(number, following - step):
            step, found = step * 2, following - step
        return found

    def _readable(self, number: int, offset: int) -> bool:
        """Whether the page of the record at this offset, or of the next one, can be read."""
        try:
            found = self._connection.execute(
                f"SELECT count(time) FROM (SELECT time FROM t{number} WHERE offset >= ? LIMIT 1)", (offset,)
            ).fetchone()
        except DAMAGE:
            return False
        return bool(found[0])

    def _damaged(self, topic: str, first: int, after: int, problem: str) -> None:
        log.error(
            "records of the log are damaged: skipped",
            path=str(self._path),
            topic=topic,
            first=first,
            last=after - 1,
            problem=problem,
        )
        self._gaps.append(Gap(Partition(topic, 0), first, after - 1, "unreadable", problem))
        self._next[topic] = max(self._next[topic], after)

    def _skip(self, topic: str, earliest: int) -> None:
        """Continue there if retention deleted the records before it."""
        if self._next[topic] < earliest:
            self._gaps.append(Gap(Partition(topic, 0), self._next[topic], earliest - 1))
            self._next[topic] = earliest

    def position(self) -> Position:
        return {Partition(topic, 0): offset - 1 for topic, offset in self._next.items() if offset > 0}

    def lag(self) -> Mapping[Partition, int]:
        if self._read_all is None:
            return self._lag()
        try:
            same = self._version() == self._read_all
        except DAMAGE:
            return self._lag()
        if not same:
            return self._lag()
        if self._lags is None:  # a quiet model asks twice a turn: nothing changed since it last looked
            self._lags = self._lag()
        return self._lags

    def _lag(self) -> Mapping[Partition, int]:
        lags = {}
        for topic, offset in self._next.items():
            try:
                found = bounds_of(self._connection, topic)
            except DAMAGE:
                self._reached = False  # polling tells why
                continue
            if found is not None:
                lags[Partition(topic, 0)] = max(0, found[2] - max(offset, found[1]))
        return lags

    def reached(self) -> bool:
        return self._reached

    def problem(self) -> Problem | None:
        return None if self._reached else Problem(f"log {self._path}: {self._problem}")

    def gaps(self) -> list[Gap]:
        found, self._gaps = self._gaps, []
        self._held = False
        return found

    def commit(self, position: Position, note: str = "") -> None:
        """There is no external monitoring of this log."""

    def close(self) -> None:
        self._connection.close()


def _contiguous(rows: Sequence[Row]) -> int:
    """How many rows follow one another without a hole."""
    first = rows[0][0]
    return next((count for count, row in enumerate(rows) if row[0] != first + count), len(rows))
