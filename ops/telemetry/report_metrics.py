"""Metrics from the learners' last reports: from one report per model, so that a page is consistent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from prometheus_client.metrics_core import Metric

from thalweg.ops.telemetry.metrics import collected
from thalweg.proto.records import Partition
from thalweg.stream.evaluation.levels import Recovery
from thalweg.stream.evaluation.report import EvaluationReport
from thalweg.stream.learn.observer import LearnerReport

_MOVED_SHOWN = 10  # columns at the newest alarm
_Sample: TypeAlias = tuple[str, tuple[str, ...], float]
"""A name, the labels after those common to all samples of the model, and the value."""
_OF_GROUPS = ("kafka_consumergroup_lag", "kafka_consumergroup_lag_sum")
REPORTED = (
    *_OF_GROUPS,
    "thalweg_lag_seconds",
    "thalweg_state_bytes",
    "thalweg_prequential",
    "thalweg_prequential_bound",
    "thalweg_continual",
    "thalweg_frozen_prequential",
    "thalweg_control_prequential",
    "thalweg_unanswered_events",
    "thalweg_left_out_events",
    "thalweg_micro_batch_events",
    "thalweg_quality_floor",
    "thalweg_quality_floor_breached",
    "thalweg_worst_case_accuracy",
    "thalweg_drift_quality",
    "thalweg_drift_unrecovered",
    "thalweg_drift_score",
    "thalweg_drift_active",
    "thalweg_drift_severity",
    "thalweg_drift_feature_distance",
)
"""All names that are computed here; described in `COLLECTED`."""


def families(
    reports: Sequence[tuple[str, LearnerReport]],
    joiners: Sequence[tuple[str, Mapping[Partition, int]]] = (),
    clock: Callable[[], float] = time.time,
) -> Iterable[Metric]:
    """The metric families of these models' reports.

    Args:
        reports: Pairs of model name and report.
        joiners: Pairs of model name and the lag of its joiner, by partition.
        clock: Unix seconds; the lag of a model grows while it does not consume.
    """
    made = {name: collected(name) for name in REPORTED}
    for model, report in reports:
        for name, labels, value in _samples(report, clock()):
            owner = f"thalweg.{model}" if name in _OF_GROUPS else model
            made[name].add_metric((owner, *labels), value)
    for model, lag in joiners:
        for name, labels, value in _lags(lag):
            made[name].add_metric((f"thalweg.{model}.joiner", *labels), value)
    return made.values()


def lag_seconds(report: LearnerReport, now: float) -> float | None:
    """Age of the newest consumed event while more records are waiting; None before the first."""
    if report.newest_time is None:
        return None
    return max(0.0, now - report.newest_time) if any(report.lag.values()) else 0.0


def _lags(lag: Mapping[Partition, int]) -> Iterator[_Sample]:
    sums: dict[str, int] = {}
    for partition, behind in lag.items():
        yield "kafka_consumergroup_lag", (partition.topic, str(partition.number)), behind
        sums[partition.topic] = sums.get(partition.topic, 0) + behind
    for topic, behind in sums.items():
        yield "kafka_consumergroup_lag_sum", (topic,), behind


def _samples(report: LearnerReport, now: float) -> Iterator[_Sample]:
    yield from _lags(report.lag)
    if (seconds := lag_seconds(report, now)) is not None:
        yield "thalweg_lag_seconds", (), seconds
    yield "thalweg_state_bytes", (), report.state_bytes
    if report.batch_events is not None:
        yield "thalweg_micro_batch_events", (), report.batch_events
    if report.evaluation is not None:
        yield from _evaluated(report.evaluation)


def _evaluated(report: EvaluationReport) -> Iterator[_Sample]:
    for window, figures in (("all", report.figures), ("recent", report.recent_figures)):
        for metric, (value, limits) in figures.items():
            yield "thalweg_prequential", (metric, window), value
            for bound, limit in zip(("lower", "upper"), limits or ()):
                yield "thalweg_prequential_bound", (metric, window, bound), limit
    for window, values in (("all", report.baseline), ("recent", report.baseline_recent)):
        yield from _named("thalweg_frozen_prequential", values, window)
    yield "thalweg_unanswered_events", (), report.unanswered
    yield "thalweg_left_out_events", (), report.left_out
    for window, controls in (("all", report.controls), ("recent", report.controls_recent)):
        for control, values in controls.items():
            for metric, value in values.items():
                yield "thalweg_control_prequential", (control, metric, window), value
    if report.quality_floor is not None:
        yield "thalweg_quality_floor", (report.task.quality,), report.quality_floor
    if report.floor_breached is not None:
        yield "thalweg_quality_floor_breached", (), float(report.floor_breached)
    yield from _recovery(report.recovery)
    yield from _named("thalweg_continual", report.continual)
    yield "thalweg_worst_case_accuracy", (), report.worst_case_accuracy
    for place, score in report.drift_scores.items():
        yield "thalweg_drift_score", place, score
    alarm = report.open_alarm
    yield "thalweg_drift_active", (), float(alarm is not None)
    yield "thalweg_drift_severity", (), 0.0 if alarm is None else alarm.severity
    if report.alarms:
        for column, moved in report.alarms[-1].features[:_MOVED_SHOWN]:
            yield "thalweg_drift_feature_distance", (column,), moved


def _recovery(recovery: Recovery | None) -> Iterator[_Sample]:
    if recovery is None:
        return
    yield "thalweg_drift_quality", (recovery.metric, "before"), recovery.before
    if recovery.now is not None and recovery.recovered is not None:
        yield "thalweg_drift_quality", (recovery.metric, "now"), recovery.now
        yield "thalweg_drift_unrecovered", (), float(not recovery.recovered)


def _named(name: str, values: Mapping[str, float], *labels: str) -> Iterator[_Sample]:
    for metric, value in values.items():
        yield name, (metric, *labels), value
