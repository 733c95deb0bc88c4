"""What is published on this host, as the sender sees it."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.memory.relay.announced import MOST_COHORTS, checked_name
from thalweg.stream.freshness.cohorts import Cohort, cohort_reader
from thalweg.stream.publication.announcement import ANNOUNCEMENT, Slot, newest_slot, open_announcement
from thalweg.stream.relay.landing import landed

GENERATION = "generation"
"""In the meta of a published state: the generation of the owner that published it."""
_COHORT_SECONDS = 5.0
"""Older cohorts are announced no more: who is away for longer counts fewer records."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of the content of a published file."""

    file: int
    sha256: str
    size_bytes: int
    generation: int


def published_models(live: Path) -> Iterator[str]:
    """The models that are published in this folder, by learners of this host."""
    with suppress(OSError):
        for path in live.iterdir():
            with suppress(ValueError):
                if (path / ANNOUNCEMENT).exists():
                    yield checked_name(path.name)


class LocalModel:
    """The published versions of one model. One thread uses it.

    Args:
        folder: The model's folder in the live folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._map: mmap.mmap | None = None
        self._inode = -1
        self._seen = b""
        self._cohorts = cohort_reader(folder)
        self._content: Content | None = None
        self._whole = b""

    def newest(self) -> Slot | None:
        """The newest version that a running learner of this host has announced; None: there is none.

        What an ended one has left may be older than what another host has announced since.
        """
        try:
            inode = (self._folder / ANNOUNCEMENT).stat().st_ino
            if inode != self._inode:
                self.close()
                self._map, self._inode = open_announcement(self._folder / ANNOUNCEMENT), inode
        except OSError:
            self.close()
        self._seen = b"" if self._map is None else self._map[:]
        slot = newest_slot(self._seen) if self._seen else None
        if slot is None or not _runs(slot.info.pid) or landed(self._folder, slot):
            return None
        return slot

    def changed(self) -> bool:
        """Whether something was announced since `newest` looked. Any thread may call it."""
        opened = self._map
        try:
            return opened is not None and opened[:] != self._seen
        except ValueError:  # it is being closed
            return False

    def content(self, slot: Slot) -> Content | None:
        """The file of a version; None if a newer one has replaced it meanwhile. Raises OSError and ValueError."""
        if self._content is None or self._content.file != slot.file:
            try:
                self._whole = self._read(slot.file)
            except FileNotFoundError:
                return None
            digest, size = hashlib.sha256(self._whole).hexdigest(), len(self._whole)
            self._content = Content(slot.file, digest, size, _generation(self._whole))
        return self._content

    def whole(self, content: Content) -> bytes:
        """Its bytes. Raises OSError: they are gone, a newer version is there."""
        return self._whole or self._read(content.file)

    def sent(self) -> None:
        """The content was sent: its bytes are not kept in memory."""
        self._whole = b""

    def _read(self, file: int) -> bytes:
        return (self._folder / f"{file}.safetensors").read_bytes()

    def cohorts(self, version: int, now: float) -> tuple[tuple[int, int, float, int, int], ...]:
        """What the versions up to this one have learned lately, as `Announced` has it; `now`: Unix seconds."""
        found = []
        with suppress(OSError, ValueError):
            for number, entry in self._cohorts.newer(0):
                one = Cohort(*entry)  # type: ignore[arg-type]  # as its layout says
                if one.version <= version:
                    found.append((number, one))
        lately = [(number, one) for number, one in found[-MOST_COHORTS:] if now - one.appended < _COHORT_SECONDS]
        return tuple(
            (number, one.version, max(0.0, now - one.appended), one.records, one.before) for number, one in lately
        )

    def close(self) -> None:
        """Release resources; may be called twice."""
        if self._map is not None:
            self._map.close()
        self._map, self._inode, self._content, self._whole = None, -1, None, b""
        self._cohorts.close()


def _runs(pid: int) -> bool:
    """Whether a process of this id runs on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return pid > 0


def _generation(whole: bytes) -> int:
    """That of the owner, from the header of a state file; 0: none is said. Raises ValueError."""
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    meta: Any = json.loads(header.get("__metadata__", {}).get("meta", "{}"))
    return int(meta.get(GENERATION, 0))
