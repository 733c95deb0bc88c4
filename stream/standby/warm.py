"""A fold kept at the end of a copy: entries are applied as they are copied, so that little is left to be learned."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from thalweg.memory.snapshots.snapshots import Manifest, software
from thalweg.memory.snapshots.state import State
from thalweg.proto.records import Partition
from thalweg.stream.exceptions import first_line
from thalweg.stream.journal.entries import Entry
from thalweg.stream.journal.journal import JournalError
from thalweg.stream.learn.blocks import HistoryLost
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.rebuild import apply_again
from thalweg.stream.learn.settings import StateMismatch
from thalweg.stream.learn.warm import Warm
from thalweg.stream.log.log import Reader
from thalweg.stream.standby.copy import ShardCopy

log = structlog.get_logger(__name__)

_PATIENCE_SECONDS = 5.0  # without a record that the journal has: the log is away, say

_Place = tuple[dict[Partition, int], int]
"""Offsets and learned events of a version."""


class WarmFold:
    """The fold of one shard that another process learns. Used by one thread at a time.

    Entries are applied once. If the copy turns out to be of another history than what was applied (its owner was
    superseded, or began anew), or leads past it with a gap, the fold is restored from the copied version. So it is with
    every version that was made by other software, whose arithmetic may differ in the last bits.

    Args:
        fold: A fold that has applied nothing.
        copy: The copy.
        open_reader: Opens the log at a position. Raises LogError.
    """

    def __init__(self, fold: Fold, copy: ShardCopy, open_reader: Callable[[dict[Partition, int]], Reader]) -> None:
        self.fold, self._copy, self._open = fold, copy, open_reader
        self._reader: Reader | None = None
        self._whole = False
        self._base: Manifest | None = None
        self._applied: dict[int, Entry] = {}
        self._places: dict[int, _Place] = {}
        self._alarms: State | None = None
        self._outcomes: list[Outcome] = []
        self._heard = 0.0
        self.loads = 0
        """How often it was restored from a copied version."""
        self.problem = ""
        """Why it is not at the end of the copy; empty if it is."""

    @property
    def version(self) -> int | None:
        """The version that it is at; None while it is at none."""
        return self.fold.version if self._whole else None

    def follow(self, give_up: Callable[[], bool] = lambda: False) -> None:
        """Get to the end of the copy. `give_up`: called before each entry.

        Raises:
            StateMismatch: The copied state was made under other settings.
        """
        entries = self._copy.entries()
        if not self._is_current(entries):
            self._whole = False
            self._load()
        if not self._whole:
            return
        self._trim(entries)
        if entries and entries[-1].version > self.fold.version:
            self._apply(give_up)

    def taken(self) -> Warm | None:
        """What a processor goes on from, if it is of the history that the copy now holds. Then it is used no more."""
        self.close()
        entries = self._copy.entries()
        if not self._is_current(entries) or self._base is None:
            return None
        self._trim(entries)
        self.fold.saved(self._base.version)
        return Warm(self.fold, self._alarms, tuple(self._outcomes))

    def close(self) -> None:
        """Close the log."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _is_current(self, entries: list[Entry]) -> bool:
        """Whether the fold has applied what the copy holds, and nothing else."""
        newest = next(reversed([*self._copy.snapshots.manifests()]), None)
        if not self._whole or newest is None or self._base is None:
            return False
        version = self.fold.version
        if newest.version != self._base.version or newest.created != self._base.created:
            if newest.version > version or {name: newest.software.get(name) for name in software()} != software():
                return False
            if self._places.get(newest.version) != (dict(newest.offsets), newest.events_learned):
                return False
            self._base = newest
            self._alarms = self._copy.snapshots.part(newest.version, "alarms")
        begin = self._copy.journal.begins_after()
        if begin is None:
            return version == newest.version
        end = max([newest.version, *(entry.version for entry in entries)])
        same = all(self._applied.get(one.version, one) == one for one in entries if one.version <= version)
        return begin <= version <= end and same

    def _load(self) -> None:
        newest = self._copy.snapshots.newest()
        if newest is None:
            self.problem = "no version of it is here yet"
            return
        self.fold.load(newest)
        self.loads += 1
        self._whole, self._base, self._alarms = True, newest.manifest, newest.parts.get("alarms")
        self._applied, self._outcomes, self.problem = {}, [], ""
        self._places = {self.fold.version: (dict(self.fold.end), self.fold.learned)}

    def _trim(self, entries: list[Entry]) -> None:
        """Forget what no later copy is compared with."""
        assert self._base is not None
        least = self._base.version
        first = entries[0].version if entries else least
        self._applied = {version: entry for version, entry in self._applied.items() if version >= first}
        self._places = {version: place for version, place in self._places.items() if version >= least}
        later = [one for one in self._outcomes if one.version > least]
        self._outcomes = [one for one in later[:-1] if one.alarms] + later[-1:]

    def _apply(self, give_up: Callable[[], bool]) -> None:
        if self._reader is None:
            self._reader = self._open(dict(self.fold.end))
        else:
            self._reader.seek(dict(self.fold.end))
        self._heard = time.monotonic()
        entries = {entry.version: entry for entry in self._copy.entries()}
        try:
            for outcome in apply_again(
                self.fold,
                self._copy.journal,
                self._reader,
                give_up=lambda: give_up() or time.monotonic() - self._heard > _PATIENCE_SECONDS,
            ):
                self._heard = time.monotonic()
                self._applied[outcome.version] = entries[outcome.version]
                self._places[outcome.version] = (dict(self.fold.end), self.fold.learned)
                self._outcomes.append(outcome)
        except StateMismatch:
            self._whole = False
            raise
        except (HistoryLost, JournalError) as error:
            self.problem = str(error)
        except Exception as error:  # an event that cannot be learned, say, which its owner leaves out
            self._whole, self.problem = False, f"it cannot be learned on: {first_line(error)}"
            log.warning("a followed shard is restored anew", problem=self.problem)
            with suppress(Exception):
                self.close()
        else:
            behind = max(entries, default=0) > self.fold.version
            self.problem = "the records of its journal cannot be read" if behind and not give_up() else ""
