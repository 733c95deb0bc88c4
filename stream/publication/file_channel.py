"""Published versions: how a learner process shows what it knows to server processes, without a lock on either side.

Each version's servable tensors are a new file in a folder that both see, best a memory-backed one. A small mapped file
announces which is current; servers look at it every few milliseconds, map the new file, and swap one reference. The old
file is unlinked: a mapped file lives until its last reader closes it.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from thalweg.memory.snapshots.state import DamagedFile, State, read_state, write_state
from thalweg.models.contract.learner import Predictor
from thalweg.stream.publication.announcement import (
    ANNOUNCEMENT,
    Slot,
    make_announcement,
    newest_slot,
    open_announcement,
    write_slot,
)
from thalweg.stream.publication.ports import ServedVersion, VersionInfo

log = structlog.get_logger(__name__)

_LOOKS_AT_FOLDER = 250  # every so many looks: is it still the same folder?
_KEEP_FILES = 3  # a server that just read the announcement must still find the file


class FilePublisher:
    """The learner's side, one per model. One thread uses it.

    Args:
        folder: This model's own folder in the live folder; made if need be.
        clock: Unix seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)
        self._map = make_announcement(folder / ANNOUNCEMENT)
        newest = newest_slot(self._map[:])
        self._number = newest.number if newest else 0
        self._file = newest.file if newest else 0
        self._info = newest.info if newest else None
        self._shown: Predictor | None = None
        self._as_of = newest.info.as_of if newest else 0.0
        self._files = [self._file]
        for path in folder.glob("*safetensors*"):  # left by a killed publisher, hidden half-written ones too
            if path.name != _name(self._file):
                path.unlink(missing_ok=True)
        for path in folder.glob(".*.safetensors.*"):
            path.unlink(missing_ok=True)

    def shown(self) -> int | None:
        """The version that is shown, perhaps by an earlier publisher of this folder; None: none is."""
        return None if self._info is None else self._info.version

    def publish(self, predictor: Predictor, *, version: int, learned_events: int, event_time: float) -> None:
        """Show this version from now on.

        Raises:
            OSError: The file cannot be written; what was shown before still is.
        """
        if predictor is not self._shown:
            file = self._file + 1
            write_state(predictor.state(), self._folder / _name(file), durable=False)
            self._file, self._shown = file, predictor
            self._files.append(file)
        self._info = VersionInfo(version, learned_events, event_time, self._clock(), self._as_of, os.getpid())
        self._announce()
        while len(self._files) > _KEEP_FILES:
            (self._folder / _name(self._files.pop(0))).unlink(missing_ok=True)

    def confirm(self, as_of: float) -> None:
        """The version shown has everything that was in the log at this time."""
        if as_of > self._as_of:
            self._as_of = as_of
            if self._info is not None:
                self._info = replace(self._info, as_of=as_of, pid=os.getpid())
                self._announce()

    def close(self) -> None:
        """Close the announcement; what is shown stays shown."""
        self._map.close()

    def _announce(self) -> None:
        assert self._info is not None
        self._number += 1
        write_slot(self._map, Slot(self._number, self._file, self._info))


class FileSubscriber:
    """A server's side, one per model: `current` is what answers now.

    Args:
        folder: The model's folder in the live folder; it need not be there yet.
        build: Makes the predictor of a state; arrays are maps of the file.
        look_seconds: How often to look for a new version.
    """

    def __init__(self, folder: Path, build: Callable[[State], Predictor], look_seconds: float = 0.002) -> None:
        self.current: ServedVersion | None = None
        """Read it once per answer: one attribute read, no lock."""
        self._folder = folder
        self._build = build
        self._look_seconds = look_seconds
        self._map: mmap.mmap | None = None
        self._inode = 0
        self._looked = b""
        self._file = -1
        self._news = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look for versions from now on, in a thread of its own."""
        self.look()
        self._thread = threading.Thread(target=self._watch, name="subscriber", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._unmap()

    def wait_for(self, version: int, timeout_seconds: float) -> ServedVersion | None:
        """What is current once it is this version or a later one, or when the time is over."""

        def come() -> bool:
            served = self.current
            return served is not None and served.info.version >= version

        with self._news:
            self._news.wait_for(come, timeout_seconds)
        return self.current

    def look(self) -> bool:
        """Take up what is announced; whether it was news. Called by the thread, or by hand without one."""
        announced = self._announced()
        if announced is None or announced == self._looked:
            return False
        slot = newest_slot(announced)
        if slot is None:
            return False
        before = self.current
        try:
            if slot.file != self._file or before is None:
                predictor = self._build(read_state(self._folder / _name(slot.file)))
            else:
                predictor = before.predictor
        except FileNotFoundError:
            return False  # a newer version has taken its place, or the folder is new: look again
        except Exception as error:  # whatever is wrong with it, the version before goes on answering
            self._looked = announced
            if isinstance(error, DamagedFile):
                log.error("published version is damaged: going on with the one before", problem=str(error))
            else:
                log.exception("published version cannot be used: going on with the one before", file=slot.file)
            return False
        self._looked, self._file = announced, slot.file
        with self._news:
            self.current = ServedVersion(predictor, slot.info)
            self._news.notify_all()
        return True

    def _watch(self) -> None:
        looks = 0
        while not self._stopping.wait(self._look_seconds):
            looks += 1
            if looks % _LOOKS_AT_FOLDER == 0 and self._map is not None and self._replaced():
                log.warning("the folder of published versions was made anew", folder=str(self._folder))
                self._unmap()
            self.look()

    def _announced(self) -> bytes | None:
        """Both slots as they are now."""
        if self._map is None:
            path = self._folder / ANNOUNCEMENT
            if not path.exists():
                return None
            self._map = open_announcement(path)
            if self._map is None:
                return None
            self._inode = path.stat().st_ino
        return self._map[:]

    def _replaced(self) -> bool:
        """Whether there is another announcement than the one that is mapped: somebody emptied the memory's folder."""
        try:
            return (self._folder / ANNOUNCEMENT).stat().st_ino != self._inode
        except OSError:
            return False  # nothing new there yet

    def _unmap(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
            self._looked, self._file = b"", -1


def _name(file: int) -> str:
    return f"{file}.safetensors"
