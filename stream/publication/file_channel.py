"""Published versions: how a learner process shows what it knows to server processes, without a lock on either side.

Each version's servable tensors are a new file in a folder that both see, best a memory-backed one. A small mapped file
announces which is current; servers look at it every few milliseconds, map the new file, and swap one reference. The old
file is unlinked: a mapped file lives until its last reader lets go.

The announcement has two slots, written in turn, each with a checksum. A learner that is killed while it writes spoils
the slot that nobody reads yet; the other one still says what was current.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from thalweg.memory.snapshots.state import DamagedFile, State, read_state, write_state
from thalweg.models.contract.capabilities import AlternativeInputs, Explainer, InputValidator, capability
from thalweg.models.contract.learner import Predictor
from thalweg.proto.schema import Inputs, TensorSpec

log = structlog.get_logger(__name__)

_SLOT = struct.Struct("<QQqqdddq")  # number, file, version, learned events, event time, published, as of, pid
_SLOT_BYTES = 128
_ANNOUNCEMENT = "announcement"
_LOOKS_AT_FOLDER = 250  # every so many looks: is it still the same folder?
_KEEP_FILES = 3  # a server that just read the announcement must still find the file


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """What an answer is made from."""

    version: int
    learned_events: int
    event_time: float
    """Unix seconds of the newest event in it; 0: none."""
    published_at: float
    """Unix seconds."""
    as_of: float
    """Unix seconds at which the learner last knew that nothing newer was waiting in the log."""
    pid: int
    """Of the learner."""

    def staleness_seconds(self, now: float) -> float:
        """How old the newest knowledge that could be in an answer is."""
        return max(0.0, now - self.as_of) if self.as_of else 0.0


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A predictor and what it is; never changes.

    What the predictor can do beyond predicting is looked up here, once: `isinstance` with a protocol takes
    microseconds, which is too long for every request.
    """

    predictor: Predictor
    info: VersionInfo
    check: Callable[[Inputs], None] | None = field(init=False, repr=False, compare=False)
    """As in `InputValidator`; None: it takes all that fits its shapes and dtypes."""
    explain: Callable[[Inputs, int], list[Any]] | None = field(init=False, repr=False, compare=False)
    """As in `Explainer`; None: it cannot."""
    alternative_inputs: Mapping[str, TensorSpec] | None = field(init=False, repr=False, compare=False)
    """As in `AlternativeInputs`; None: there are none."""

    def __post_init__(self) -> None:
        validator = capability(self.predictor, InputValidator)
        explainer = capability(self.predictor, Explainer)
        others = capability(self.predictor, AlternativeInputs)
        object.__setattr__(self, "check", None if validator is None else validator.check)
        object.__setattr__(self, "explain", None if explainer is None else explainer.explain)
        object.__setattr__(self, "alternative_inputs", None if others is None else others.alternative_inputs)


@dataclass(frozen=True, slots=True)
class _Slot:
    number: int
    file: int
    info: VersionInfo

    def pack(self) -> bytes:
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
    def unpack(cls, content: bytes) -> _Slot | None:
        body, check = content[: _SLOT.size], content[_SLOT.size : _SLOT.size + 4]
        if len(check) < 4 or zlib.crc32(body) != int.from_bytes(check, "little"):
            return None
        number, file, *info = _SLOT.unpack(body)
        return cls(number, file, VersionInfo(*info)) if number else None


class Publisher:
    """The learner's side, one per model. One thread uses it.

    Args:
        folder: This model's own folder in the live folder; made if need be.
        clock: Unix seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)
        self._map = _make_announcement(folder / _ANNOUNCEMENT)
        newest = _newest(self._map[:])
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
        """Let go of the announcement; what is shown stays shown."""
        self._map.close()

    def _announce(self) -> None:
        assert self._info is not None
        self._number += 1
        content = _Slot(self._number, self._file, self._info).pack()
        at = (self._number % 2) * _SLOT_BYTES
        self._map[at : at + len(content)] = content


class Published:
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
        self._thread = threading.Thread(target=self._watch, name="published", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._let_go()

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
        slot = _newest(announced)
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
                self._let_go()
            self.look()

    def _announced(self) -> bytes | None:
        """Both slots as they are now."""
        if self._map is None:
            path = self._folder / _ANNOUNCEMENT
            if not path.exists():
                return None
            self._map = _open_announcement(path)
            if self._map is None:
                return None
            self._inode = path.stat().st_ino
        return self._map[:]

    def _replaced(self) -> bool:
        """Whether there is another announcement than the one that is mapped: somebody emptied the memory's folder."""
        try:
            return (self._folder / _ANNOUNCEMENT).stat().st_ino != self._inode
        except OSError:
            return False  # nothing new there yet

    def _let_go(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
            self._looked, self._file = b"", -1


def _name(file: int) -> str:
    return f"{file}.safetensors"


def _make_announcement(path: Path) -> mmap.mmap:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(handle, 0, 2 * _SLOT_BYTES)  # else a full memory folder would kill us as we write
        return mmap.mmap(handle, 2 * _SLOT_BYTES)
    finally:
        os.close(handle)


def _open_announcement(path: Path) -> mmap.mmap | None:
    """None while its publisher is making it."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < 2 * _SLOT_BYTES:
            return None
        return mmap.mmap(file.fileno(), 2 * _SLOT_BYTES, access=mmap.ACCESS_READ)


def _newest(announced: bytes) -> _Slot | None:
    slots = [_Slot.unpack(announced[at : at + _SLOT_BYTES]) for at in (0, _SLOT_BYTES)]
    whole = [slot for slot in slots if slot is not None]
    return max(whole, key=lambda slot: slot.number) if whole else None
