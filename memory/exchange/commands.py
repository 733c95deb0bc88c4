"""A queue of commands to learners, shared by the processes of one service.

A command is delivered once. If the learner dies while it handles one, there is no response; the caller times out and
may submit it again: no command is ever handled twice.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from thalweg.memory.files import make_folder
from thalweg.memory.sqlite_damage import is_damage, what_to_do

log = structlog.get_logger(__name__)

EXPIRE_SECONDS = 600.0
"""Commands older than this expire, with or without a response."""
MOST_COMMANDS = 1000
"""A model with this many waiting commands rejects more."""
_LOOK_SECONDS = 0.01  # between two polls of the store: each learner polls after every block


class StoreError(Exception):
    """The store cannot perform an operation; the message says which store and why."""


class StoreDamaged(StoreError):
    """Its file is damaged; it will not succeed by itself: the message says what to do."""


def store_error(path: Path, error: Exception, what: str = "") -> StoreError:
    """The error to raise for an error of SQLite or of the file system."""
    if not is_damage(error):
        return StoreError(f"store {path}: {what}{error}")
    cost = "requests that wait for their labels are lost with it"
    return StoreDamaged(f"store {path}: {what}{error}{what_to_do(path, cost)}")


@dataclass(frozen=True, slots=True)
class Command:
    """A command to a model's learner."""

    id: str
    verb: str
    arguments: Mapping[str, Any]


class CommandQueue(Protocol):
    """Safe to share between threads."""

    def submit(self, model: str, verb: str, arguments: Mapping[str, Any]) -> str:
        """Queue a command for the model's learner; returns its id. Raises StoreError if it cannot be queued."""

    def poll(self, model: str) -> list[Command]:
        """The commands not delivered yet, oldest first. Cheap if there is none; [] while the store is unavailable."""

    def respond(self, id: str, result: Mapping[str, Any]) -> None:
        """Store the response to a command."""

    def response(self, id: str, timeout_seconds: float) -> Mapping[str, Any] | None:
        """The response to a command, after waiting up to this long; None if there is none."""

    def close(self) -> None:
        """Release resources; may be called twice."""


class InMemoryCommandQueue:
    """Within one process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: dict[str, list[tuple[float, Command]]] = {}
        self._results: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def submit(self, model: str, verb: str, arguments: Mapping[str, Any]) -> str:
        with self._changed:
            oldest = self._clock() - EXPIRE_SECONDS
            waiting = [entry for entry in self._waiting.get(model, []) if entry[0] > oldest]
            self._results = {key: entry for key, entry in self._results.items() if entry[0] > oldest}
            if len(waiting) >= MOST_COMMANDS:
                raise StoreError(_too_many(model))
            command = Command(uuid.uuid4().hex, verb, dict(arguments))
            self._waiting[model] = [*waiting, (self._clock(), command)]
        return command.id

    def poll(self, model: str) -> list[Command]:
        if not self._waiting.get(model):
            return []
        with self._changed:
            oldest = self._clock() - EXPIRE_SECONDS
            return [command for asked, command in self._waiting.pop(model, []) if asked > oldest]

    def respond(self, id: str, result: Mapping[str, Any]) -> None:
        with self._changed:
            self._results[id] = (self._clock(), dict(result))
            self._changed.notify_all()

    def response(self, id: str, timeout_seconds: float) -> Mapping[str, Any] | None:
        with self._changed:
            self._changed.wait_for(lambda: id in self._results, timeout_seconds)
            found = self._results.get(id)
        return None if found is None else found[1]

    def close(self) -> None:
        """Nothing to release."""


class SqliteCommandQueue:
    """In a file that the processes of one machine share."""

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        self._look_after = 0.0
        self._seen: int | None = None
        self._asked: set[str] = set()  # models with commands that were not delivered
        self._readable = True
        connection = None
        try:
            make_folder(self._path.parent)
            connection = self._connection = sqlite3.connect(
                self._path, timeout=10, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS commands (id TEXT PRIMARY KEY, model TEXT NOT NULL, verb TEXT NOT NULL,"
                " arguments TEXT NOT NULL, asked REAL NOT NULL, taken INTEGER NOT NULL DEFAULT 0, result TEXT)"
            )
        except (sqlite3.Error, OSError) as error:
            if connection is not None:
                connection.close()
            raise store_error(self._path, error, "cannot be opened: ") from error

    def submit(self, model: str, verb: str, arguments: Mapping[str, Any]) -> str:
        now, id = self._clock(), uuid.uuid4().hex
        try:
            with self._lock:
                self._connection.execute("DELETE FROM commands WHERE asked < ?", (now - EXPIRE_SECONDS,))
                waiting = self._connection.execute(
                    "SELECT count(*) FROM commands WHERE model = ? AND taken = 0", (model,)
                ).fetchone()[0]
                if waiting >= MOST_COMMANDS:
                    raise StoreError(_too_many(model))
                self._connection.execute(
                    "INSERT INTO commands (id, model, verb, arguments, asked) VALUES (?, ?, ?, ?, ?)",
                    (id, model, verb, json.dumps(dict(arguments)), now),
                )
                self._seen = None
        except sqlite3.Error as error:
            raise store_error(self._path, error) from error
        return id

    def poll(self, model: str) -> list[Command]:
        if not self._has_some(model):
            return []
        which = "WHERE model = ? AND taken = 0 AND asked >= ?"
        values = (model, self._clock() - EXPIRE_SECONDS)
        try:
            with self._lock:
                rows = self._connection.execute(
                    f"UPDATE commands SET taken = 1 {which} RETURNING id, verb, arguments, asked", values
                ).fetchall()
                self._asked.discard(model)
        except sqlite3.Error as error:
            self._unreadable(error)
            return []
        return [Command(id, verb, json.loads(text)) for id, verb, text, _ in sorted(rows, key=lambda row: row[3])]

    def _has_some(self, model: str) -> bool:
        """Whether commands wait for this model; looked up for all models at once, and only after a change."""
        now = time.monotonic()
        if now >= self._look_after:
            try:
                with self._lock:
                    self._look_after = now + _LOOK_SECONDS
                    seen = self._connection.execute("PRAGMA data_version").fetchone()[0]
                    if seen != self._seen:  # another connection has written, or this one has submitted
                        found = self._connection.execute("SELECT DISTINCT model FROM commands WHERE taken = 0")
                        self._asked = {name for (name,) in found}
                        self._seen = seen
            except sqlite3.Error as error:
                self._unreadable(error)
                return False
            self._readable = True
        return model in self._asked

    def _unreadable(self, error: sqlite3.Error) -> None:
        self._seen = None
        if self._readable:
            log.warning("store unavailable: commands wait", store=str(self._path), problem=str(error))
        self._readable = False

    def respond(self, id: str, result: Mapping[str, Any]) -> None:
        try:
            with self._lock:
                self._connection.execute("UPDATE commands SET result = ? WHERE id = ?", (json.dumps(dict(result)), id))
        except sqlite3.Error as error:
            raise store_error(self._path, error) from error

    def response(self, id: str, timeout_seconds: float) -> Mapping[str, Any] | None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                with self._lock:
                    row = self._connection.execute("SELECT result FROM commands WHERE id = ?", (id,)).fetchone()
            except sqlite3.Error as error:
                raise store_error(self._path, error) from error
            if row is not None and row[0] is not None:
                result: Mapping[str, Any] = json.loads(row[0])
                return result
            if time.monotonic() >= deadline:
                return None
            time.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _too_many(model: str) -> str:
    return f"{MOST_COMMANDS} commands wait for model {model!r} already; is its learner running?"
