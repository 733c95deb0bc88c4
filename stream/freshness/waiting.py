"""The learner's side of freshness: what each version has learned first, told to the servers before they see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from thalweg.proto.records import Records
from thalweg.stream.freshness.append_times import AppendTimes
from thalweg.stream.freshness.cohorts import Cohort, cohort_writer, cohorts
from thalweg.stream.freshness.tracker import NoTracker
from thalweg.stream.publication.ring import RingWriter

log = structlog.get_logger(__name__)

CAUGHT_UP = "caught-up"
"""The file in a model's state folder that says that it has caught up with its log once."""
_MOST_WAITING = 64  # blocks whose records are not in groups yet
_LATE_SECONDS = 60.0


class _Waiting(NamedTuple):
    """Records that no published version has learned yet."""

    version: int
    """The one that will have learned them."""
    appended: NDArray[np.float64]
    """Append times, (N,)."""
    records: NDArray[np.int64]
    """Records appended at each of them, (N,)."""


class FreshnessTracker(NoTracker):
    """Tells the servers of one model when the records of each version were appended. One thread uses it.

    A model that is new learns what the log has before it promises anything: nothing is told until it has caught up
    once, which a file in its state folder remembers.

    Args:
        live: The model's folder in the live folder.
        mark: The file that says that the model has caught up once.
        replaced: Called with the number of records whose time cannot be that of their append.
        model: The model's name, for the log.
    """

    def __init__(
        self, live: Path, mark: Path, replaced: Callable[[int], None] = lambda count: None, model: str = ""
    ) -> None:
        self._live, self._mark, self._tell_replaced, self._model = live, mark, replaced, model
        self._times = AppendTimes()
        self._ring: RingWriter | None = None
        self._waiting: list[_Waiting] = []
        self._promised = mark.exists()
        self._restarted = self._promised  # until the backlog of a stop is learned
        self._before = 0
        self._problem = ""

    def taken(self, version: int, records: Sequence[Records], now: float) -> None:
        known = self._times.replaced
        for run in records:
            appended = self._times.of(run.times, now)
            self._wait(_Waiting(version, appended, np.ones(len(appended), dtype=np.int64)))
        if self._times.replaced > known:
            self._tell_replaced(self._times.replaced - known)
        if (
            self._restarted
            and self._waiting
            and now - (oldest := float(self._waiting[0].appended.min())) > _LATE_SECONDS
        ):
            self._restarted = False
            log.warning(
                "records have waited while nothing was learned: they count as late",
                model=self._model,
                oldest_seconds=round(now - oldest, 1),
            )

    def learned_again(self, version: int, appended: float, records: int, now: float) -> None:
        if version > self._told() and version not in {one.version for one in self._waiting}:
            self._wait(_Waiting(version, np.array([min(appended or now, now)]), np.array([records])))

    def caught_up(self, now: float) -> None:
        self._times.caught_up(now)
        self._restarted = False
        if not self._promised:
            self._promised = True
            self._waiting = []
            try:
                self._mark.touch()
            except OSError as error:
                log.warning("cannot note that the model has caught up", model=self._model, problem=str(error))

    def publishing(self, version: int, now: float) -> None:
        waiting = [one for one in self._waiting if one.version <= version]
        self._waiting = [one for one in self._waiting if one.version > version]
        if not waiting:
            return
        try:
            ring = self._opened()
            for appended, records in _grouped(waiting):
                ring.append(version, appended, records, self._before)
                self._before += records
            self._problem = ""
        except (OSError, ValueError) as error:  # freshness is not measured; nothing else depends on it
            if not self._problem:
                log.warning("freshness cannot be told to the servers", model=self._model, problem=str(error))
            self._problem = str(error)

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _opened(self) -> RingWriter:
        if self._ring is None:
            self._ring = cohort_writer(self._live)
        return self._ring

    def _told(self) -> int:
        """The newest version of which the servers were told, perhaps by an earlier process that died before it could
        publish it."""
        try:
            newest = self._opened().newest()
        except (OSError, ValueError):
            newest = None
        return -1 if newest is None else Cohort(*newest).version  # type: ignore[arg-type]

    def _wait(self, one: _Waiting) -> None:
        if not self._promised or not len(one.appended):
            return
        self._waiting.append(one)
        if len(self._waiting) > _MOST_WAITING:
            times, counts = zip(*_grouped(self._waiting))
            self._waiting = [_Waiting(one.version, np.array(times), np.array(counts))]


def _grouped(waiting: Sequence[_Waiting]) -> list[tuple[float, int]]:
    return cohorts(np.concatenate([one.appended for one in waiting]), np.concatenate([one.records for one in waiting]))
