"""A server's side of freshness: how old the records of a version are when it comes into use here."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import structlog
from prometheus_client.metrics_core import Metric

from thalweg.memory.files import reserve
from thalweg.ops.telemetry.histogram import Histogram
from thalweg.ops.telemetry.latency_window import Recent
from thalweg.ops.telemetry.metrics import SERVER_METRICS, collected
from thalweg.ops.telemetry.replicas import Tally
from thalweg.stream.freshness.budget import Budget, within_window
from thalweg.stream.freshness.cohorts import Cohort, cohort_reader
from thalweg.stream.freshness.params import FreshnessParams
from thalweg.stream.publication.ports import VersionInfo

log = structlog.get_logger(__name__)

SECONDS = "thalweg_freshness_seconds"
MISSED = "thalweg_freshness_missed_total"
_MOST_WAITING = 64
_FOLD_SECONDS = 1.0
_RECENT = "freshness:"  # no model's name has a colon
_COUNTED = "freshness.counted"


class Freshness(Protocol):
    """How fresh a model is on this server: of one learner's versions, or of those of its shards together."""

    params: FreshnessParams

    def counted(self) -> tuple[tuple[list[int], float], int, tuple[list[int], float]]:
        """As `FreshnessWatch.counted`."""

    def budget_remaining(self) -> float | None:
        """As `FreshnessWatch.budget_remaining`."""

    def close(self) -> None:
        """As `FreshnessWatch.close`."""


class FreshnessWatch:
    """Counts a model's records when the first version that has learned them comes into use in this process.

    `mapped` is called by one thread; any thread may read.

    Args:
        live: The model's folder in the live folder.
        state: The model's state folder.
        params: What is promised.
        place: Which of the servers this one is, from 1.
        clock: Unix seconds.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        live: Path,
        state: Path,
        params: FreshnessParams,
        place: int = 1,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.params = params
        self._state, self._clock, self._ticks = state, clock, ticks
        self._ring = cohort_reader(live)
        self._counted = _Counted(live / _COUNTED)
        self._number = -1  # of the last cohort that was counted; below 0: what other servers counted is not known yet
        self._records = 0
        self._budget = Budget(state, place)
        self._lock = threading.Lock()
        self._histogram = Histogram(SERVER_METRICS[SECONDS][3])
        self._missed = 0
        self._waiting: list[tuple[float, int, float]] = []  # seconds, records, and when they came into use
        self._folded_at = 0.0
        self._recent = Recent()
        self._problem = ""

    def mapped(self, info: VersionInfo) -> None:
        """A version is in use from now on."""
        try:
            self._count(info.version, self._clock())
            self._problem = ""
        except (OSError, ValueError) as error:  # the version is in use all the same
            if not self._problem:
                log.warning("freshness cannot be measured", problem=str(error))
            self._problem = str(error)

    def close(self) -> None:
        """Save what was counted; may be called twice."""
        with self._lock:
            self._fold()
            self._budget.write()
        self._ring.close()
        self._counted.close()

    def counted(self) -> tuple[tuple[list[int], float], int, tuple[list[int], float]]:
        """Since the start: records by freshness and the sum of it, and those that were late; by freshness over the last
        minute."""
        now = self._ticks()
        with self._lock:
            self._fold()
            recent = self._recent.counts(now), self._recent.per_second(now)
            return (self._histogram.counts, self._histogram.sum), self._missed, recent

    def budget_remaining(self) -> float | None:
        """The share of the error budget that is left, below 0 if more was spent; None if nothing is promised."""
        if not self.params.objective:
            return None
        return self.params.remaining(*self.within_window())

    def within_window(self) -> tuple[int, int]:
        """Over the window of the error budget: records, and how many of them were late; over all servers."""
        with self._lock:
            self._fold()
            self._budget.write()
        return within_window(self._state, self.params.window_days, self._clock())

    def _count(self, version: int, now: float) -> None:
        if self._number < 0:
            self._number = self._counted.read()
        found: list[tuple[float, int]] = []
        for number, entry in self._ring.newer(self._number):
            cohort = Cohort(*entry)  # type: ignore[arg-type]  # as its layout says
            if cohort.version > version:
                break
            lost = cohort.before - self._records if self._records and number > self._number + 1 else 0
            if lost > 0:  # overwritten before they were read: at least as old
                found.append((now - cohort.appended, lost))
            found.append((now - cohort.appended, cohort.records))
            self._number, self._records = number, cohort.before + cohort.records
        if not found:
            return
        self._counted.write(self._number)
        ticks = self._ticks()
        with self._lock:
            self._waiting += [(seconds, records, ticks) for seconds, records in found]
            if len(self._waiting) >= _MOST_WAITING or ticks - self._folded_at >= _FOLD_SECONDS:
                self._fold()

    def _fold(self) -> None:
        """Count what waits, in one go: a busy model has a thousand versions a second. The caller holds the lock."""
        self._folded_at = self._ticks()
        if not self._waiting:
            return
        columns = np.array(self._waiting)
        seconds, records, moments = np.maximum(0.0, columns[:, 0]), columns[:, 1].astype(np.int64), columns[:, 2]
        self._waiting = []
        late = int(records[seconds > self.params.within_seconds].sum()) if self.params.objective else 0
        self._histogram.add(seconds, records)
        self._recent.add(seconds, moments, records)
        self._missed += late
        self._budget.add(int(records.sum()), late, self._clock())


def freshness_tally(model: str, watch: Freshness) -> Tally:
    """What a watch has counted, as a part of its process's tally."""
    histogram, missed, recent = watch.counted()
    return Tally({(MISSED, (model,)): missed}, {(SECONDS, (model,)): histogram}, recent={_RECENT + model: recent})


def recent_freshness(model: str, shown: Tally) -> dict[str, float | None]:
    """Over the last minute: the p50 and p99 of the freshness of a model's records, in seconds."""
    counts, _ = shown.recent.get(_RECENT + model, ([], 0.0))
    half, most = Recent.quantiles_of(counts, (0.5, 0.99)) or (None, None)
    return {"p50_seconds": half, "p99_seconds": most}


def objectives(watches: Iterable[tuple[str, Freshness]]) -> Iterable[Metric]:
    """What is promised of each model, and what is left of its error budget."""
    share, seconds = collected("thalweg_freshness_objective"), collected("thalweg_freshness_objective_seconds")
    remaining = collected("thalweg_freshness_budget_remaining")
    for model, watch in watches:
        if (left := watch.budget_remaining()) is not None:
            share.add_metric((model,), watch.params.objective)
            seconds.add_metric((model,), watch.params.within_seconds)
            remaining.add_metric((model,), left)
    return [share, seconds, remaining]


class _Counted:
    """The number of the last cohort that any server has counted, for one that starts; all share its file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: Any = None

    def read(self) -> int:
        """The number; 0: none. Raises OSError."""
        return int.from_bytes(self._opened()[:8], "little")

    def write(self, number: int) -> None:
        """Tell the others."""
        with suppress(OSError, ValueError):
            self._opened()[:8] = number.to_bytes(8, "little")

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None

    def _opened(self) -> Any:
        if self._map is None:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                reserve(handle, 8)
                self._map = mmap.mmap(handle, 8)
            finally:
                os.close(handle)
        return self._map
