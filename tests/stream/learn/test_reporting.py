"""Reports come about once a second while a model changes, and once more when it goes quiet."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stream.chain import Chain
from tests.stream.learn.test_processor import SETTINGS, log_of
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.proto.records import Partition
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.observer import LearnerReport, NoObserver
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.reporting import Reporter


class Reports(NoObserver):
    def __init__(self) -> None:
        self.made: list[LearnerReport] = []

    def reported(self, report: LearnerReport) -> None:
        self.made.append(report)


class Changing:
    """A fold as a reporter sees it, whose version is set by hand."""

    version, learned, learner = 0, 0, Chain()

    def report(self, now: float) -> None:
        return None


def test_a_report_is_due_a_second_after_the_last_one_and_only_after_a_change() -> None:
    now, fold, reports = [0.0], Changing(), Reports()
    reporter = Reporter(fold, reports.reported, clock=lambda: 7.0, ticks=lambda: now[0])  # type: ignore[arg-type]

    def made_at(moment: float, version: int, behind: int) -> bool:
        now[0], fold.version, before = moment, version, len(reports.made)
        reporter.offer({Partition("t", 0): behind})
        return len(reports.made) > before

    assert made_at(0.0, 1, 5)  # the first at once
    assert not made_at(0.5, 2, 0)  # too soon
    assert made_at(1.0, 2, 0)  # nothing came since, but the last one did not have what came before
    assert not made_at(5.0, 2, 0)  # nothing new
    assert made_at(5.1, 2, 3)  # what waits is new
    reporter.offer(must=True)
    assert [report.version for report in reports.made] == [1, 2, 2, 2]
    assert reports.made[-1].lag == {Partition("t", 0): 3}
    assert reports.made[-1].time == 7.0


def test_the_newest_time_is_that_of_the_latest_block_that_had_events() -> None:
    reports = Reports()
    fold = Fold(Chain(), InMemorySnapshots(), SETTINGS)
    reporter = Reporter(fold, reports.reported)

    reporter.offer()
    reporter.note(Outcome(version=1, learned=1, newest_time=9.0))
    reporter.note(Outcome(version=2, learned=1, newest_time=5.0))
    reporter.note(Outcome(version=3, learned=1))
    reporter.offer(must=True)

    assert [report.newest_time for report in reports.made] == [None, 5.0]


def test_a_gauge_that_a_learner_goes_on_counting_in_does_not_change_a_report() -> None:
    class Counting(Chain):
        counts: Any = {"steps": 1.0}  # noqa: RUF012

        def gauges(self) -> Any:
            return self.counts

    reports, learner = Reports(), Counting()
    Reporter(Fold(learner, InMemorySnapshots(), SETTINGS), reports.reported).offer()

    learner.counts["steps"] = 2.0

    assert reports.made[0].gauges == {"steps": 1.0}
    with pytest.raises(TypeError):
        reports.made[0].gauges["steps"] = 3.0  # type: ignore[index]


def test_whoever_cannot_take_a_report_stops_no_learning() -> None:
    def tell(report: Any) -> None:
        raise ValueError("could not convert string to float: 'many'")

    reporter = Reporter(Fold(Chain(), InMemorySnapshots(), SETTINGS), tell)

    reporter.offer(must=True)

    assert reporter.problem == "ValueError: could not convert string to float: 'many'"


def test_when_a_processor_ends_the_last_report_is_that_of_its_last_version() -> None:
    reports = Reports()
    processor = Processor(Chain(), log_of(30), InMemorySnapshots(), SETTINGS, ports=Ports(observer=reports))

    processor.run(until_end=True)

    last = reports.made[-1]
    assert (last.version, last.learned) == (processor.version, 30)
    assert not any(last.lag.values())
