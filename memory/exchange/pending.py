"""Events that wait for their label, by id.

Bounded in number and in time. A joined event stays as an empty stub until it expires, so that a duplicate label is
recognised. The first event of an id counts; a later one with the same id is ignored.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Protocol

import structlog
from crc32c import crc32c

from thalweg.memory.exchange.commands import store_error
from thalweg.memory.files import make_folder

log = structlog.get_logger(__name__)

_DAMAGE = (sqlite3.Error, UnicodeError, OverflowError, TypeError)
"""By which damage of a SQLite file may show; the last three are of Python's module, which trusts the file."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pending event."""

    time: float
    """Unix seconds of the request or the event."""
    value: bytes
    """The event as its writer encoded it; empty once it was joined."""
    joined_by: str = ""
    """The place of the label that it was joined with, as `settle` was told; empty if it was not told."""

    @property
    def joined(self) -> bool:
        """Whether its label has arrived."""
        return not self.value


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on pending events."""

    seconds: float = 86_400.0
    """How long an event waits for its label."""
    events: int = 1_000_000
    """Most events per model; the oldest are dropped first."""


USUAL = Limits()


class Pending(Protocol):
    """Safe to share between threads. Every method raises `StoreError` while the store is unavailable."""

    def remember(self, model: str, entries: Sequence[tuple[str, float, bytes]]) -> None:
        """Store events: id, Unix seconds, the event itself (not empty)."""

    def find(self, model: str, ids: Sequence[str]) -> list[Waiting | None]:
        """The events with these ids, in order; None where there is none (any more)."""

    def settle(self, model: str, ids: Collection[str]) -> None:
        """Mark these as joined: only their stubs stay. A mapping also tells where the label of each was."""

    def check(self) -> None:
        """Raise `StoreError` if the store is unavailable."""

    def close(self) -> None:
        """Release resources; may be called twice."""


def labels_of(ids: Collection[str]) -> Iterable[tuple[str, str]]:
    """Each id of `Pending.settle` with the place of its label; empty where that is not told."""
    return ids.items() if isinstance(ids, Mapping) else ((id, "") for id in ids)


class InMemoryPending:
    """Within one process."""

    def __init__(self, limits: Limits = USUAL, clock: Callable[[], float] = time.time) -> None:
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._models: dict[str, OrderedDict[str, tuple[float, Waiting]]] = {}

    def remember(self, model: str, entries: Sequence[tuple[str, float, bytes]]) -> None:
        now = self._clock()
        with self._lock:
            kept = self._models.setdefault(model, OrderedDict())
            while kept and next(iter(kept.values()))[0] < now - self._limits.seconds:
                kept.popitem(last=False)
            for id, moment, value in entries:
                kept.setdefault(id, (now, Waiting(moment, value)))
            while len(kept) > self._limits.events:
                kept.popitem(last=False)

    def find(self, model: str, ids: Sequence[str]) -> list[Waiting | None]:
        oldest = self._clock() - self._limits.seconds
        with self._lock:
            kept = self._models.get(model, OrderedDict())
            found = [kept.get(id) for id in ids]
        return [None if entry is None or entry[0] < oldest else entry[1] for entry in found]

    def settle(self, model: str, ids: Collection[str]) -> None:
        with self._lock:
            kept = self._models.get(model, OrderedDict())
            for id, label in labels_of(ids):
                if (entry := kept.get(id)) is not None:
                    kept[id] = entry[0], Waiting(entry[1].time, b"", label)

    def check(self) -> None:
        """Always available."""

    def close(self) -> None:
        """Nothing to release."""


class SqlitePending:
    """In a file that the processes of one machine share; it may be the command queue's."""

    def __init__(self, path: str | Path, limits: Limits = USUAL, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        connection = None
        try:
            make_folder(self._path.parent)
            connection = self._connection = sqlite3.connect(
                self._path, timeout=10, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            # the joiner saves a position behind the events that it stores here: they must be on disk before
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS pending (number INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL,"
                " id TEXT NOT NULL, kept REAL NOT NULL, time REAL NOT NULL, value BLOB NOT NULL, crc INTEGER,"
                " joined_by TEXT NOT NULL DEFAULT '', UNIQUE (model, id))"
            )
            columns = {column[1] for column in self._connection.execute("PRAGMA table_info(pending)")}
            if "crc" not in columns:  # of an older version, whose events have no checksum
                self._connection.execute("ALTER TABLE pending ADD COLUMN crc INTEGER")
            if "joined_by" not in columns:
                self._connection.execute("ALTER TABLE pending ADD COLUMN joined_by TEXT NOT NULL DEFAULT ''")
            _count(self._connection)
            self._connection.execute("COMMIT")
        except (*_DAMAGE, OSError) as error:
            if connection is not None:
                connection.close()
            raise store_error(self._path, error, "cannot be opened: ") from error

    def remember(self, model: str, entries: Sequence[tuple[str, float, bytes]]) -> None:
        now = self._clock()
        rows = [(model, id, now, moment, value, _checksum(id, moment, value)) for id, moment, value in entries]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO pending (model, id, kept, time, value, crc) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
            # times ascend with the row numbers: delete from the oldest on those that are too old or too many
            until = now - self._limits.seconds
            oldest = connection.execute("SELECT number, kept FROM pending ORDER BY number LIMIT 10000")
            looked = takewhile(lambda row: not until <= row[1] <= now, oldest)  # a clock may have been ahead for some
            connection.executemany(
                "DELETE FROM pending WHERE number = ?", [(number,) for number, kept in looked if kept < until]
            )
            counted = connection.execute(
                "SELECT events, since FROM pending_counts WHERE model = ?", (model,)
            ).fetchone()
            if counted is not None and counted[0] > self._limits.events:
                self._drop_oldest(connection, model, counted[0] - self._limits.events, counted[1])

    def _drop_oldest(self, connection: sqlite3.Connection, model: str, count: int, since: int) -> None:
        """Delete so many events of a model, of which none has a row number below `since`."""
        rows = connection.execute(  # by row number: by the index of models all of its events would be sorted
            "SELECT number FROM pending NOT INDEXED WHERE number >= ? AND model = ? ORDER BY number LIMIT ?",
            (since, model, count),
        ).fetchall()
        connection.executemany("DELETE FROM pending WHERE number = ?", rows)
        if rows:
            connection.execute("UPDATE pending_counts SET since = ? WHERE model = ?", (rows[-1][0] + 1, model))

    def find(self, model: str, ids: Sequence[str]) -> list[Waiting | None]:
        oldest = self._clock() - self._limits.seconds
        found: list[Waiting | None] = []
        row: tuple[float, bytes, int | None, str] | None
        with self._transaction() as connection:
            for id in ids:
                row = connection.execute(
                    "SELECT time, value, crc, joined_by FROM pending WHERE model = ? AND id = ? AND kept >= ?",
                    (model, id, oldest),
                ).fetchone()
                if row is not None and row[1] != b"" and row[2] not in (None, _checksum(id, row[0], row[1])):
                    log.error("an event that waits for its label is damaged: dropped", model=model, id=id)
                    row = None
                found.append(None if row is None else Waiting(row[0], row[1], row[3]))
        return found

    def settle(self, model: str, ids: Collection[str]) -> None:
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE pending SET value = x'', joined_by = ? WHERE model = ? AND id = ?",
                [(label, model, id) for id, label in labels_of(ids)],
            )

    def check(self) -> None:
        with self._transaction() as connection:
            connection.execute("SELECT 1")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection, self._lock, self._path)


