"""Metrics of the learner process: updated per micro-batch, never per event; its page is written about once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

from thalweg.models.contract.learner import Learner
from thalweg.ops.telemetry import learner_gauges, report_metrics
from thalweg.ops.telemetry.learner_gauges import ModelGauges, Shown
from thalweg.ops.telemetry.live_file import LiveFile
from thalweg.ops.telemetry.metrics import LEARNER_METRICS
from thalweg.proto.records import Partition
from thalweg.proto.rejected import REASONS
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.drift.params import ACTIONS
from thalweg.stream.health.registry import Health
from thalweg.stream.learn.observer import LearnerReport, NoObserver
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.log.log import Gap
from thalweg.stream.quarantine.skips import LEARNER_ERROR

_OF_JOINERS = (
    "thalweg_labels_joined_total",
    "thalweg_labels_unmatched_total",
    "thalweg_labels_duplicated_total",
    "thalweg_label_delay_seconds",
    "thalweg_join_store_up",
)
"""Exported only for models with late labels: without a joiner, a 0 would say that its store is down."""
_CAUSES = ("operator", "drift")  # causes of rollbacks, other than a learner's own


class LearnerMetrics:
    """The registry of a learner process, and its page in the live folder."""

    def __init__(self, page: Path | None = None, health: Health | None = None) -> None:
        self.registry = CollectorRegistry()
        self._metrics = _make(LEARNER_METRICS, self.registry)
        self._file = LiveFile(page, self.render, health) if page is not None else None
        self._models: dict[str, ModelMetrics] = {}
        self._joiners: dict[str, JoinMetrics] = {}
        self._adding = threading.Lock()
        self.registry.register(self)

    def model(self, name: str, watchers: Sequence[tuple[str, str]] = ()) -> ModelMetrics:
        """The observer of one model, given its pairs of detector and signal; a restarted learner has the same one."""
        with self._adding:
            if name not in self._models:  # replaced as a whole: a page may be rendered at the same time
                self._models = {**self._models, name: ModelMetrics(name, self._metrics, watchers)}
            return self._models[name]

    def forget(self, name: str) -> None:
        """Export no gauges of a model any more, which is another process's now; its counters stay."""
        with self._adding:
            if (model := self._models.get(name)) is not None:
                model.last = None

    def joining(self, name: str) -> JoinMetrics:
        """The observer of one model's joiner."""
        made = self._joiners[name] = JoinMetrics(name, self._metrics)
        return made

    def collect(self) -> Iterable[Metric]:
        """Metrics of the last reports; all those of a model come from one report."""
        latest = [(model, last) for model in self._models.values() if (last := model.last) is not None]
        return [
            *report_metrics.families(
                [(model.name, last.report) for model, last in latest],
                [(joiner.name, joiner.lag) for joiner in list(self._joiners.values())],
            ),
            *learner_gauges.families([(model.gauges, last.gauges) for model, last in latest]),
        ]

    def start(self) -> None:
        """Start writing the page about once a second."""
        if self._file is not None:
            self._file.start()

    def close(self) -> None:
        """Write the page a last time and stop."""
        if self._file is not None:
            self._file.close()

    def render(self) -> bytes:
        """The page."""
        return bytes(generate_latest(self.registry))


class Last(NamedTuple):
    """The last report of a model."""

    report: LearnerReport
    gauges: Shown
    """The gauges of the report that can be exported."""


