"""What the learner's process counts: per micro-batch, never per event; its page is written about once a second."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

from thalweg.models.contract.learner import Learner, Predictor
from thalweg.ops.telemetry.learner_gauges import ModelGauges, families
from thalweg.ops.telemetry.live_file import REFRESH_SECONDS, LiveFile
from thalweg.ops.telemetry.metrics import LEARNER_METRICS, collected
from thalweg.proto.event import Batch
from thalweg.proto.records import Partition
from thalweg.proto.rejected import REASONS
from thalweg.proto.schema import Array
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.drift.params import ACTIONS
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.evaluation.window_figures import Figures
from thalweg.stream.learn.observer import NoObserver
from thalweg.stream.log.log import Gap

_CAUSES = ("operator", "drift")  # of rollbacks that learners do not make of themselves
_MOVED_SHOWN = 10  # columns of the newest alarm


class LearnerMetrics:
    """The registry of a learner's process, and its page in the live folder."""

    def __init__(self, page: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self._metrics = _make(LEARNER_METRICS, self.registry)
        self._file = LiveFile(page, self.render) if page is not None else None
        self._models: list[ModelMetrics] = []
        self.registry.register(self)

    def model(self, name: str, topic: str, evaluation: Monitor | None) -> ModelMetrics:
        """The observer of one model."""
        made = ModelMetrics(name, f"thalweg.{name}", self._metrics, evaluation)
        self._models.append(made)
        return made

    def joining(self, name: str) -> JoinMetrics:
        """The observer of one model's joiner."""
        return JoinMetrics(name, self._metrics)

    def collect(self) -> Iterable[Metric]:
        """Lags, and what the learners tell of themselves, when asked."""
        lag, total = collected("kafka_consumergroup_lag"), collected("kafka_consumergroup_lag_sum")
        behind_by = collected("thalweg_lag_seconds")
        for model in self._models:
            sums: dict[str, int] = {}
            for partition, behind in model.lag.items():
                lag.add_metric((model.group, partition.topic, str(partition.number)), behind)
                sums[partition.topic] = sums.get(partition.topic, 0) + behind
            for topic, behind in sums.items():
                total.add_metric((model.group, topic), behind)
            if (seconds := model.lag_seconds()) is not None:
                behind_by.add_metric((model.name,), seconds)
        return [lag, total, behind_by, *families(model.gauges for model in self._models)]

    def start(self) -> None:
        """Write the page about once a second from now on."""
        if self._file is not None:
            self._file.start()

    def close(self) -> None:
        """Write the page a last time."""
        if self._file is not None:
            self._file.close()

    def render(self) -> bytes:
        """The page."""
        for model in self._models:
            model.refresh()
        return bytes(generate_latest(self.registry))


class ModelMetrics(NoObserver):
    """Counts what one model's processor tells."""

    def __init__(self, name: str, group: str, metrics: Mapping[str, Any], evaluation: Monitor | None) -> None:
        self.group = group
        self.lag: Mapping[Partition, int] = {}
        self.gauges = ModelGauges(name, metrics)
        self.name = name
        self._metrics = metrics
        self._evaluation = evaluation
        self._bound = {
            full.removeprefix("thalweg_"): metrics[full].labels(name)
            for full, (_, _, labels, _) in LEARNER_METRICS.items()
            if not labels
        }
        self._shown: set[tuple[str, ...]] = set()
        self._sized = 0.0
        self._newest: float | None = None
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Show what may be counted before it is: of a count that appears at 1, Prometheus sees no increase."""
        for reason in REASONS:
            self._metrics["thalweg_events_dead_lettered_total"].labels(self.name, reason)
        for cause in _CAUSES:
            self._metrics["thalweg_rollbacks_total"].labels(self.name, cause)
        for action in ACTIONS[1:]:
            self._metrics["thalweg_drift_actions_total"].labels(self.name, action)
        for place in self._evaluation.drift.watchers() if self._evaluation is not None else ():
            self._metrics["thalweg_drift_alarms_total"].labels(self.name, *place)

    def consumed(self, events: int) -> None:
        self._bound["events_consumed_total"].inc(events)

    def dead_lettered(self, reasons: Mapping[str, int]) -> None:
        for reason, count in reasons.items():
            self._metrics["thalweg_events_dead_lettered_total"].labels(self.name, reason).inc(count)

    def duplicated(self, events: int) -> None:
        self._bound["events_duplicated_total"].inc(events)

    def learned(self, batch: Batch, seconds: float) -> None:
        if batch.labels is not None:
            self._bound["events_learned_total"].inc(int(batch.labels.present.sum()))
        self._newest = float(batch.times.max())  # not the newest ever: one event from the future must not hide a lag
        self._bound["learn_duration_seconds"].observe(seconds)

    def block_done(self, learner: Learner, version: int, lag: Mapping[Partition, int]) -> None:
        self.lag = lag
        now = time.monotonic()
        if now - self._sized > REFRESH_SECONDS:  # gauges of the learner are read on its own thread
            self._sized = now
            self._bound["state_bytes"].set(learner.state().size_bytes)
            self.gauges.read(learner)

    def lag_seconds(self) -> float | None:
        """How old the newest event taken is, while more wait; None before the first."""
        if self._newest is None:
            return None
        return max(0.0, time.time() - self._newest) if any(self.lag.values()) else 0.0

    def published(self, version: int, seconds: float, first_event_time: float | None) -> None:
        self._bound["published_total"].inc()
        self._bound["publish_duration_seconds"].observe(seconds)
        if first_event_time is not None:
            self._bound["event_to_effect_seconds"].observe(max(0.0, time.time() - first_event_time))

    def snapshotted(self, version: int, seconds: float, size_bytes: int) -> None:
        self._bound["snapshots_total"].inc()
        self._bound["snapshot_duration_seconds"].observe(seconds)

    def snapshot_failed(self, version: int, error: str) -> None:
        self._bound["snapshot_failures_total"].inc()

    def lost(self, gap: Gap) -> None:
        self._bound["log_gap_records_total"].inc(gap.last - gap.first + 1)

    def rolled_back(self, version: int, cause: str) -> None:
        self._metrics["thalweg_rollbacks_total"].labels(self.name, cause).inc()

    def drifted(self, alarm: Alarm) -> None:
        if alarm.end is None:
            self._metrics["thalweg_drift_alarms_total"].labels(self.name, alarm.detector, alarm.signal).inc()

    def acted(self, action: str) -> None:
        self._metrics["thalweg_drift_actions_total"].labels(self.name, action).inc()

    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        """The evaluation grades; its figures are read when the page is."""

    def refresh(self) -> None:
        """Take the evaluation's figures over."""
        if self._evaluation is None:
            return
        watched = self._evaluation
        try:
            figures: dict[tuple[str, ...], float] = {}
            figures |= _with_bounds("all", watched.live.figures()) | _with_bounds(
                "recent", watched.live.recent_figures()
            )
            figures |= {("continual", metric): value for metric, value in watched.continual.metrics().items()}
            figures |= _labelled("frozen_prequential", watched.frozen.metrics(), watched.frozen.recent())
            scores = watched.drift.scores()
            alarms = watched.drift.alarms
        except (LookupError, RuntimeError, ValueError):  # the learner is changing them: next time
            return
        figures |= {("drift_score", *place): score for place, score in scores.items()}
        if alarms:
            figures |= {("drift_feature_distance", name): moved for name, moved in alarms[-1].features[:_MOVED_SHOWN]}
        for (name, *labels), value in figures.items():
            self._metrics[f"thalweg_{name}"].labels(self.name, *labels).set(value)
        for name, *labels in self._shown - figures.keys():  # no figure any more: AUC, when there is a third class
            self._metrics[f"thalweg_{name}"].remove(self.name, *labels)
        self._shown = set(figures)
        self._bound["worst_case_accuracy"].set(watched.worst_case_accuracy)
        alarm = watched.drift.open
        self._bound["drift_active"].set(alarm is not None)
        self._bound["drift_severity"].set(0.0 if alarm is None else alarm.severity)


def _labelled(family: str, whole: Mapping[str, float], recent: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    windows = {"all": whole, "recent": recent}
    return {(family, metric, window): value for window, part in windows.items() for metric, value in part.items()}


def _with_bounds(window: str, figures: Figures) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for metric, (value, both) in figures.items():
        found["prequential", metric, window] = value
        for bound, limit in zip(("lower", "upper"), both or ()):
            found["prequential_bound", metric, window, bound] = limit
    return found


class JoinMetrics:
    """Counts what one model's joiner tells."""

    def __init__(self, name: str, metrics: Mapping[str, Any]) -> None:
        self._name = name
        self._metrics = metrics
        self._metrics["thalweg_join_store_up"].labels(name).set(1)

    def labels_joined(self, delays: Sequence[float]) -> None:
        self._metrics["thalweg_labels_joined_total"].labels(self._name).inc(len(delays))
        for delay in delays:
            self._metrics["thalweg_label_delay_seconds"].labels(self._name).observe(delay)

    def labels_unmatched(self, labels: int) -> None:
        self._metrics["thalweg_labels_unmatched_total"].labels(self._name).inc(labels)

    def labels_duplicated(self, labels: int) -> None:
        self._metrics["thalweg_labels_duplicated_total"].labels(self._name).inc(labels)

    def dead_lettered(self, reasons: Mapping[str, int]) -> None:
        for reason, count in reasons.items():
            self._metrics["thalweg_events_dead_lettered_total"].labels(self._name, reason).inc(count)

    def store_reached(self, reached: bool) -> None:
        self._metrics["thalweg_join_store_up"].labels(self._name).set(reached)


def _make(table: Mapping[str, Any], registry: CollectorRegistry) -> dict[str, Any]:
    made = {}
    for name, (kind, text, labels, buckets) in table.items():
        more = {"buckets": buckets} if buckets else {}
        made[name] = kind(name, text, ("model_name", *labels), registry=registry, **more)
    return made
