"""Published versions: how a learner process shares its predictors with server processes, without locks.

Each version's servable tensors are a new file in a shared folder, preferably memory-backed. A small mapped file
announces the current version; servers poll it every few milliseconds, map the new file, and swap one reference. The old
file is unlinked: a mapped file stays readable until its last reader closes it.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from thalweg.memory.kept_folders import must_be_kept
from thalweg.memory.snapshots.state import DamagedFile, State, read_state, write_state
from thalweg.models.contract.layouts import OtherLayout
from thalweg.models.contract.learner import Predictor
from thalweg.stream.health.registry import Health
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.publication.announcement import (
    ANNOUNCEMENT,
    Slot,
    make_announcement,
    newest_slot,
    open_announcement,
    write_slot,
)
from thalweg.stream.publication.live_folder import make_model_folder
from thalweg.stream.publication.ports import Servable, ServedVersion, VersionInfo
from thalweg.stream.publication.trial import Trial, UnusableVersion
from thalweg.stream.shards.vector import vector_of
from thalweg.stream.watching import Watching

log = structlog.get_logger(__name__)

_FIRST_LOOK_SECONDS = 0.01  # between two looks for the folder
_OWN_LOOK_SECONDS = 0.5  # between two looks without a change: is it still the same folder?
_LONGEST_WAIT = 1.0  # seconds before it looks again after an error
_announcements = Watching("announcements")
"""Of all models that this process serves."""
_KEEP_FILES = 3  # a server that just read the announcement must still find the file


class FilePublisher:
    """The learner's side, one per model. One thread uses it.

    Args:
        folder: This model's own folder in the live folder; created if needed, also when it is deleted later.
        clock: Unix seconds.
        moved: Called when the folder was deleted: the predictor to publish then, if not the one published before,
            because its state names files of the folder.
        noted: Further meta of every published state.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.time,
        moved: Callable[[], Servable] | None = None,
        noted: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = folder
        self._noted = dict(noted or {})
        self._clock = clock
        self._moved = moved
        self._map = self._begin()
        newest = newest_slot(self._map[:])
        self._number = newest.number if newest else 0
        self._file = newest.file if newest else 0
        self._info = newest.info if newest else None
        self._shown: Servable | None = None
        self._as_of = min(newest.info.as_of, clock()) if newest else 0.0  # not ahead of the clock for ever
        self._files = [self._file]
        for path in folder.glob("*safetensors*"):  # left by a killed publisher, including temporary ones
            if path.name != _name(self._file):
                path.unlink(missing_ok=True)
        for path in folder.glob(".*.safetensors.*"):
            path.unlink(missing_ok=True)

    def shown(self) -> int | None:
        """The published version, possibly by an earlier publisher of this folder; None: there is none."""
        return None if self._info is None else self._info.version

    def publish(self, predictor: Servable, *, version: int, learned_events: int, event_time: float) -> None:
        """Publish this version.

        Raises:
            OSError: The file cannot be written; the previous version stays published.
        """
        if self._deleted():
            predictor = self._begin_anew() or predictor
        if predictor is not self._shown:
            file = self._file + 1
            state = predictor.state()
            noted = State(state.tensors, {**state.meta, **self._noted}) if self._noted else state
            write_state(noted, self._folder / _name(file), durable=False)
            self._file, self._shown = file, predictor
            self._files.append(file)
        self._info = VersionInfo(version, learned_events, event_time, self._clock(), self._as_of, os.getpid())
        self._announce()
        while len(self._files) > _KEEP_FILES:
            (self._folder / _name(self._files.pop(0))).unlink(missing_ok=True)

    def confirm(self, as_of: float) -> None:
        """The published version contains everything that was in the log at this time."""
        as_of = min(as_of, self._clock())
        if as_of > self._as_of:
            self._as_of = as_of
            info, shown = self._info, self._shown
            if info is not None and shown is not None and self._deleted():
                self.publish(
                    shown, version=info.version, learned_events=info.learned_events, event_time=info.event_time
                )
            elif info is not None:
                self._info = replace(info, as_of=as_of, pid=os.getpid())
                self._announce()

    def close(self) -> None:
        """Close the announcement; the published version stays."""
        self._map.close()

    def _begin(self) -> mmap.mmap:
        make_model_folder(self._folder)
        path = self._folder / ANNOUNCEMENT
        announced = make_announcement(path)
        self._announcement = path  # looked at every moment: made once
        self._inode = path.stat().st_ino
        return announced

    def _deleted(self) -> bool:
        """Whether the announcement is no longer the file that is mapped: somebody has emptied the memory's folder."""
        try:
            return self._announcement.stat().st_ino != self._inode
        except OSError:
            return True

    def _begin_anew(self) -> Servable | None:
        """Create the folder again; the predictor of the present state if it names files that are gone."""
        must_be_kept(self._folder)
        log.error("the folder of published versions was emptied or deleted: publishing anew", folder=str(self._folder))
        before, self._map = self._map, self._begin()
        before.close()
        self._shown, self._files = None, []
        return None if self._moved is None else self._moved()

    def _announce(self) -> None:
        assert self._info is not None
        self._number += 1
        write_slot(self._map, Slot(self._number, self._file, self._info))


