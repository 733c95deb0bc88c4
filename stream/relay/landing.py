"""Where a version from another host lands: the files that this host's servers map, as a learner here writes them."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from thalweg.memory.relay.announced import Announced, Order
from thalweg.stream.freshness.cohorts import cohort_writer
from thalweg.stream.publication.announcement import (
    ANNOUNCEMENT,
    Slot,
    make_announcement,
    newest_slot,
    write_slot,
)
from thalweg.stream.publication.live_folder import make_model_folder
from thalweg.stream.publication.ports import VersionInfo
from thalweg.stream.publication.ring import RingWriter

log = structlog.get_logger(__name__)

_MARK = "relayed"
"""In a model's live folder: what was published there last on behalf of another host."""
_KEEP_FILES = 3  # a server that just read the announcement must still find the file


class Landing:
    """Publishes one model's versions on this host on behalf of another. One thread uses it.

    Args:
        folder: The model's folder in the live folder; created if needed, also when it is deleted later.

    Raises:
        OSError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ring: RingWriter | None = None
        self._slot: Slot | None = None
        self._order: Order | None = None
        self._number = self._file = self._cohort = 0
        self._files: list[int] = []
        self._sha256 = ""
        self._begin()

    @property
    def order(self) -> Order | None:
        """That of the newest version here; None: there is none, or the folder was deleted."""
        if self._lost():
            self._begin()
        return self._order

    @property
    def version(self) -> int:
        """The newest version here; -1: none."""
        return -1 if self._slot is None or self._order is None else self._slot.info.version

    @property
    def sha256(self) -> str:
        """Of its content; empty: there is none."""
        return self._sha256 if self._order is not None else ""

    def incoming(self) -> Path:
        """Where to write the content of the next version."""
        return self._folder / ".incoming"

    def piece(self, at: int, size: int) -> bytes:
        """A part of the present version's file. Raises OSError."""
        with (self._folder / _name(self._file)).open("rb") as file:
            file.seek(at)
            return file.read(size)

    def publish(self, announced: Announced, content: Path | None, now: float) -> None:
        """Publish a version. Raises OSError: the one before stays published.

        Args:
            announced: With ages as of `now`.
            content: Its file, which is moved; None: as that of the version before.
            now: Unix seconds.
        """
        self._tell_cohorts(announced, now)
        if content is not None:
            content.rename(self._folder / _name(self._file + 1))
            self._file += 1
            self._files.append(self._file)
        as_of = 0.0 if announced.as_of_age is None else now - announced.as_of_age
        published = now - announced.published_age
        info = VersionInfo(
            announced.version, announced.learned_events, announced.event_time, published, as_of, os.getpid()
        )
        self._number += 1
        try:
            self._note(announced)  # first: no sender here takes it for a learner's
        except OSError:
            self._number -= 1
            if content is not None:  # it takes memory
                (self._folder / _name(self._files.pop())).unlink(missing_ok=True)
                self._file -= 1
            raise
        slot = Slot(self._number, self._file, info)
        write_slot(self._map, slot)
        self._slot = slot
        self._order, self._sha256 = announced.order, announced.sha256
        while len(self._files) > _KEEP_FILES:
            (self._folder / _name(self._files.pop(0))).unlink(missing_ok=True)

    def close(self) -> None:
        """Release resources; what is published stays."""
        self._map.close()
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _begin(self) -> None:
        make_model_folder(self._folder)
        path = self._folder / ANNOUNCEMENT
        self._map = make_announcement(path)
        self._inode = path.stat().st_ino
        self._slot = newest_slot(self._map[:])
        self._number = self._slot.number if self._slot else 0
        self._file = self._slot.file if self._slot else 0
        self._files = [self._file]
        self._order, self._sha256, self._cohort = self._noted()
        for left in (*self._folder.glob("*.safetensors"), self.incoming()):
            if left.name != _name(self._file):
                left.unlink(missing_ok=True)

    def _lost(self) -> bool:
        try:
            lost = (self._folder / ANNOUNCEMENT).stat().st_ino != self._inode
        except OSError:
            lost = True
        if lost:
            log.error("the folder of published versions was emptied or deleted", folder=str(self._folder))
            self.close()
        return lost

    def _tell_cohorts(self, announced: Announced, now: float) -> None:
        """Before the version is seen: what it has learned first. That is not known is no reason not to serve it."""
        same = self._order is not None and self._order[:2] == announced.order[:2]
        with suppress(OSError, ValueError):
            if self._ring is None:
                self._ring = cohort_writer(self._folder)
            for number, version, age, records, before in announced.cohorts if self._order is not None else ():
                if number > self._cohort if same else version > self.version:  # numbers are the sender's own
                    self._ring.append(version, now - age, records, before)
        self._cohort = max((one[0] for one in announced.cohorts), default=self._cohort if same else 0)

    def _note(self, announced: Announced) -> None:
        record = {
            "order": announced.order,
            "sha256": announced.sha256,
            "cohort": self._cohort,
            "number": self._number,
        }
        beside = self._folder / f".{_MARK}"
        beside.write_text(json.dumps(record), encoding="utf-8")
        beside.rename(self._folder / _MARK)

    def _noted(self) -> tuple[Order | None, str, int]:
        """What was published here last; nothing if it is not what the announcement says."""
        found = _mark(self._folder)
        try:
            if self._slot is None or int(found["number"]) != self._slot.number:
                return None, "", 0
            return Order(*map(int, found["order"])), str(found["sha256"]), int(found["cohort"])
        except (LookupError, TypeError, ValueError):
            return None, "", 0


def landed(folder: Path, slot: Slot) -> bool:
    """Whether a version was published on behalf of another host."""
    try:
        return int(_mark(folder)["number"]) >= slot.number
    except (LookupError, TypeError, ValueError):
        return False


def _mark(folder: Path) -> Any:
    try:
        return json.loads((folder / _MARK).read_bytes())
    except (OSError, ValueError):
        return {}


def _name(file: int) -> str:
    return f"{file}.safetensors"
