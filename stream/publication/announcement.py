"""The announcement: a small mapped file that says which version of a model is current.

It has two slots, written in turn, each with a checksum. A learner that is killed while it writes damages only the slot
that is not in use; the other one still names the current version.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from thalweg.memory.files import reserve
from thalweg.stream.publication.ports import VersionInfo

ANNOUNCEMENT = "announcement"
"""Name of the file."""
_SLOT = struct.Struct("<QQqqdddq")  # number, file, version, learned events, event time, published, as of, pid
_SLOT_BYTES = 128


@dataclass(frozen=True, slots=True)
class Slot:
    """What the announcement contains about one version."""

    number: int
    """Number of the announcement; the highest is the newest."""
    file: int
    """Number of the file that holds its tensors."""
    info: VersionInfo

    def pack(self) -> bytes:
        """Encoded, with checksum."""
        info = self.info
        body = _SLOT.pack(
            self.number,
            self.file,
            info.version,
            info.learned_events,
            info.event_time,
            info.published_at,
            info.as_of,
            info.pid,
        )
        return body + zlib.crc32(body).to_bytes(4, "little")

    @classmethod
    def unpack(cls, content: bytes) -> Slot | None:
        """The decoded slot; None where it is damaged or empty."""
        body, check = content[: _SLOT.size], content[_SLOT.size : _SLOT.size + 4]
        if len(check) < 4 or zlib.crc32(body) != int.from_bytes(check, "little"):
            return None
        number, file, *info = _SLOT.unpack(body)
        return cls(number, file, VersionInfo(*info)) if number else None


def make_announcement(path: Path) -> mmap.mmap:
    """The publisher's map of the file, created if needed. Raises OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        reserve(handle, 2 * _SLOT_BYTES)
        return mmap.mmap(handle, 2 * _SLOT_BYTES)
    finally:
        os.close(handle)


def open_announcement(path: Path) -> mmap.mmap | None:
    """A subscriber's read-only map of the file; None while its publisher creates it. Raises OSError."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < 2 * _SLOT_BYTES:
            return None
        return mmap.mmap(file.fileno(), 2 * _SLOT_BYTES, access=mmap.ACCESS_READ)


def write_slot(announced: mmap.mmap, slot: Slot) -> None:
    """Announce a version: write the slot that does not hold the newest one."""
    content = slot.pack()
    at = (slot.number % 2) * _SLOT_BYTES
    announced[at : at + len(content)] = content


def newest_slot(announced: bytes) -> Slot | None:
    """The newest undamaged slot; None: nothing is announced."""
    if len(announced) < 2 * _SLOT_BYTES:
        return Slot.unpack(announced)
    numbers = [_SLOT.unpack_from(announced, at)[0] for at in (0, _SLOT_BYTES)]
    order = (0, _SLOT_BYTES) if numbers[0] >= numbers[1] else (_SLOT_BYTES, 0)
    whole = (Slot.unpack(announced[at : at + _SLOT_BYTES]) for at in order)  # the other only if this one is damaged
    return next((slot for slot in whole if slot is not None), None)
