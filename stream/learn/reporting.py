"""Decides when a model reports its status: about once a second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import structlog

from thalweg.models.contract.gauges import GaugeValue
from thalweg.proto.event import Batch
from thalweg.proto.records import Partition
from thalweg.stream.exceptions import first_line
from thalweg.stream.health.repeats import RecentRepeats
from thalweg.stream.health.skips import RecentSkips
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.observer import LearnerReport
from thalweg.stream.learn.outcome import Outcome

log = structlog.get_logger(__name__)

REPORT_SECONDS = 1.0


class Reporter:
    """Makes reports of a fold: at most one a second, and one within a second of every change.

    It has no thread of its own: the loop calls `offer` after every block and while idle.

    Args:
        fold: The fold to report on.
        tell: Receives the reports.
        clock: Unix seconds.
        ticks: Monotonic seconds.
        learner: The learner's registered name.
    """

    def __init__(
        self,
        fold: Fold,
        tell: Callable[[LearnerReport], None],
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        learner: str = "",
    ) -> None:
        self._fold = fold
        self._tell = tell
        self._clock = clock
        self._ticks = ticks
        self._lag: Mapping[Partition, int] = MappingProxyType({})
        self._newest_time: float | None = None
        self._batch_events: int | None = None
        self._made = -math.inf
        self.problem = ""
        """Why no report can be made; empty if one can."""
        self.skips = ""
        """That most events are skipped by the learner, or dropped as duplicates; empty if they are not."""
        self._repeats = RecentRepeats()
        self._recent_skips, self._events = RecentSkips(learner), 0
        self._newest: Batch | None = None
        self._reported: tuple[int, Mapping[Partition, int]] | None = None

    def note(self, outcome: Outcome) -> None:
        """Note that a block was applied."""
        self._events += outcome.events
        self._repeats.note(outcome.events, outcome.duplicates, outcome.repeated)
        if outcome.newest is not None:
            self._newest = outcome.newest
        if outcome.newest_time is not None:
            self._newest_time = outcome.newest_time
        if outcome.learn_seconds:
            self._batch_events = -(-outcome.events // len(outcome.learn_seconds))

    def offer(self, lag: Mapping[Partition, int] | None = None, *, must: bool = False) -> None:
        """Report if something changed and the last report is long enough ago, or in any case if `must`.

        Args:
            lag: Records not yet consumed, by partition; None: unchanged.
            must: Report now, because the loop ends.
        """
        if lag is not None:
            self._lag = MappingProxyType(dict(lag))
        now, state = self._ticks(), (self._fold.version, self._lag)
        if not must and (now - self._made < REPORT_SECONDS or state == self._reported):
            return
        self._made, self._reported = now, state
        try:
            self._tell(self._report())
        except Exception as error:  # figures must not stop the learning
            if (problem := first_line(error)) != self.problem:
                log.exception("a status report cannot be made: learning continues", problem=problem)
            self.problem = problem
        else:
            self.problem = ""

    def _report(self) -> LearnerReport:
        learner, moment = self._fold.learner, self._clock()
        gauges = dict(learner.gauges())
        self._look_at_skips(gauges)
        return LearnerReport(
            time=moment,
            version=self._fold.version,
            learned=self._fold.learned,
            state_bytes=learner.state().size_bytes,
            gauges=MappingProxyType(gauges),
            gauges_declared=tuple(learner.gauges_declared),
            lag=self._lag,
            newest_time=self._newest_time,
            batch_events=self._batch_events,
            evaluation=self._fold.report(moment),
        )

    def _look_at_skips(self, gauges: Mapping[str, GaugeValue]) -> None:
        labelled = self._fold.learner.schema.label != "none"
        given = self._fold.learned if labelled else self._events
        found = self._recent_skips.told(given, gauges, self._newest, labelled=labelled)
        if found and not self.skips:
            log.warning("a learner skips most events", problem=found)
        elif (repeats := self._repeats.told()) and not found:
            found = repeats
            if not self.skips:
                log.warning("a model drops most events as duplicates", problem=found)
        self.skips = found
