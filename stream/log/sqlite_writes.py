"""Notices that records were appended to an embedded log, for all of its readers in this process at once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping

from thalweg.stream.log.log import LogError
from thalweg.stream.log.sqlite_file import DAMAGE
from thalweg.stream.watching import Watching

_appends = Watching("appends")
"""To all embedded logs of this process."""


class Writes:
    """Wakes readers of a file when a topic of theirs grows. Thread-safe.

    Args:
        connect: Opens a connection. Raises an error of `DAMAGE`, or LogError.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._waiting: dict[threading.Event, Mapping[str, int]] = {}
        self._connection: sqlite3.Connection | None = None
        self._seen: int | None = None
        self._ends: dict[str, int] = {}
        """The next offset of each topic, as of then."""
        self._watched = self._closed = False

    def wait(self, following: Mapping[str, int], seconds: float) -> None:
        """Wait until a topic's next offset is beyond the one in `following`, by topic; so many seconds at most."""
        grown = threading.Event()
        with self._lock:
            if self._beyond(following):  # appended while the reader looked
                return
            self._waiting[grown] = following
            watch = not self._watched and not self._closed
            self._watched = self._watched or watch
        if watch:
            _appends.add(self._look)
        try:
            grown.wait(seconds)
        finally:
            with self._lock:
                del self._waiting[grown]

    def close(self) -> None:
        """Look no more; who waits waits to the end."""
        _appends.remove(self._look)
        with self._lock:
            self._closed = True
            self._let_go()

    def _look(self) -> bool:
        with self._lock:
            if not self._waiting or self._closed:
                return False
            try:
                if self._connection is None:
                    self._connection = self._connect()
                seen = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
                if seen == self._seen:
                    return False
                self._ends = dict(self._connection.execute("SELECT name, next FROM topics").fetchall())
                self._seen = seen
            except (LogError, *DAMAGE):  # the readers find it out, and tell
                self._let_go()
                woken = list(self._waiting)
            else:
                woken = [grown for grown, following in self._waiting.items() if self._beyond(following)]
            for grown in woken:
                grown.set()
            return bool(woken)

    def _beyond(self, following: Mapping[str, int]) -> bool:
        return any(self._ends.get(topic, 0) > offset for topic, offset in following.items())

    def _let_go(self) -> None:
        self._ends, self._seen = {}, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