def _count(connection: sqlite3.Connection) -> None:
    """Keep, from now on, how many events each model has, and a row number before which it has none.

    By triggers, so that the counts are exact whichever process or version writes the file; a file of a version without
    them is counted once.
    """
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'pending_counts'").fetchone()
    if known is not None:
        return
    connection.execute(
        "CREATE TABLE pending_counts (model TEXT PRIMARY KEY, events INTEGER NOT NULL, since INTEGER NOT NULL)"
        " WITHOUT ROWID"
    )
    connection.execute("INSERT INTO pending_counts SELECT model, count(*), min(number) FROM pending GROUP BY model")
    connection.execute(
        "CREATE TRIGGER pending_added AFTER INSERT ON pending BEGIN"
        " INSERT INTO pending_counts VALUES (new.model, 1, new.number)"
        " ON CONFLICT (model) DO UPDATE SET events = events + 1; END"
    )
    connection.execute(
        "CREATE TRIGGER pending_removed AFTER DELETE ON pending BEGIN"
        " UPDATE pending_counts SET events = events - 1 WHERE model = old.model; END"
    )


def _checksum(id: str, moment: float, value: bytes) -> int:
    return crc32c(value, crc32c(repr((id, moment)).encode("utf-8", "surrogatepass")))


class _Transaction:
    """One transaction, one thread at a time; SQLite's errors become `StoreError`."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.Lock, path: Path) -> None:
        self._connection, self._lock, self._path = connection, lock, path

    def __enter__(self) -> sqlite3.Connection:
        self._lock.acquire()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except _DAMAGE as error:
            self._lock.release()
            raise store_error(self._path, error) from error
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._connection.execute("COMMIT" if error is None else "ROLLBACK")
        except _DAMAGE as failed:
            raise store_error(self._path, failed) from failed
        finally:
            self._lock.release()
        if isinstance(error, _DAMAGE):
            raise store_error(self._path, error) from error