class ModelMetrics(NoObserver):
    """Counts the notifications of one model's processor, and keeps its last report."""

    def __init__(self, name: str, metrics: Mapping[str, Any], watchers: Sequence[tuple[str, str]] = ()) -> None:
        self.name = name
        self.gauges = ModelGauges(name, metrics)
        self.last: Last | None = None
        """Replaced as a whole, so that readers get consistent figures; None before the first report."""
        self._metrics = metrics
        self._watchers = watchers
        self._bound = {
            full.removeprefix("thalweg_"): metrics[full].labels(name)
            for full, (_, _, labels, _) in LEARNER_METRICS.items()
            if not labels and full not in _OF_JOINERS
        }
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Export every counter at 0: if a series first appeared at 1, Prometheus would not see the increase."""
        for reason in REASONS:
            self._metrics["thalweg_events_dead_lettered_total"].labels(self.name, reason)
        self._metrics["thalweg_quarantined_events_total"].labels(self.name, LEARNER_ERROR)
        for cause in _CAUSES:
            self._metrics["thalweg_rollbacks_total"].labels(self.name, cause)
        for action in ACTIONS[1:]:
            self._metrics["thalweg_drift_actions_total"].labels(self.name, action)
        for place in self._watchers:
            self._metrics["thalweg_drift_alarms_total"].labels(self.name, *place)

    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None:
        self._bound["events_consumed_total"].inc(outcome.events)
        self._bound["events_duplicated_total"].inc(outcome.duplicates)
        self._bound["events_learned_total"].inc(outcome.labelled)
        for reason, count in outcome.rejected.items():
            self._metrics["thalweg_events_dead_lettered_total"].labels(self.name, reason).inc(count)
        for seconds in outcome.learn_seconds:
            self._bound["learn_duration_seconds"].observe(seconds)

    def reported(self, report: LearnerReport) -> None:
        self.last = Last(report, self.gauges.read(report.gauges_declared, report.gauges))

    def published(self, version: int, seconds: float, first_event_time: float | None) -> None:
        self._bound["published_total"].inc()
        self._bound["publish_duration_seconds"].observe(seconds)
        if first_event_time is not None:
            self._bound["event_to_effect_seconds"].observe(max(0.0, time.time() - first_event_time))

    def append_times_replaced(self, count: int) -> None:
        """So many records have a time that cannot be that of their append."""
        self._bound["append_times_replaced_total"].inc(count)

    def snapshotted(self, version: int, seconds: float, size_bytes: int) -> None:
        self._bound["snapshots_total"].inc()
        self._bound["snapshot_duration_seconds"].observe(seconds)

    def snapshot_failed(self, version: int, error: str) -> None:
        self._bound["snapshot_failures_total"].inc()

    def quarantined(self, reasons: Mapping[str, int]) -> None:
        for reason, count in reasons.items():
            self._metrics["thalweg_quarantined_events_total"].labels(self.name, reason).inc(count)
            self._metrics["thalweg_events_dead_lettered_total"].labels(self.name, reason).inc(count)

    def lost(self, gap: Gap) -> None:
        self._bound["log_gap_records_total"].inc(len(gap))

    def log_replaced(self, topic: str) -> None:
        self._bound["log_replaced_total"].inc()

    def rolled_back(self, version: int, cause: str) -> None:
        self._metrics["thalweg_rollbacks_total"].labels(self.name, cause).inc()

    def drifted(self, alarm: Alarm) -> None:
        if alarm.end is None:
            self._metrics["thalweg_drift_alarms_total"].labels(self.name, alarm.detector, alarm.signal).inc()

    def acted(self, action: str) -> None:
        self._metrics["thalweg_drift_actions_total"].labels(self.name, action).inc()


class JoinMetrics:
    """Counts the notifications of one model's joiner."""

    def __init__(self, name: str, metrics: Mapping[str, Any]) -> None:
        self.name = name
        self.lag: Mapping[Partition, int] = {}
        """Records of the joiner's topics not yet read, by partition; replaced as a whole."""
        self._metrics = metrics
        self._bound = {full.removeprefix("thalweg_"): metrics[full].labels(name) for full in _OF_JOINERS}
        self._bound["join_store_up"].set(1)

    def labels_joined(self, delays: Sequence[float]) -> None:
        self._bound["labels_joined_total"].inc(len(delays))
        for delay in delays:
            self._bound["label_delay_seconds"].observe(delay)

    def labels_unmatched(self, labels: int) -> None:
        self._bound["labels_unmatched_total"].inc(labels)

    def labels_duplicated(self, labels: int) -> None:
        self._bound["labels_duplicated_total"].inc(labels)

    def dead_lettered(self, reasons: Mapping[str, int]) -> None:
        for reason, count in reasons.items():
            self._metrics["thalweg_events_dead_lettered_total"].labels(self.name, reason).inc(count)

    def store_reached(self, reached: bool) -> None:
        self._bound["join_store_up"].set(reached)

    def labels_lag(self, lag: Mapping[Partition, int]) -> None:
        self.lag = dict(lag)

    def lost(self, gap: Gap) -> None:
        self._metrics["thalweg_log_gap_records_total"].labels(self.name).inc(len(gap))


def _make(table: Mapping[str, Any], registry: CollectorRegistry) -> dict[str, Any]:
    made = {}
    for name, (kind, text, labels, buckets) in table.items():
        more = {"buckets": buckets} if buckets else {}
        made[name] = kind(name, text, ("model_name", *labels), registry=registry, **more)
    return made
