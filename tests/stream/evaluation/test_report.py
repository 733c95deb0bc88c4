"""A report is of one moment: it stays as it is whatever is learned after, and nobody can write into it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from tests.stream.evaluation.test_monitor import Life, batches
from thalweg.stream.evaluation.report import EvaluationReport


def values(report: EvaluationReport) -> str:
    return repr([getattr(report, field.name) for field in fields(report)])


def test_a_report_does_not_change_after_it_was_made_and_says_what_the_monitor_said_then() -> None:
    events, life = batches(8192, turned=2500), Life(None)
    made: list[tuple[EvaluationReport, str]] = []

    for first in range(0, len(events), 16):
        life.follow(events[first : first + 16])
        monitor = life.monitor
        report = monitor.report(float(first))
        assert (report.metrics, report.recent) == (monitor.metrics(), monitor.recent())
        assert (report.baseline, report.baseline_recent) == (monitor.frozen.metrics(), monitor.frozen.recent())
        assert report.recent_bounds == monitor.live.recent_bounds()
        assert report.continual == monitor.continual.metrics()
        assert report.drift_scores == monitor.drift.scores()
        assert list(report.alarms) == monitor.drift.alarms
        assert report.open_alarm == monitor.drift.open
        assert report.curve == monitor.curve.points
        assert (report.time, report.events, report.classes) == (float(first), 64 * (first + 16), monitor.live.classes)
        made.append((report, values(report)))

    assert any(report.alarms for report, _ in made)
    assert [values(report) for report, _ in made] == [then for _, then in made]
    assert len({then for _, then in made}) == len(made)


def test_making_reports_changes_no_figure_in_any_bit() -> None:
    events, alone, watched = batches(4096, turned=2500), Life(None), Life(None)

    alone.follow(events)
    for batch in events:
        watched.follow([batch])
        watched.monitor.report(0.0)

    assert watched.monitor.state().sha256() == alone.monitor.state().sha256()


def test_a_report_says_how_many_events_came_since_the_last_label_over_a_restart_too() -> None:
    life = Life(None)
    labelled = batches(640, turned=10_000)
    life.follow(labelled)
    assert life.monitor.report(0.0).unlabelled_events == 0

    life.follow([batch.unlabelled() for batch in batches(1280, turned=10_000)])

    again = Life(None)
    again.monitor.restore(life.monitor.state())
    assert life.monitor.report(0.0).unlabelled_events == again.monitor.report(0.0).unlabelled_events == 1280
    life.follow(labelled)
    assert life.monitor.report(0.0).unlabelled_events == 0


def test_nobody_can_write_into_a_report() -> None:
    life = Life(None)
    life.follow(batches(640, turned=10_000))
    report: Any = life.monitor.report(0.0)

    with pytest.raises(FrozenInstanceError):
        report.events = 0
    for name in ("figures", "recent_figures", "baseline", "baseline_recent", "continual", "drift_scores"):
        with pytest.raises(TypeError):
            getattr(report, name)["accuracy"] = 1.0


def test_a_report_knows_the_points_that_are_newer_than_an_earlier_one() -> None:
    events, life = batches(4096, turned=10_000), Life(None)
    life.follow(events[:32])
    earlier = life.monitor.report(0.0)
    life.follow(events[32:])
    later = life.monitor.report(1.0)

    fresh = later.points_since(earlier.events)

    assert fresh
    assert (*earlier.curve, *fresh) == later.curve
