"""A store in a file that may be damaged or replaced: every call raises StoreError until it can be opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from thalweg.memory.exchange.commands import (
    Command,
    CommandQueue,
    SqliteCommandQueue,
    StoreError,
    store_error,
)
from thalweg.memory.exchange.open import open_commands, open_pending
from thalweg.memory.exchange.pending import USUAL, Limits, Pending, SqlitePending, Waiting
from thalweg.memory.exchange.redis_names import RedisNames
from thalweg.memory.reopening import Reopening
from thalweg.memory.sqlite_damage import open_to_look

_LOOK_SECONDS = 10.0


def reopened_commands(url: str, names: RedisNames | None = None) -> CommandQueue:
    """As `open_commands`, but a file that cannot be opened is tried again. Raises StoreError for another URL."""
    return open_commands(url, names) if (path := _path(url)) is None else ReopenedCommands(path)


def reopened_pending(url: str, limits: Limits = USUAL, names: RedisNames | None = None) -> Pending:
    """As `open_pending`, but a file that cannot be opened is tried again. Raises StoreError for another URL."""
    return open_pending(url, limits, names) if (path := _path(url)) is None else ReopenedPending(path, limits)


def check_store(url: str, commands: CommandQueue) -> None:
    """Raise StoreError if the store cannot be reached, or its file is not whole: it is looked at anew."""
    commands.response("", 0.0)
    if (path := _path(url)) is None:
        return
    try:
        with closing(open_to_look(path, _LOOK_SECONDS)) as connection:
            connection.execute("SELECT count(*) FROM commands").fetchone()
    except sqlite3.Error as error:
        raise store_error(path, error) from error


def _path(url: str) -> Path | None:
    kind, _, rest = url.partition(":")
    return Path(rest) if kind == "sqlite" and rest else None


class ReopenedCommands:
    """The command queue in a file."""

    def __init__(self, path: Path) -> None:
        self._store = Reopening(f"store {path}", lambda: SqliteCommandQueue(path), StoreError, path)

    def submit(self, model: str, verb: str, arguments: Mapping[str, Any]) -> str:
        return self._store.get().submit(model, verb, arguments)

    def poll(self, model: str) -> list[Command]:
        try:
            return self._store.get().poll(model)
        except StoreError:
            return []  # commands wait

    def respond(self, id: str, result: Mapping[str, Any]) -> None:
        self._store.get().respond(id, result)

    def response(self, id: str, timeout_seconds: float) -> Mapping[str, Any] | None:
        return self._store.get().response(id, timeout_seconds)

    def close(self) -> None:
        self._store.close()


class ReopenedPending:
    """The pending events in a file."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._store = Reopening(f"store {path}", lambda: SqlitePending(path, limits), StoreError, path)

    def remember(self, model: str, entries: Sequence[tuple[str, float, bytes]]) -> None:
        self._store.get().remember(model, entries)

    def find(self, model: str, ids: Sequence[str]) -> list[Waiting | None]:
        return self._store.get().find(model, ids)

    def settle(self, model: str, ids: Collection[str]) -> None:
        self._store.get().settle(model, ids)

    def check(self) -> None:
        self._store.get().check()

    def close(self) -> None:
        self._store.close()
