"""The embedded log: topics in one SQLite file, shared by the processes of one machine.

Each topic is one partition and one table whose key is the offset. Offsets are dense, start at 0, and are never
reused, even after retention. An append returns when the records are on disk.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import structlog

from thalweg.proto.records import Headers, Partition, Position, Records
from thalweg.stream.log.log import Appended, Gap, LogError, Message, Reader, Retention, Start

log = structlog.get_logger(__name__)

_BUSY_SECONDS = 30.0
_LOOK_SECONDS = 0.002  # between two checks for new records; one costs a few microseconds
_SWEEP_RECORDS = 1000  # most records deleted in one transaction, so that others do not wait long

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class SqliteLog:
    """The log in a file. Any number of processes may open it; appends of several take turns.

    Args:
        path: The file; it and its folder are created if needed.
        retention: Limits of each topic.
        clock: Unix seconds.

    Raises:
        LogError: The file cannot be opened or is not a SQLite database.
    """

    def __init__(
        self, path: str | Path, retention: Retention | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = Path(path)
        self._retention = retention or Retention()
        self._clock = clock
        self._lock = threading.Lock()
        self._unswept = 0
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogError(f"log {self._path}: cannot create its folder: {error}") from error
        self._connection = self._connect()
        try:
            with self._lock, self._errors(), _transaction(self._connection):
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS topics (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL,"
                    " next INTEGER NOT NULL, bytes INTEGER NOT NULL)"
                )
                self._identity = _identity(self._connection)
        except LogError:
            self._connection.close()
            raise

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        if not messages:
            return []
        now = self._clock()
        rows = [
            (m.time if m.time is not None else now, m.key, m.value, _pack(m.headers) if m.headers else None)
            for m in messages
        ]
        size = sum(len(m.value or b"") + len(m.key or b"") for m in messages)
        with self._lock, self._errors():
            with _transaction(self._connection):
                number, first = self._topic(topic)
                self._connection.executemany(
                    f"INSERT INTO t{number} VALUES (?, ?, ?, ?, ?)",
                    [(first + place, *row) for place, row in enumerate(rows)],
                )
                self._connection.execute(
                    "UPDATE topics SET next = ?, bytes = bytes + ? WHERE id = ?", (first + len(rows), size, number)
                )
            self._unswept += len(rows)
            if self._unswept >= _SWEEP_RECORDS or size > 1 << 20:
                self._unswept = 0
                try:
                    self._sweep(number, now)
                except sqlite3.Error as error:  # the records are in the log: this must not look like a failed append
                    log.warning("retention failed: retrying later", path=str(self._path), why=str(error))
        partition = Partition(topic, 0)
        return [Appended(partition, first + place) for place in range(len(rows))]

    def reader(self, topics: Sequence[str], after: Position, start: Start = "earliest", group: str = "") -> Reader:
        return _SqliteReader(self._connect(), self._path, topics, after, start)

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        with self._lock, self._errors():
            found = _bounds(self._connection, topic)
        return {} if found is None else {Partition(topic, 0): found[1:]}

    def identity(self, topic: str) -> str | None:
        return self._identity

    def sweep(self) -> None:
        """Apply retention; appending does it from time to time."""
        with self._lock, self._errors():
            for (number,) in self._connection.execute("SELECT id FROM topics").fetchall():
                self._sweep(number, self._clock())

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = None
        try:
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # an acknowledged record survives a power failure
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise LogError(f"log {self._path}: cannot be opened: {error}") from error
        return connection

    def _topic(self, topic: str) -> tuple[int, int]:
        """Number of the topic and the offset of its next record; creates a new topic."""
        row = self._connection.execute("SELECT id, next FROM topics WHERE name = ?", (topic,)).fetchone()
        if row is not None:
            return int(row[0]), int(row[1])
        number = self._connection.execute(
            "INSERT INTO topics (name, next, bytes) VALUES (?, 0, 0) RETURNING id", (topic,)
        ).fetchone()[0]
        self._connection.execute(
            f"CREATE TABLE t{number} (offset INTEGER PRIMARY KEY, time REAL, key BLOB, value BLOB, headers BLOB)"
        )
        return int(number), 0

    def _sweep(self, number: int, now: float) -> None:
        keep = self._retention
        while True:
            with _transaction(self._connection):
                upto, size = self._oldest_to_delete(number, keep, now)
                if upto is None:
                    return
                self._connection.execute(f"DELETE FROM t{number} WHERE offset <= ?", (upto,))
                self._connection.execute("UPDATE topics SET bytes = bytes - ? WHERE id = ?", (size, number))

    def _oldest_to_delete(self, number: int, keep: Retention, now: float) -> tuple[int | None, int]:
        """The last of the oldest records beyond the limits, and their total size; a bounded number at once."""
        following, size = self._connection.execute("SELECT next, bytes FROM topics WHERE id = ?", (number,)).fetchone()
        rows = self._connection.execute(
            f"SELECT offset, time, ifnull(length(value), 0) + ifnull(length(key), 0) FROM t{number}"
            " ORDER BY offset LIMIT ?",
            (_SWEEP_RECORDS,),
        )
        upto, deleted = None, 0
        for offset, moment, length in rows:
            too_many = keep.records is not None and following - offset > keep.records
            too_large = keep.bytes is not None and size - deleted > keep.bytes
            too_old = keep.seconds is not None and moment < now - keep.seconds
            if not (too_many or too_large or too_old):
                break
            upto, deleted = offset, deleted + length
        return upto, deleted

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            advice = "; is the disk full, or the file read-only?" if isinstance(error, sqlite3.OperationalError) else ""
            raise LogError(f"log {self._path}: {error}{advice}") from error


class _SqliteReader:
    def __init__(
        self, connection: sqlite3.Connection, path: Path, topics: Sequence[str], after: Position, start: Start
    ) -> None:
        self._connection = connection
        self._path = path
        self._starts = {}
        for topic in topics:
            found = _bounds(connection, topic)
            self._starts[topic] = 0 if found is None else found[1] if start == "earliest" else found[2]
        self._gaps: list[Gap] = []
        self._reached = True
        self.seek(after)

    def seek(self, after: Position) -> None:
        self._next = {topic: after.get(Partition(topic, 0), first - 1) + 1 for topic, first in self._starts.items()}

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        deadline = time.monotonic() + timeout_seconds
        while True:
            found, seen = [], None
            try:
                seen = self._writes()
                found = [run for topic in self._next if (run := self._take(topic, max_records, max_bytes)) is not None]
                self._reached = True
            except sqlite3.OperationalError as error:  # locked for long, or a disk error: retry, as with a broker
                if self._reached:
                    log.warning("the log cannot be read: retrying", path=str(self._path), problem=str(error))
                self._reached = False
            except sqlite3.DatabaseError as error:
                raise LogError(f"log {self._path}: cannot be read: {error}") from error
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            self._wait_for_writes(seen, deadline)

    def _wait_for_writes(self, seen: int | None, deadline: float) -> None:
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_SECONDS))
            try:
                if seen is None or self._writes() != seen:
                    return
            except sqlite3.OperationalError:
                return  # the next check reports it

    def _writes(self) -> int:
        """A number that changes whenever another connection wrote to the file."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _take(self, topic: str, max_records: int, max_bytes: int) -> Records | None:
        found = _bounds(self._connection, topic)
        if found is None or self._next[topic] >= found[2]:
            return None
        number, earliest, _ = found
        self._skip(topic, earliest)
        found_rows = self._connection.execute(
            f"SELECT offset, time, key, value, headers FROM t{number} WHERE offset >= ? ORDER BY offset LIMIT ?",
            (self._next[topic], max_records),
        )
        rows, size = [], 0
        for row in found_rows:  # read one by one: records beyond the byte limit are never loaded
            rows.append(row)
            size += len(row[3] or b"")
            if size >= max_bytes:
                found_rows.close()
                break
        if not rows:
            return None
        offsets, times, keys, values, packed = zip(*rows)
        headers: Sequence[Headers] = (
            [_unpack(one) if one else () for one in packed] if any(packed) else [()] * len(rows)
        )
        records = Records(Partition(topic, 0), offsets, times, keys, values, headers)
        self._skip(topic, offsets[0])  # retention ran between the two queries
        self._next[topic] = offsets[-1] + 1
        return records

    def _skip(self, topic: str, earliest: int) -> None:
        """Continue there if retention deleted the records before it."""
        if self._next[topic] < earliest:
            self._gaps.append(Gap(Partition(topic, 0), self._next[topic], earliest - 1))
            self._next[topic] = earliest

    def position(self) -> Position:
        return {Partition(topic, 0): offset - 1 for topic, offset in self._next.items() if offset > 0}

    def lag(self) -> Mapping[Partition, int]:
        lags = {}
        for topic, offset in self._next.items():
            found = _bounds(self._connection, topic)
            if found is not None:
                lags[Partition(topic, 0)] = max(0, found[2] - max(offset, found[1]))
        return lags

    def reached(self) -> bool:
        return self._reached

    def gaps(self) -> list[Gap]:
        found, self._gaps = self._gaps, []
        return found

    def commit(self, position: Position, note: str = "") -> None:
        """There is no external monitoring of this log."""

    def close(self) -> None:
        self._connection.close()


def _identity(connection: sqlite3.Connection) -> str:
    """The identity of the file, drawn when it is created, or first opened by a version that knows of identities."""
    connection.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (uuid.uuid4().hex,))
    return str(connection.execute("SELECT value FROM meta WHERE name = 'identity'").fetchone()[0])


def _bounds(connection: sqlite3.Connection, topic: str) -> tuple[int, int, int] | None:
    """Number of the topic, the earliest offset kept, and the next one; None where there is no such topic."""
    row = connection.execute("SELECT id, next FROM topics WHERE name = ?", (topic,)).fetchone()
    if row is None:
        return None
    number, following = row
    earliest = connection.execute(f"SELECT min(offset) FROM t{number}").fetchone()[0]
    return number, following if earliest is None else earliest, following


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
