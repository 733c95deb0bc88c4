"""The tables of the embedded log's file."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec
import structlog
from crc32c import crc32c

from thalweg.memory.sqlite_damage import open_to_look
from thalweg.proto.records import Partition
from thalweg.stream.log.log import Epochs

log = structlog.get_logger(__name__)

Row: TypeAlias = tuple[int, float, bytes | None, bytes | None, bytes | None]
"""Offset, Unix seconds, key, value, packed headers."""

DAMAGE = (sqlite3.DatabaseError, UnicodeError, OverflowError, TypeError)
"""Errors by which damage of the file may show; the others are of Python's module, which trusts the file."""
pack = msgspec.msgpack.Encoder().encode
_FIVE, _LONG_BYTES = b"\x95", b"\xc6"  # MessagePack: an array of five, bytes with a length of four bytes
_LOOK_SECONDS = 5.0
_EPOCH = "epoch "
_EPOCHS = 256  # kept of each topic, the newest
_LARGE = 0xFFFF  # longer bytes have such a length


def identity_of(connection: sqlite3.Connection) -> str | None:
    """The identity of the file, drawn when it is created, or first opened by a version that knows of identities.

    None if it is damaged: taken for another one, it would let everything be read again.
    """
    connection.execute("CREATE TABLE IF NOT EXISTS identity (value TEXT NOT NULL, crc INTEGER NOT NULL)")
    drawn = uuid.uuid4().hex
    connection.execute(
        "INSERT INTO identity SELECT ?, ? WHERE NOT EXISTS (SELECT * FROM identity)",
        (drawn, crc32c(drawn.encode())),
    )
    row = connection.execute("SELECT CAST(value AS BLOB), crc FROM identity").fetchone()
    found = None if row is None else row[0]
    if not isinstance(found, bytes) or crc32c(found) != row[1] or found.startswith(_EPOCH.encode()):
        log.error("the identity of the log is damaged: it is taken for the same as before")
        return None
    return found.decode()


def begin_epoch(connection: sqlite3.Connection, topic: str, number: int, first: int) -> None:
    """A writer begins to append to this topic at this offset; in the transaction of its first append.

    The records of a copy that was put back and those that were appended since are of different epochs.
    """
    before = epochs_of(connection, topic)
    for row, _, _ in _epoch_rows(connection, number)[: max(0, len(before) + 1 - _EPOCHS)]:
        connection.execute("DELETE FROM identity WHERE rowid = ?", (row,))
    following = before[-1][0] + 1 if before else 1
    text = f"{_EPOCH}{number} {following} {uuid.uuid4().hex[:12]} {first}"
    connection.execute("INSERT INTO identity VALUES (?, ?)", (text, crc32c(text.encode())))


def epochs_of(connection: sqlite3.Connection, topic: str) -> list[tuple[int, str, int]]:
    """The epochs of a topic, in order; none where one of them is damaged: it would be taken for another one."""
    owner = connection.execute("SELECT id FROM topics WHERE name = ?", (topic,)).fetchone()
    found = []
    for _, text, crc in [] if owner is None else _epoch_rows(connection, owner[0]):
        if crc32c(text) != crc:
            log.error("the epochs of the log are damaged: an older copy of it is not noticed", topic=topic)
            return []
        _, _, number, name, first = text.decode().split(" ")
        found.append((int(number), name, int(first)))
    return found


def _epoch_rows(connection: sqlite3.Connection, number: int) -> list[tuple[int, bytes, int]]:
    """Row, text and checksum of the epochs of the topic of this number, oldest first: in the table of the identity, so
    that all of the schema stays on one page.
    """
    return connection.execute(
        "SELECT rowid, CAST(value AS BLOB), crc FROM identity WHERE value LIKE ? ORDER BY rowid",
        (f"{_EPOCH}{number} %",),
    ).fetchall()


def add_checksums(connection: sqlite3.Connection) -> None:
    """Let the topics of an older version have checksums, which only new records get."""
    if "unchecked" in _columns(connection, "topics"):
        return
    connection.execute("ALTER TABLE topics ADD COLUMN unchecked INTEGER NOT NULL DEFAULT 0")
    connection.execute("UPDATE topics SET unchecked = next")  # records before this offset have no checksum
    for (number,) in connection.execute("SELECT id FROM topics").fetchall():
        connection.execute(f"ALTER TABLE t{number} ADD COLUMN crc INTEGER")


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {column[1] for column in connection.execute(f"PRAGMA table_info({table})")}


def is_whole(connection: sqlite3.Connection, number: int, row: Row, crc: int | None) -> bool:
    """Whether a record of this topic is as it was appended."""
    if crc is not None:
        return crc == checksum(*row)
    (unchecked,) = connection.execute("SELECT unchecked FROM topics WHERE id = ?", (number,)).fetchone()
    return bool(row[0] < unchecked)


def checksum(offset: int, moment: float, key: bytes | None, value: bytes | None, headers: bytes | None) -> int:
    """The checksum of a row: of all of it in MessagePack, of which large values are not copied."""
    if value is None or len(value) <= _LARGE:
        return crc32c(pack((offset, moment, key, value, headers)))
    before = _FIVE + pack((offset, moment, key))[1:] + _LONG_BYTES + len(value).to_bytes(4, "big")
    return crc32c(pack(headers), crc32c(value, crc32c(before)))


def bounds_of(connection: sqlite3.Connection, topic: str) -> tuple[int, int, int] | None:
    """Number of the topic, the earliest offset kept, and the next one; None where there is no such topic."""
    row = connection.execute("SELECT id, next FROM topics WHERE name = ?", (topic,)).fetchone()
    if row is None:
        return None
    number, following = row
    earliest, newest = connection.execute(
        f"SELECT (SELECT min(offset) FROM t{number}), (SELECT max(offset) FROM t{number})"
    ).fetchone()
    following = max(following, -1 if newest is None else newest + 1)
    return number, following if earliest is None else earliest, following


def looked_up(path: Path, wanted: Iterable[str]) -> dict[str, tuple[str | None, dict[Partition, int], Epochs]]:
    """By topic that is there, the file's identity, the next offset and the epochs; nothing is written. Raises
    sqlite3.Error.
    """
    with closing(open_to_look(path, _LOOK_SECONDS)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"topics", "identity"} <= tables:
            return {}
        row = connection.execute("SELECT value FROM identity").fetchone()
        found = {topic: (bounds_of(connection, topic), epochs_of(connection, topic)) for topic in wanted}
    identity = None if row is None else str(row[0])
    return {
        topic: (identity, {Partition(topic, 0): ends[2]}, epochs)
        for topic, (ends, epochs) in found.items()
        if ends is not None
    }


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing of what is executed in the block."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
