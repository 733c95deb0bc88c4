"""A fold kept near the end of a copy: entries are applied as they are copied, so that little is left to be learned."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.origin import differences
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.revisions import learning_software
from thalweg.proto.records import Partition
from thalweg.stream.exceptions import first_line
from thalweg.stream.journal.entries import Entry
from thalweg.stream.journal.journal import JournalError
from thalweg.stream.learn.blocks import HistoryLost
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.rebuild import apply_again
from thalweg.stream.learn.saving.warm import Warm
from thalweg.stream.learn.settings import StateMismatch
from thalweg.stream.log.log import Reader
from thalweg.stream.standby.copy import ShardCopy

log = structlog.get_logger(__name__)

_PATIENCE_SECONDS = 5.0  # without a record that the journal has: the log is away, say
LATE_SECONDS = 5.0
"""A fold that has been behind for so long goes on from the next version, instead of learning what is before it."""

_Place = tuple[dict[Partition, int], int]
"""Offsets and learned events of a version."""


class WarmFold:
    """The fold of one shard that another process learns. Used by one thread at a time.

    Entries are applied once, but for the newest one: that another follows shows that its owner is done with it (has
    kept invalid records as dead letters, has acted on alarms); else whoever takes over has to be. Each version that is
    copied is compared with what the fold had, or has, when it was at it. Where they differ (its owner was superseded,
    or began anew; another processor computes other last bits), or entries are missing, the fold is restored from it.

    Args:
        fold: A fold that has applied nothing.
        copy: The copy.
        open_reader: Opens the log at a position. Raises LogError.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        fold: Fold,
        copy: ShardCopy,
        open_reader: Callable[[dict[Partition, int]], Reader],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fold, self._copy, self._open, self._ticks = fold, copy, open_reader, ticks
        self._reader: Reader | None = None
        self._whole = False
        self._base: Manifest | None = None
        self._applied: dict[int, Entry] = {}
        self._places: dict[int, _Place] = {}
        self._alarms: State | None = None
        self._outcomes: list[Outcome] = []
        self._level_at = self._heard = ticks()
        self.level = False
        """Whether it has applied all that it may."""
        self.loads = 0
        """How often it was restored from a copied version."""
        self.problem = ""
        """Why it is not at the end of the copy; empty if it is, or on its way."""

    @property
    def version(self) -> int | None:
        """The version that it is at; None while it is at none."""
        return self.fold.version if self._whole else None

    @property
    def behind_seconds(self) -> float:
        """For how long there has been something in the copy that it has not applied."""
        return 0.0 if self.level else self._ticks() - self._level_at

    def follow(self, give_up: Callable[[], bool] = lambda: False, *, to_version: bool = False) -> None:
        """Get to the end of the copy. Raises StateMismatch: the copied state was made under other settings.

        Args:
            give_up: Called before each entry.
            to_version: Only as far as the copied version.
        """
        entries = self._copy.entries()
        newest = next(reversed([*self._copy.snapshots.manifests()]), None)
        if newest is None:
            self.problem = "no version of it is here yet"
            return
        if not self._is_current(newest, entries):
            self._load()
        if self._whole and newest.version > self.fold.version:
            self._apply(newest.version, give_up)
        if self._whole and newest.version <= self.fold.version and self._reaches(newest):
            self._trim(entries)
            last = max((entry.version for entry in entries), default=0)
            if not to_version and last - 1 > self.fold.version:
                self._apply(last - 1, give_up)
            self.level = self._whole and self.fold.version >= last - 1
        else:
            self.level = False
        if self.level:
            self._level_at, self.problem = self._ticks(), ""

    def taken(self) -> Warm | None:
        """What a processor goes on from, if it is of the history that the copy now holds. Then it is used no more.

        Raises StateMismatch.
        """
        self.follow(to_version=True)
        self.close()
        base = self._base
        if not self._whole or base is None or self._copy.version != base.version or self.fold.version < base.version:
            return None
        self.fold.saved(base.version)
        return Warm(self.fold, self._alarms, tuple(self._outcomes))

    def close(self) -> None:
        """Close the log."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _is_current(self, newest: Manifest, entries: list[Entry]) -> bool:
        """Whether what it has applied is the beginning of what the copy holds, which can be gone on from."""
        if not self._whole or self._base is None:
            return False
        version, begin = self.fold.version, self._copy.journal.begins_after()
        if begin is None:
            return version == newest.version and self._reaches(newest)
        end = max([newest.version, *(entry.version for entry in entries)])
        same = all(self._applied.get(one.version, one) == one for one in entries if one.version <= version)
        late = newest.version > version and self._ticks() - self._level_at > LATE_SECONDS
        return begin <= version <= end and same and not late

    def _reaches(self, newest: Manifest) -> bool:
        """Whether the copied version is on the way that the fold has gone, which is restored from it if not."""
        if self._base is not None and (newest.version, newest.created) == (self._base.version, self._base.created):
            return True
        same = self._places.get(newest.version) == (dict(newest.offsets), newest.events_learned)
        if same and newest.version == self.fold.version:
            same = self.fold.learner.state().sha256() == newest.state_sha256
        else:  # it cannot be compared any more
            same = same and not differences(newest.software, learning_software(newest.learner))
        self._whole = same
        if same:
            self._base, self._alarms = newest, self._copy.snapshots.part(newest.version, "alarms")
        else:
            log.warning(
                "a followed shard is not what its owner has: restored anew",
                model=self._copy.model,
                version=newest.version,
            )
            self._load()
        return self._whole

    def _load(self) -> None:
        self._whole = False
        newest = self._copy.snapshots.newest()
        if newest is None:
            self.problem = "no version of it is here yet"
            return
        self.fold.load(newest)
        self.loads += 1
        self._whole, self._base, self._alarms = True, newest.manifest, newest.parts.get("alarms")
        self._applied, self._outcomes = {}, []
        self._places = {self.fold.version: (dict(self.fold.end), self.fold.learned)}

    def _trim(self, entries: list[Entry]) -> None:
        """Forget what no later copy is compared with."""
        assert self._base is not None
        least = self._base.version
        first = entries[0].version if entries else least
        self._applied = {version: entry for version, entry in self._applied.items() if version >= first}
        self._places = {version: place for version, place in self._places.items() if version >= least}
        self._outcomes = [one for one in self._outcomes if one.version > least and one.alarms]

    def _apply(self, upto: int, give_up: Callable[[], bool]) -> None:
        self._heard = self._ticks()
        entries = {entry.version: entry for entry in self._copy.entries()}
        try:
            if self._reader is None:
                self._reader = self._open(dict(self.fold.end))
            else:
                self._reader.seek(dict(self.fold.end))
            for outcome in apply_again(
                self.fold,
                self._copy.journal,
                self._reader,
                upto=upto,
                give_up=lambda: give_up() or self._ticks() - self._heard > _PATIENCE_SECONDS,
            ):
                self._heard = self._ticks()
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
            log.warning("a followed shard is restored anew", model=self._copy.model, problem=self.problem)
            with suppress(Exception):
                self.close()
        else:
            if self.fold.version < upto and not give_up():
                self.problem = "the records of its journal cannot be read"
