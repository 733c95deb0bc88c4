"""The embedded log: topics in one SQLite file, shared by the processes of one machine.

Each topic is one partition and one table whose key is the offset. Offsets are dense, start at 0, and are never
reused, even after retention. An append returns when the records are on disk, and on the file that is at the path then.
Each record has a checksum; a damaged one is not returned, and reported as a gap.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import structlog

from thalweg.memory.files import file_id, make_folder, sync_folder
from thalweg.memory.kept_folders import FolderMoved, must_be_kept
from thalweg.memory.sqlite_damage import is_damage, open_to_look, what_to_do
from thalweg.proto.records import Partition, Position
from thalweg.stream.log.groups import GroupListener, GroupMember, SoleMember
from thalweg.stream.log.log import (
    Appended,
    Epochs,
    LogAway,
    LogDeleted,
    LogError,
    LogReplaced,
    Message,
    PermanentLogError,
    Reader,
    RecordTooLarge,
    Retention,
    Start,
)
from thalweg.stream.log.sqlite_file import (
    DAMAGE,
    add_checksums,
    begin_epoch,
    bounds_of,
    checksum,
    epochs_of,
    identity_of,
    pack,
    transaction,
)
from thalweg.stream.log.sqlite_reader import SqliteReader
from thalweg.stream.log.sqlite_writes import Writes

log = structlog.get_logger(__name__)

_BUSY_SECONDS = 30.0
_MOST_RECORD_BYTES = 900_000_000  # SQLite stores no row of a billion bytes
_PAGE_BYTES = 1024
"""Of a new file: a commit writes whole pages, first to the write-ahead log and later to the file, so that large ones
are written many times for few small records. SQLite's own 4096 write a record of 1.3 kB, appended alone, ten times.
"""
_CHECKPOINT_PAGES = (4 << 20) // _PAGE_BYTES  # the write-ahead log is copied to the file as rarely as with large pages
_SWEEP_RECORDS = 1000  # most records deleted in one transaction, so that others do not wait long


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
        self._begun: set[int] = set()  # topics to which this one has appended
        try:
            make_folder(self._path.parent)
        except OSError as error:
            raise LogError(f"log {self._path}: cannot create its folder: {error}") from error
        _must_not_be_without_its_file(self._path)
        self._connection = self._connect()
        self._writes = Writes(self._connect)
        try:
            with self._lock, self._errors(), transaction(self._connection):
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS topics (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL,"
                    " next INTEGER NOT NULL, bytes INTEGER NOT NULL)"
                )
                self._identity = identity_of(self._connection)
                add_checksums(self._connection)
            self._file = file_id(self._path)
            sync_folder(self._path.parent)
        except LogError:
            self._connection.close()
            raise

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        if not messages:
            return []
        if refused := [row for row, one in enumerate(messages) if one.size_bytes > _MOST_RECORD_BYTES]:
            self.append(topic, [one for row, one in enumerate(messages) if row not in refused])
            raise RecordTooLarge(
                f"log {self._path}: topic {topic!r}: expected records of at most {_MOST_RECORD_BYTES} bytes, "
                f"got {messages[refused[0]].size_bytes}",
                refused,
            )
        now = self._clock()
        rows = [
            (m.time if m.time is not None else now, m.key, m.value, pack(m.headers) if m.headers else None)
            for m in messages
        ]
        size = sum(len(m.value or b"") + len(m.key or b"") for m in messages)
        with self._lock, self._errors():
            self._must_be_there()
            with transaction(self._connection):
                number, first = self._topic(topic)
                if number not in self._begun:
                    begin_epoch(self._connection, topic, number, first)
                self._connection.executemany(
                    f"INSERT INTO t{number} (offset, time, key, value, headers, crc) VALUES (?, ?, ?, ?, ?, ?)",
                    [(first + place, *row, checksum(first + place, *row)) for place, row in enumerate(rows)],
                )
                self._connection.execute(
                    "UPDATE topics SET next = ?, bytes = bytes + ? WHERE id = ?", (first + len(rows), size, number)
                )
            self._begun.add(number)
            self._must_be_there()  # not acknowledged if the file was deleted meanwhile
            self._unswept += len(rows)
            if self._unswept >= _SWEEP_RECORDS or size > 1 << 20:
                self._unswept = 0
                try:
                    self._sweep(number, now)
                except sqlite3.Error as error:  # the records are in the log: this must not look like a failed append
                    log.warning("retention failed: retrying later", path=str(self._path), why=str(error))
        partition = Partition(topic, 0)
        return [Appended(partition, first + place) for place in range(len(rows))]

    def reader(
        self,
        topics: Sequence[str],
        after: Position,
        start: Start = "earliest",
        group: str = "",
        partition: int | None = None,
        *,
        patient: bool = False,
    ) -> Reader:
        if partition not in (None, 0):
            raise LogError(f"log {self._path}: expected partition 0, the only one of an embedded log, got {partition}")
        self._must_be_there()
        connection = self._connect()
        connection.text_factory = bytes  # there is none, unless a type is damaged
        try:
            self._must_be_there()  # else it is another file, perhaps a new one
            with self._errors():
                return SqliteReader(connection, self._path, self._must_be_there, topics, after, start, self._writes)
        except LogError:
            connection.close()
            raise

    def member(self, topic: str, group: str, instance: str, listener: GroupListener) -> GroupMember:
        return SoleMember(lambda: self.bounds(topic), listener)

    def named_members(self, group: str) -> Sequence[str]:
        return ()

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        self._must_be_there()
        # not by the open connection, whose cached pages hide what became of the file
        with self._errors(), closing(open_to_look(self._path, _BUSY_SECONDS)) as connection:
            found = bounds_of(connection, topic)
            if found is not None:
                connection.execute(f"SELECT * FROM t{found[0]} ORDER BY offset DESC LIMIT 1").fetchone()
        return {} if found is None else {Partition(topic, 0): found[1:]}

    def max_record_bytes(self, topic: str) -> int:
        return _MOST_RECORD_BYTES

    def identity(self, topic: str) -> str | None:
        self._must_be_there()
        return self._identity

    def epochs(self, topic: str) -> Epochs:
        self._must_be_there()
        with self._lock, self._errors():
            return epochs_of(self._connection, topic)

    def cluster(self) -> str | None:
        return None  # one that was lost is begun anew, and the states stay

    def sweep(self) -> None:
        """Apply retention; appending does it from time to time."""
        with self._lock, self._errors():
            for (number,) in self._connection.execute("SELECT id FROM topics").fetchall():
                self._sweep(number, self._clock())

    def close(self) -> None:
        self._writes.close()
        with self._lock:
            self._connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = None
        try:
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # without effect on a file that exists
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            connection.execute("PRAGMA synchronous = FULL")  # an acknowledged record survives a power failure
            connection.execute("PRAGMA fullfsync = ON")  # on macOS, whose plain flush leaves it in the disk's cache
        except DAMAGE as error:
            if connection is not None:
                connection.close()
            raise self._error(error, "cannot be opened: ") from error
        return connection

    def _must_be_there(self) -> None:
        """Raise LogReplaced if the open file is not the one at the path, LogAway if its folder is away."""
        found = file_id(self._path)
        if found == self._file:
            return
        try:
            must_be_kept(self._path)
        except FolderMoved as error:
            raise LogAway(f"log {self._path}: {error}") from error
        if found is None:
            raise LogDeleted(
                f"log {self._path}: the file was deleted or moved away while it was open: put it back where it was, "
                f"with {self._path.name}-wal and {self._path.name}-shm, and it goes on; a start without all "
                "three begins a new log"
            )
        raise LogReplaced(
            f"log {self._path}: the file was replaced while it was open: put the one of before back where it was, and "
            "it goes on; or start the service again, which takes the one that is there"
        )

    def _topic(self, topic: str) -> tuple[int, int]:
        """Number of the topic and the offset of its next record; creates a new topic."""
        found = bounds_of(self._connection, topic)
        if found is not None:
            return found[0], found[2]
        number = self._connection.execute(
            "INSERT INTO topics (name, next, bytes) VALUES (?, 0, 0) RETURNING id", (topic,)
        ).fetchone()[0]
        self._connection.execute(
            f"CREATE TABLE t{number} (offset INTEGER PRIMARY KEY, time REAL, key BLOB, value BLOB, headers BLOB,"
            " crc INTEGER)"
        )
        return int(number), 0

    def _sweep(self, number: int, now: float) -> None:
        keep = self._retention
        while True:
            with transaction(self._connection):
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
        except (sqlite3.Error, *DAMAGE) as error:
            raise self._error(error) from error

    def _error(self, error: Exception, what: str = "") -> LogError:
        if is_damage(error):
            advice = what_to_do(self._path, "records that are not learned yet are lost with it")
            return PermanentLogError(f"log {self._path}: {what}{error}{advice}")
        advice = "; is the disk full, or the file read-only?" if isinstance(error, sqlite3.OperationalError) else ""
        if advice and not os.access(self._path.parent, os.W_OK | os.X_OK):
            advice = f"; {self._path.parent} may not be written by this process"
        return LogError(f"log {self._path}: {what}{error}{advice}")


def _must_not_be_without_its_file(path: Path) -> None:
    """Raise LogError where the newest records of a log are there without the rest of it: SQLite would begin a new file,
    and empty what does not belong to it.
    """
    ahead = path.with_name(f"{path.name}-wal")
    try:
        left = not path.exists() and ahead.stat().st_size > 0
    except OSError:
        return
    if left:
        raise LogError(
            f"log {path}: the file is not there, but records of it are, in {ahead.name}: put it back where it was; to "
            f"begin a new log, move {ahead.name} away, too"
        )
