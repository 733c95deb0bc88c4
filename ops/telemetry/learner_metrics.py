"""Metrics of the learner process: updated per micro-batch, never per event; its page is written about once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

from thalweg.models.contract.learner import Learner
from thalweg.ops.telemetry import learner_gauges, report_metrics
from thalweg.ops.telemetry.learner_gauges import ModelGauges, Shown
from thalweg.ops.telemetry.learners.counted import Counted, counted_before
from thalweg.ops.telemetry.live_file import LiveFile
from thalweg.ops.telemetry.metrics import LEARNER_METRICS, collected
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
    """The registry of a learner process, and its page in the live folder.

    A process that takes the place of another goes on from what that one has counted, as far as its page tells.
    """

    def __init__(self, page: Path | None = None, health: Health | None = None) -> None:
        self.registry = CollectorRegistry()
        self._metrics = _make(LEARNER_METRICS, self.registry)
        self._page = page
        self._file = LiveFile(page, self._rendered, health) if page is not None else None
        self._told = _Told()
        self._models: dict[str, ModelMetrics] = {}
        self._joiners: dict[str, JoinMetrics] = {}
        self._behind: Mapping[str, float] = {}
        self._adding = threading.Lock()
        self._before = counted_before(page) if page is not None else {}
        self.registry.register(self)

    def model(self, name: str, watchers: Sequence[tuple[str, str]] = ()) -> ModelMetrics:
        """The observer of one model, given its pairs of detector and signal; a restarted learner has the same one."""
        with self._adding:
            if name not in self._models:  # replaced as a whole: a page may be rendered at the same time
                made = ModelMetrics(name, self._metrics, watchers, self._told)
                self._go_on(name, made.gauges)
                self._models = {**self._models, name: made}
            return self._models[name]

    def forget(self, name: str) -> None:
        """Export no gauges of a model any more, which is another process's now; its counters stay."""
        with self._adding:
            if (model := self._models.get(name)) is not None:
                model.last = None
                self._told.anything = True

    def joining(self, name: str) -> JoinMetrics:
        """The observer of one model's joiner."""
        with self._adding:
            made = self._joiners[name] = JoinMetrics(name, self._metrics, self._told)
            self._go_on(name)
        return made

    def _go_on(self, model: str, gauges: ModelGauges | None = None) -> None:
        """Add what was counted before for a model, once; what only joiners count waits for its joiner."""
        waiting = []
        for one in self._before.pop(model, ()):
            family, _, part = one.name.rpartition("_") if one.name not in LEARNER_METRICS else (one.name, "", "")
            if family in _OF_JOINERS and gauges is not None:
                waiting.append(one)
            elif family in LEARNER_METRICS:
                with suppress(LookupError, ValueError):  # an earlier release had other labels or buckets
                    _add(self._metrics[family], model, part, one)
                    if gauges is not None and not part:
                        gauges.counted_before(family, one.labels, one.value)
        if waiting:
            self._before[model] = waiting

    def followed(self, behind: Mapping[str, float]) -> None:
        """The shards of others that are followed here: by name, how many seconds behind what the store has."""
        if behind != self._behind:
            self._behind, self._told.anything = dict(behind), True

    def collect(self) -> Iterable[Metric]:
        """Metrics of the last reports; all those of a model come from one report."""
        latest = [(model, last) for model in self._models.values() if (last := model.last) is not None]
        return [
            *report_metrics.families(
                [(model.name, last.report) for model, last in latest],
                [(joiner.name, joiner.lag) for joiner in list(self._joiners.values())],
            ),
            *learner_gauges.families([(model.gauges, last.gauges) for model, last in latest]),
            *self._standby(),
        ]

    def _standby(self) -> Iterable[Metric]:
        if not self._behind:
            return []
        family = collected("thalweg_standby_behind_seconds")
        for name, seconds in self._behind.items():
            family.add_metric([name], seconds)
        return [family]

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

    def _rendered(self) -> bytes | None:
        """The page if anything may stand on it that did not stand there before: that of a hundred idle models takes
        long to render. The lag in seconds grows by itself.
        """
        models = list(self._models.values())
        lagging = any(model.last is not None and any(model.last.report.lag.values()) for model in models)
        if not (self._told.anything or lagging) and self._page is not None and self._page.exists():
            return None
        self._told.anything = False  # before: what is told meanwhile is rendered next time
        return self.render()


@dataclass(slots=True)
class _Told:
    """Whether anything was told since the page was rendered."""

    anything: bool = True


def _tells(method: Callable[..., None]) -> Callable[..., None]:
    """A notification that changes the page."""

    @wraps(method)
    def notified(self: Any, *arguments: Any, **more: Any) -> None:
        method(self, *arguments, **more)
        self._told.anything = True

    return notified


class Last(NamedTuple):
    """The last report of a model."""

    report: LearnerReport
    gauges: Shown
    """The gauges of the report that can be exported."""


