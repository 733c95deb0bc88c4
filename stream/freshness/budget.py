"""The error budget: how many records became visible, and how many of them too late, by hour, kept over restarts.

Each server process has a file of its own in the model's state folder, of which one place is written at a time; whoever
is asked reads the files of all.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from thalweg.memory.files import make_folder
from thalweg.stream.freshness.params import MOST_DAYS

log = structlog.get_logger(__name__)

_PLACE = struct.Struct("<qqqq")  # hour, records, records that were late, and what makes their exclusive or this:
_CHECK = 0x7468616C77656721
_HOURS = MOST_DAYS * 24 + 1
_HOUR_SECONDS = 3600
_WRITE_SECONDS = 1.0


class Budget:
    """One server process's count of a model's records. One thread uses it.

    Args:
        folder: The model's state folder; made if it is not there: on a host that only serves, nothing else does.
        place: Which of the servers this one is, from 1.
    """

    def __init__(self, folder: Path, place: int = 1) -> None:
        self._path = folder / f"freshness-{place}.hours"
        self._hour = self._records = self._late = 0
        self._unwritten = False
        self._written_at = 0.0
        self._problem = ""

    def add(self, records: int, late: int, now: float) -> None:
        """Count records, and how many of them were late; a clock that was set back counts in its latest hour."""
        hour = max(self._hour, int(now // _HOUR_SECONDS))
        if hour != self._hour:
            self.write()
            self._hour, self._records, self._late = hour, 0, 0
            for kept, count, missed in _hours(self._path).tolist():  # of the process before
                if kept == hour:
                    self._records, self._late = count, missed
        self._records, self._late, self._unwritten = self._records + records, self._late + late, True
        if not 0 <= now - self._written_at < _WRITE_SECONDS:
            self._written_at = now
            self.write()

    def write(self) -> None:
        """Write the current hour; a failure is logged once and tried again."""
        if not self._unwritten:
            return
        check = self._hour ^ self._records ^ self._late ^ _CHECK
        body = _PLACE.pack(self._hour, self._records, self._late, check)
        try:
            handle = self._opened()
            try:
                os.pwrite(handle, body, self._hour % _HOURS * _PLACE.size)
            finally:
                os.close(handle)
            self._problem, self._unwritten = "", False
        except OSError as error:
            if not self._problem:
                log.warning("the freshness budget cannot be saved", path=str(self._path), problem=str(error))
            self._problem = str(error)

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT
        try:
            return os.open(self._path, flags, 0o600)
        except FileNotFoundError:  # where nothing is learned, no learner makes the model's folder
            make_folder(self._path.parent)
            return os.open(self._path, flags, 0o600)


def within_window(folder: Path, days: int, now: float) -> tuple[int, int]:
    """Records that became visible in the newest `days` days, and how many of them were late, over all servers."""
    newest = int(now // _HOUR_SECONDS)
    records = late = 0
    for path in sorted(folder.glob("freshness-*.hours")):
        found = _hours(path)
        held = found[found[:, 0] > max(0, newest - days * 24)]  # also what a clock that was ahead has counted
        records, late = records + int(held[:, 1].sum()), late + int(held[:, 2].sum())
    return records, late


def _hours(path: Path) -> NDArray[np.int64]:
    """Hour, records and late ones of each place in a file, (N, 3); damaged places are left out."""
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    places = np.frombuffer(content[: len(content) // _PLACE.size * _PLACE.size], dtype="<i8").reshape(-1, 4)
    sound: NDArray[np.int64] = places[np.bitwise_xor.reduce(places, axis=1) == _CHECK][:, :3]
    return sound
