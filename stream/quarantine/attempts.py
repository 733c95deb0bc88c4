"""What a learner was applying when its process ended: a block that ends one process after the other is found by it.

An exception can be caught; a call that never returns, a crash of a C library, `os._exit` or the kernel's killer for
lack of memory cannot. All that is left of such a process is what it wrote before: the version that it was applying.
"""

from __future__ import annotations

import json
import os
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias

import structlog

from thalweg.proto.records import Partition
from thalweg.stream.journal.entries import Skip

log = structlog.get_logger(__name__)

SUSPECT_DEATHS = 2
"""After so many processes that ended within one version its events are tried one by one."""
FATAL_DEATHS = 2
"""An event is left out once so many processes have ended while it was tried alone: one may be killed by chance."""
HOPELESS_DEATHS = 3
"""After so many more, during which no event was tried, the model is stopped."""

_RECORD = struct.Struct("<8sqqqq")
_MAGIC = b"attempt1"


Place: TypeAlias = tuple[Partition, int, int | None]
"""Where an event is: its partition, offset, and row in the record."""


def place_of(one: Skip) -> Place:
    """The place that a skip names."""
    return one.partition, one.offset, one.row


def fatal(trials: Iterable[Skip]) -> set[Place]:
    """The events during whose trials FATAL_DEATHS processes have ended."""
    return {place for place, count in Counter(map(place_of, trials)).items() if count >= FATAL_DEATHS}


class Attempts(Protocol):
    """Which version is being applied. No method raises: what is lost costs another attempt, nothing else."""

    def deaths(self, version: int) -> int:
        """How many processes in a row have ended while they applied this version."""

    def trials(self, version: int) -> tuple[Skip, ...]:
        """The events of this version that were tried alone when processes ended, one for each such process."""

    def begin(self, version: int) -> None:
        """This version is applied from now on."""

    def end(self) -> None:
        """It is applied, or has raised an exception."""

    def pause(self) -> None:
        """It is not applied now, and nothing is known of it: a stop was asked for, the log is away, the model stands
        still. A process that ends then says nothing about the version.
        """

    def trying(self, one: Skip | None) -> None:
        """This event of the version is tried alone from now on; None: no longer a single one."""

    def forget(self) -> None:
        """Begin anew, as if no process had ended."""

    def close(self) -> None:
        """Write no more."""


class NoAttempts:
    """For a fold that outlives nothing: a notebook, a replay, tests."""

    def deaths(self, version: int) -> int:
        return 0

    def trials(self, version: int) -> tuple[Skip, ...]:
        return ()

    def begin(self, version: int) -> None:
        pass

    def end(self) -> None:
        pass

    def pause(self) -> None:
        pass

    def trying(self, one: Skip | None) -> None:
        pass

    def forget(self) -> None:
        pass

    def close(self) -> None:
        pass


class FileAttempts:
    """In two files beside the journal: a few bytes for each version, and the events once they are tried one by one.

    Nothing is flushed: the files have to outlive the process, not the machine.

    Args:
        folder: The model's folder, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self._events = folder / "attempted.json"
        self._file: int | None = None
        self._suspect = self._deaths = self._current = 0
        self._tried: Skip | None = None
        self._trials: list[Skip] = []
        try:
            self._file = os.open(folder / "attempt.bin", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            raw = os.pread(self._file, _RECORD.size, 0)
        except OSError as error:
            log.warning("a block that ends this process will not be found", problem=str(error))
            raw = b""
        if len(raw) == _RECORD.size and raw.startswith(_MAGIC):
            _, self._suspect, self._deaths, self._current, applying = _RECORD.unpack(raw)
            if applying:
                self._deaths = self._deaths + 1 if self._current == self._suspect else 1
                self._suspect = self._current
            if self._deaths:
                self._read_events(bool(applying))
        self._write(applying=False)

    def deaths(self, version: int) -> int:
        return self._deaths if version == self._suspect else 0

    def trials(self, version: int) -> tuple[Skip, ...]:
        return tuple(self._trials) if version == self._suspect else ()

    def begin(self, version: int) -> None:
        self._current = version
        if version > self._suspect:
            self._acquit()
        self._write(applying=True)

    def end(self) -> None:
        if self._current == self._suspect:
            self._acquit()
        self._write(applying=False)

    def pause(self) -> None:
        self._write(applying=False)

    def trying(self, one: Skip | None) -> None:
        self._tried = one
        self._write_events()

    def forget(self) -> None:
        self._acquit()
        self._write(applying=False)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _acquit(self) -> None:
        self._suspect = self._deaths = 0
        self._clear_events()

    def _write(self, *, applying: bool) -> None:
        if self._file is None:
            return
        with suppress(OSError):  # a full disk; the journal tells that
            record = _RECORD.pack(_MAGIC, self._suspect, self._deaths, self._current, applying)
            os.pwrite(self._file, record, 0)

    # -- events -------------------------------------------------------------------------------------------------------

    def _clear_events(self) -> None:
        if self._tried is not None or self._trials:
            self._tried, self._trials = None, []
            with suppress(OSError):
                self._events.unlink(missing_ok=True)

    def _read_events(self, applying: bool) -> None:
        try:
            record = json.loads(self._events.read_bytes())
            if record["version"] != self._suspect:
                return
            self._trials = [_skip(one) for one in record["trials"]]
            if applying and record["tried"] is not None:
                self._trials.append(_skip(record["tried"]))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning("the events that ended earlier processes cannot be read: tried again", problem=str(error))

    def _write_events(self) -> None:
        record: Mapping[str, object] = {
            "version": self._current,
            "tried": None if self._tried is None else _named(self._tried),
            "trials": [_named(one) for one in self._trials],
        }
        with suppress(OSError):
            self._events.write_text(json.dumps(record), encoding="utf-8")


def _named(one: Skip) -> list[object]:
    return [*one.partition, one.offset, one.row, one.cause]


def _skip(named: list[object]) -> Skip:
    topic, number, offset, row, cause = named
    if not (isinstance(number, int) and isinstance(offset, int) and (row is None or isinstance(row, int))):
        raise ValueError(f"expected the place of an event, got {named!r}")
    return Skip(Partition(str(topic), number), offset, row, str(cause))
