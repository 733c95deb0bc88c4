"""Damage of a SQLite file: how to recognise it, and what to do about it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_damage(error: BaseException) -> bool:
    """Whether no waiting helps: the file itself is not, or no longer, a whole database."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED


def what_to_do(path: Path, cost: str) -> str:
    """The advice that ends a message about a damaged file; `cost` completes "what is lost"."""
    return f"; put a good copy in its place, or move {path}, {path}-wal and {path}-shm away: {cost}"


def open_to_look(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    """A new connection that only reads: it knows nothing from before, so it sees what is in the file now.

    Raises:
        sqlite3.Error: There is no such file.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=timeout_seconds, isolation_level=None)