class FileSubscriber:
    """A server's side, one per model: `current` is the version in use.

    Args:
        folder: The model's folder in the live folder; it need not exist yet.
        build: Creates the predictor of a state; arrays are maps of the file.
        health: Its health.
        mapped: Called with each version once it is in use, on the thread that loads; must not raise.
    """

    def __init__(
        self,
        folder: Path,
        build: Callable[[State], Predictor],
        health: Health | None = None,
        mapped: Callable[[VersionInfo], None] = lambda info: None,
    ) -> None:
        self._mapped = mapped
        self.current: ServedVersion | None = None
        """Read it once per request: one attribute read, no lock."""
        self.trial = Trial()
        """Tries each version before it is served; rows that were answered may be offered to it."""
        self._folder = folder
        self._build = build
        self._map: mmap.mmap | None = None
        self._inode = 0
        self._looked = self._confirmed = b""
        self._file = -1
        self._refused = -1
        self._told = (-1, "")
        self._number = 0
        self._news = threading.Condition()
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._health = health or Health("subscriber")
        self._problem = ""
        self._thread: SupervisedThread | None = None

    def start(self) -> None:
        """Start to look for versions: all subscribers of a process share the thread that notices them, and each has its
        own to load them."""
        self._thread = SupervisedThread(self._watch, self._health, "subscriber", longest_wait_seconds=_LONGEST_WAIT)
        with suppress(OSError):  # the thread tries again and tells
            self.look()
        self._thread.start()
        _announcements.add(self._notice)

    def close(self) -> None:
        """Stop looking."""
        _announcements.remove(self._notice)
        self._stopping.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.stop()
            self._thread.join()
        self._unmap()

    def wait_for(self, version: int, timeout_seconds: float) -> ServedVersion | None:
        """The current version once it is this one or a later one, or after the timeout."""

        def come() -> bool:
            served = self.current
            return served is not None and served.info.version >= version

        with self._news:
            self._news.wait_for(come, timeout_seconds)
        return self.current

    def look(self) -> bool:
        """Load the announced version; returns whether it is new. Called by the thread, or manually without one."""
        announced = self._announced()
        if announced is None or announced == self._looked:
            return False
        slot = newest_slot(announced)
        if slot is None or slot.number < self._number:  # the newest is damaged: what is in use is newer than the other
            return False
        if slot.file == self._refused:  # announced again, because no newer records are waiting
            self._looked = announced
            return False
        before = self.current
        shards: Mapping[int, int]
        try:
            if slot.file != self._file or before is None:
                state = read_state(self._folder / _name(slot.file))
                predictor, shards = self._build(state), vector_of(state)
                self.trial.check(predictor, state, None if before is None else before.predictor)
            else:
                predictor, shards = before.predictor, before.shards
        except FileNotFoundError:
            return False  # a newer version has replaced it, or the folder is new: poll again
        except Exception as error:  # on any error the previous version stays in use
            self._looked = announced
            if isinstance(error, DamagedFile | UnusableVersion | OtherLayout):  # for good
                self._refused = slot.file
                log.error(
                    "published version cannot be used: the previous one stays in use",
                    version=slot.info.version,
                    problem=str(error),
                )
            elif self._told != (slot.file, str(error)):  # it is tried again, whenever it is announced again
                self._told = slot.file, str(error)
                log.exception("published version cannot be used: the previous one stays in use", file=slot.file)
            self._problem = f"the published version {slot.info.version} cannot be used: {error}"
            return False
        self._looked, self._file, self._number, self._problem = announced, slot.file, slot.number, ""
        with self._news:
            self.current = ServedVersion(predictor, slot.info, shards)
            self._news.notify_all()
        if before is None or before.info.version != slot.info.version:  # else it was only confirmed
            self._mapped(slot.info)
        return True

    @property
    def problem(self) -> str:
        """Why the announced version is not in use; empty if it is."""
        return self._problem

    @property
    def found(self) -> bool:
        """Whether there is an announcement to look at."""
        return self._map is not None

    def announces(self) -> bool:
        """Whether another version is announced than was looked at. Quick; one thread may ask. That the one in use is
        still the newest is announced every moment, and can wait for who calls `look` at intervals.
        """
        announced = self._map
        if announced is None:  # who loads looks for the folder
            return False
        try:
            found = announced[:]
        except ValueError:  # it is being closed
            return False
        if found in (self._looked, self._confirmed):
            return False
        slot, served = newest_slot(found), self.current
        in_use = None if served is None else (self._file, served.info.version)
        if slot is not None and (slot.file, slot.info.version) == in_use:
            self._confirmed = found
            return False
        return True

    def find_again(self) -> None:
        """Look anew if the folder was recreated; for who calls `look` at intervals."""
        if self._map is not None and self._replaced():
            log.warning("the folder of published versions was recreated", folder=str(self._folder))
            self._unmap()

    def _notice(self) -> bool:
        """Wake the thread that loads if another version is announced than was looked at."""
        if not self.announces():
            return False
        waited = not self._changed.is_set()
        self._changed.set()
        return waited

    def _watch(self) -> None:
        told = -math.inf
        while not self._stopping.is_set():
            self._changed.wait(_FIRST_LOOK_SECONDS if self._map is None else _OWN_LOOK_SECONDS)
            self._changed.clear()
            due = time.monotonic() - told >= _OWN_LOOK_SECONDS
            if due:
                self.find_again()
            self.look()
            if due:
                self._tell()
                told = time.monotonic()

    def _tell(self) -> None:
        if self._problem:
            self._health.degraded(self._problem)
        else:
            self._health.running()

    def _announced(self) -> bytes | None:
        """Both slots at this moment."""
        if self._map is None:
            path = self._folder / ANNOUNCEMENT
            try:
                inode = path.stat().st_ino  # first: if the file is replaced now, that is noticed later
                self._map = open_announcement(path)
            except FileNotFoundError:
                return None
            if self._map is None:
                return None
            self._inode = inode
        return self._map[:]

    def _replaced(self) -> bool:
        """Whether there is another announcement file than the mapped one: someone has cleared the memory's folder."""
        try:
            return (self._folder / ANNOUNCEMENT).stat().st_ino != self._inode
        except OSError:
            return False  # nothing new there yet

    def _unmap(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
            self._looked, self._file, self._refused, self._number = b"", -1, -1, 0


def _name(file: int) -> str:
    return f"{file}.safetensors"
