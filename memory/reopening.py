"""What could not be opened is tried again whenever it is needed, so that one damaged file stops nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import structlog

from thalweg.memory.files import file_id
from thalweg.memory.kept_folders import FolderMoved, is_away, must_be_kept

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 1.0


class Closable(Protocol):
    """A log or a store."""

    def close(self) -> None:
        """Release resources."""


Opened = TypeVar("Opened", bound=Closable)


class Reopening(Generic[Opened]):
    """Holds what was opened, or the reason why it could not be. Thread-safe.

    Args:
        what: What it is, as messages name it: `store PATH`.
        open: Opens it.
        refusal: What `open` raises while it cannot; takes one message. Anything else is not caught.
        path: A file; it is opened again when another file is at this path. None: what was opened stays.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        what: str,
        open: Callable[[], Opened],
        refusal: type[Exception],
        path: Path | None = None,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._open, self._refusal, self._path, self._ticks = what, open, refusal, path, ticks
        self._lock = threading.Lock()
        self._file: tuple[int, int] | None = None
        self._problem: Exception | None = None
        self._again = 0.0
        self._closed = False
        self.present: Opened | None = None
        """What is open, without trying."""
        with suppress(refusal):  # the next call tries again
            self.get()

    def get(self) -> Opened:
        """What is open. Tries to open it, at most once a second. Raises the refusal of the last attempt."""
        found = self.present
        if found is not None and (self._path is None or file_id(self._path) == self._file):
            return found
        if self._path is not None:
            try:
                must_be_kept(self._path)  # what is open is there again once its folder is
            except FolderMoved as error:
                raise self._refusal(f"{self._what}: {error}") from error
        with self._lock:
            if self.present is not None and self._path is not None and file_id(self._path) != self._file:
                log.error("the file was deleted or replaced: opening the one that is there", what=self._what)
                self.present.close()
                self.present = None
            if self.present is None:
                self._try()
            assert self.present is not None
            return self.present

    def close(self) -> None:
        """Close what is open; nothing is opened any more."""
        with self._lock:
            self._closed = True
            if self.present is not None:
                self.present.close()

    def _try(self) -> None:
        if self._closed:
            raise self._refusal(f"{self._what}: closed")
        if self._problem is not None and self._ticks() < self._again:
            problem = self._problem
            raise type(problem)(str(problem)) from problem.__cause__  # an error of its own for each thread
        try:
            self.present = self._open()
        except self._refusal as error:
            if (self._problem is None or str(self._problem) != str(error)) and not is_away(error):
                log.error("cannot be opened: trying again", what=self._what, problem=str(error))
            self._problem, self._again = error, self._ticks() + _AGAIN_SECONDS
            raise
        if self._problem is not None:
            log.info("opened at last", what=self._what)
        self._problem = None
        if self._path is not None:
            self._file = file_id(self._path)
