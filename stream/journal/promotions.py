"""Which model answers under a name, and which ones did before: a small journal of promotions, one file per name.

A line per promotion, JSON preceded by its CRC-32 as in the journal of a model. Whoever acts on a promotion flushes the
file first, so that no power failure takes back what a caller has seen.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from thalweg.memory.files import flush, make_folder, sync_folder

log = structlog.get_logger(__name__)

FIRST, PROMOTED, BACK, CONFIGURED, TESTED = "first", "promoted", "back", "configured", "tested"
"""Causes: the first champion; promoted; went back; the configuration names another champion than before; promoted by a
test."""

_TOLD: set[tuple[str, int, int]] = set()
"""Damaged lines that were told, by file, number and checksum: a process reads a file for several purposes."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """From here on another model answers."""

    number: int
    """0: the first champion; each promotion, also one back, has the next number."""
    champion: str
    """The model that answers from here on."""
    cause: str
    """`first`, `promoted`, `back`, `configured` or `tested`."""
    configured: str
    """The champion that the configuration named then; empty where it names none."""
    time: float
    """Unix seconds."""
    evidence: Mapping[str, Any] | None = None
    """Of a promotion by a test: what decided it, and from where in the log the next test goes on."""


class Promotions:
    """The promotions of one name. Any process may read and append; appending takes turns.

    Args:
        path: The file; it need not exist.
        clock: Unix seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._read: tuple[tuple[int, int, int], tuple[Promotion, ...]] | None = None

    def read(self) -> tuple[Promotion, ...]:
        """All promotions, oldest first; what is returned survives a power failure. Raises OSError.

        A line that is half written or damaged is left out.
        """
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                as_it_is = (found.st_ino, found.st_size, found.st_mtime_ns)
                if self._read is None or self._read[0] != as_it_is:
                    flush(file.fileno())
                    sync_folder(self._path.parent)
                    self._read = as_it_is, tuple(_whole(file.read(), self._path))
        except FileNotFoundError:
            return ()
        return self._read[1]

    def changed(self) -> bool:
        """Whether the file may hold more than was read last; costs one look at the folder."""
        try:
            found = self._path.stat()
        except OSError:
            return False
        return self._read is None or self._read[0] != (found.st_ino, found.st_size, found.st_mtime_ns)

    def settle(self, configured: str, members: Sequence[str]) -> tuple[Promotion, ...]:
        """The promotions after the configuration was followed: the first champion is recorded, and so is another one
        that the configuration names since, or names in place of a model that is gone.

        Args:
            configured: The champion that the configuration names.
            members: The models that may answer under the name.

        Raises:
            OSError: The file cannot be written.
        """
        with self._turn() as file:
            known = tuple(_whole(file.read(), self._path))
            if not known:
                self._append(file, configured, FIRST, configured)
            elif known[-1].configured != configured or known[-1].champion not in members:
                self._append(file, configured, CONFIGURED, configured)
        return self.read()

    def promote(self, champion: str, expected: Promotion | None) -> Promotion:
        """Record that this model answers from now on; durable when it returns.

        Args:
            champion: The model.
            expected: The newest promotion that the caller has seen, None if there was none.

        Raises:
            Overtaken: Somebody else has recorded a promotion since.
            OSError: The file cannot be written; nothing is promoted.
        """
        return self._record(champion, PROMOTED, expected)

    def go_back(self, champion: str, expected: Promotion | None) -> Promotion:
        """The same for the model before, as `before` names it."""
        return self._record(champion, BACK, expected)

    def _record(
        self, champion: str, cause: str, expected: Promotion | None, evidence: Mapping[str, Any] | None = None
    ) -> Promotion:
        with self._turn() as file:
            known = tuple(_whole(file.read(), self._path))
            newest = known[-1] if known else None
            if newest != expected:
                raise Overtaken(f"{newest.champion if newest else 'nothing'} was promoted meanwhile: look again")
            return self._append(file, champion, cause, newest.configured if newest else "", evidence)

    def promote_tested(self, champion: str, expected: Promotion, evidence: Mapping[str, Any]) -> Promotion:
        """The same as `promote`, for a model that a test has found to be better."""
        return self._record(champion, TESTED, expected, evidence)

    def adopt(self, texts: Iterable[bytes]) -> bool:
        """Go on from what another host has recorded of this name, if that goes further: of several the one with the
        most promotions, of equally many the one whose newest was made last. Returns whether it did. Raises OSError.

        Args:
            texts: The contents of the others' files, or their ends.
        """
        found = [(one[-1].number, one[-1].time, text) for text in texts if (one := tuple(_whole(text, self._path)))]
        if not found:
            return False
        number, made, text = max(found)
        with self._turn() as file:
            content = file.read()
            known = tuple(_whole(content, self._path))
            if known and (number, made) <= (known[-1].number, known[-1].time):
                return False
            whole = text if text.startswith(content) else self._before(text, content) + text
            differs = (place for place, (one, two) in enumerate(zip(content, whole)) if one != two)
            same = next(differs, min(len(content), len(whole)))
            file.truncate(same)  # it is another end than here: promotions on two hosts at once
            file.write(whole[same:])
            file.flush()
            flush(file.fileno())
        sync_folder(self._path.parent)
        return True

    def _before(self, text: bytes, content: bytes) -> bytes:
        """The lines of a content that come before all of a text, which may be the end of a file alone."""
        first = min(one.number for one in _whole(text, self._path))
        lines = content.split(b"\n")[:-1]
        kept = [line + b"\n" for line in lines if all(one.number < first for one in _whole(line + b"\n", self._path))]
        return b"".join(kept)

    @contextmanager
    def _turn(self) -> Iterator[BinaryIO]:
        """The file, locked, at its beginning."""
        make_folder(self._path.parent)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            yield file

    def _append(
        self, file: BinaryIO, champion: str, cause: str, configured: str, evidence: Mapping[str, Any] | None = None
    ) -> Promotion:
        file.seek(0)
        content = file.read()
        end = content.rfind(b"\n") + 1
        file.truncate(end)  # what a killed writer has left
        newest = max((one.number for one in _whole(content, self._path)), default=-1)
        number = max(content.count(b"\n"), newest + 1)  # the newest lines alone may be here, as other hosts tell them
        made = Promotion(number, champion, cause, configured, self._clock(), evidence)
        try:
            file.write(_line(made))
            file.flush()
            flush(file.fileno())
            sync_folder(self._path.parent)
        except OSError:
            os.ftruncate(file.fileno(), end)
            raise
        return made


class Overtaken(Exception):
    """Another promotion was recorded first."""


def before(known: Sequence[Promotion]) -> str | None:
    """The champion to go back to: the one before the newest promotion that was not taken back; None: there is none."""
    line: list[str] = []
    for one in known:
        if one.cause == BACK and len(line) > 1:
            line.pop()
        if not line or line[-1] != one.champion:
            line.append(one.champion)
    return line[-2] if len(line) > 1 else None


def _line(made: Promotion) -> bytes:
    record = {name: getattr(made, name) for name in Promotion.__dataclass_fields__}
    if made.evidence is None:
        del record["evidence"]  # as versions before the test wrote it
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _whole(content: bytes, path: Path) -> Iterator[Promotion]:
    for number, line in enumerate(content.split(b"\n")[:-1]):  # what follows the last newline is being written
        try:
            if zlib.crc32(line[9:]) != int(line[:8], 16):
                raise ValueError("checksum does not match")
            yield Promotion(**json.loads(line[9:]))
        except (ValueError, TypeError) as error:
            damage = str(path), number, zlib.crc32(line)
            if damage not in _TOLD:
                _TOLD.add(damage)
                log.error(
                    "a recorded promotion is damaged and left out", path=damage[0], number=number, problem=str(error)
                )