class ModelMetrics(NoObserver):
    """Counts the notifications of one model's processor, and keeps its last report."""

    def __init__(
        self,
        name: str,
        metrics: Mapping[str, Any],
        watchers: Sequence[tuple[str, str]] = (),
        told: _Told | None = None,
    ) -> None:
        self.name = name
        self._told = told or _Told()
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
        self._told.anything = True

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

    @_tells
    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None:
        self._bound["events_consumed_total"].inc(outcome.events)
        self._bound["events_duplicated_total"].inc(outcome.duplicates)
        self._bound["tombstones_total"].inc(outcome.tombstones)
        self._bound["events_learned_total"].inc(outcome.labelled)
        for reason, count in outcome.rejected.items():
            self._metrics["thalweg_events_dead_lettered_total"].labels(self.name, reason).inc(count)
        for seconds in outcome.learn_seconds:
            self._bound["learn_duration_seconds"].observe(seconds)

    @_tells
    def reported(self, report: LearnerReport) -> None:
        self.last = Last(report, self.gauges.read(report.gauges_declared, report.gauges))

    @_tells
    def published(self, version: int, seconds: float, first_event_time: float | None) -> None:
        self._bound["published_total"].inc()
        self._bound["publish_duration_seconds"].observe(seconds)
        if first_event_time is not None:
            self._bound["event_to_effect_seconds"].observe(max(0.0, time.time() - first_event_time))

    @_tells
    def append_times_replaced(self, count: int) -> None:
        """So many records have a time that cannot be that of their append."""
        self._bound["append_times_replaced_total"].inc(count)

    @_tells
    def snapshotted(self, version: int, seconds: float, size_bytes: int) -> None:
        self._bound["snapshots_total"].inc()
        self._bound["snapshot_duration_seconds"].observe(seconds)

    @_tells
    def snapshot_failed(self, version: int, error: str) -> None:
        self._bound["snapshot_failures_total"].inc()

    @_tells
    def quarantined(self, reasons: Mapping[str, int]) -> None:
        for reason, count in reasons.items():
            self._metrics["thalweg_quarantined_events_total"].labels(self.name, reason).inc(count)
            self._metrics["thalweg_events_dead_lettered_total"].labels(self.name, reason).inc(count)

    @_tells
    def lost(self, gap: Gap) -> None:
        self._bound["log_gap_records_total"].inc(len(gap))

    @_tells
    def log_replaced(self, topic: str) -> None:
        self._bound["log_replaced_total"].inc()

    @_tells
    def rolled_back(self, version: int, cause: str) -> None:
        self._metrics["thalweg_rollbacks_total"].labels(self.name, cause).inc()

    @_tells
    def drifted(self, alarm: Alarm) -> None:
        if alarm.end is None:
            self._metrics["thalweg_drift_alarms_total"].labels(self.name, alarm.detector, alarm.signal).inc()

    @_tells
    def acted(self, action: str) -> None:
        self._metrics["thalweg_drift_actions_total"].labels(self.name, action).inc()


class JoinMetrics:
    """Counts the notifications of one model's joiner."""

    def __init__(self, name: str, metrics: Mapping[str, Any], told: _Told | None = None) -> None:
        self.name = name
        self._told = told or _Told()
        self.lag: Mapping[Partition, int] = {}
        """Records of the joiner's topics not yet read, by partition; replaced as a whole."""
        self._metrics = metrics
        self._bound = {full.removeprefix("thalweg_"): metrics[full].labels(name) for full in _OF_JOINERS}
        self._bound["join_store_up"].set(1)
        self._reached = self._told.anything = True

    @_tells
    def labels_joined(self, delays: Sequence[float]) -> None:
        self._bound["labels_joined_total"].inc(len(delays))
        for delay in delays:
            self._bound["label_delay_seconds"].observe(delay)

    @_tells
    def labels_unmatched(self, labels: int) -> None:
        self._bound["labels_unmatched_total"].inc(labels)

    @_tells
    def labels_duplicated(self, labels: int) -> None:
        self._bound["labels_duplicated_total"].inc(labels)

    @_tells
    def dead_lettered(self, reasons: Mapping[str, int]) -> None:
        for reason, count in reasons.items():
            self._metrics["thalweg_events_dead_lettered_total"].labels(self.name, reason).inc(count)

    @_tells
    def tombstones(self, records: int) -> None:
        self._metrics["thalweg_tombstones_total"].labels(self.name).inc(records)

    def store_reached(self, reached: bool) -> None:
        if reached is not self._reached:  # told again and again
            self._reached = reached
            self._bound["join_store_up"].set(reached)
            self._told.anything = True

    def labels_lag(self, lag: Mapping[Partition, int]) -> None:
        if lag != self.lag:
            self.lag = dict(lag)
            self._told.anything = True

    @_tells
    def lost(self, gap: Gap) -> None:
        self._metrics["thalweg_log_gap_records_total"].labels(self.name).inc(len(gap))


def _add(metric: Any, model: str, part: str, counted: Counted) -> None:
    """Add a sample of an earlier page to a counter, or to the buckets or the sum of a histogram."""
    labels = {name: value for name, value in counted.labels.items() if name != "le"}
    child = metric.labels(model_name=model, **labels)
    if not part:
        child.inc(counted.value)
    elif part == "sum":
        child._sum.inc(counted.value)
    elif part == "bucket":  # which counts all smaller values, too
        place = child._upper_bounds.index(float(counted.labels["le"]))
        child._buckets[place].inc(counted.value)
        if place + 1 < len(child._buckets):
            child._buckets[place + 1].inc(-counted.value)


def _make(table: Mapping[str, Any], registry: CollectorRegistry) -> dict[str, Any]:
    made = {}
    for name, (kind, text, labels, buckets) in table.items():
        more = {"buckets": buckets} if buckets else {}
        made[name] = kind(name, text, ("model_name", *labels), registry=registry, **more)
    return made
