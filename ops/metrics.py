"""Metrics for Prometheus: every name in one table, counted per micro-batch and per request, never per event.

The learner's process and the server's have a registry each. The learner writes its page into the live folder about
once a second; the server shows its own page with the learners' behind it, so that one address tells everything. A
family belongs to one kind of process, so no family stands twice.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from thalweg.models.drift import Alarm
from thalweg.models.learner import Learner, Predictor
from thalweg.ops.process_figures import process_figures
from thalweg.ops.recording import Recording
from thalweg.ops.remembering import Remembering
from thalweg.ops.serving import Models
from thalweg.ops.tally import Tally
from thalweg.proto.event import Array, Batch, Partition
from thalweg.stream.log import Gap
from thalweg.stream.monitor import Monitor
from thalweg.stream.observer import NoObserver

log = structlog.get_logger(__name__)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that no dashboard asks for

_LEARN_BUCKETS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
_SERVE_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)
_EFFECT_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30, 300)
_DELAY_BUCKETS = (0.1, 1, 10, 60, 600, 3600, 21_600, 86_400, 604_800)
_ROWS_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096)
_GRPC = ("grpc_service", "grpc_method")

LEARNER_METRICS: Mapping[str, tuple[type, str, tuple[str, ...], tuple[float, ...]]] = {  # labels after model_name
    "thalweg_events_consumed_total": (Counter, "Events taken from the log and understood", (), ()),
    "thalweg_events_learned_total": (Counter, "Labelled events learned", (), ()),
    "thalweg_events_dead_lettered_total": (Counter, "Records that could not be used", ("reason",), ()),
    "thalweg_events_duplicated_total": (Counter, "Events dropped because their id had been seen", (), ()),
    "thalweg_log_gap_records_total": (Counter, "Records that retention deleted before they were learned", (), ()),
    "thalweg_learn_duration_seconds": (Histogram, "Learning one micro-batch", (), _LEARN_BUCKETS),
    "thalweg_event_to_effect_seconds": (
        Histogram,
        "From an event's time to the first servable version that has learned it",
        (),
        _EFFECT_BUCKETS,
    ),
    "thalweg_published_total": (Counter, "Versions made visible to servers", (), ()),
    "thalweg_publish_duration_seconds": (Histogram, "Making a version visible", (), _LEARN_BUCKETS),
    "thalweg_state_bytes": (Gauge, "Size of the learner's state", (), ()),
    "thalweg_prequential": (Gauge, "Metric of answers graded before they were learned", ("metric", "window"), ()),
    "thalweg_frozen_prequential": (Gauge, "The same metric of the model's frozen twin", ("metric", "window"), ()),
    "thalweg_drift_score": (Gauge, "How near a detector is to an alarm: 1 is one", ("detector", "signal"), ()),
    "thalweg_drift_alarms_total": (
        Counter,
        "Alarms of drift, each counted for the detector that raised it",
        ("detector", "signal"),
        (),
    ),
    "thalweg_drift_active": (Gauge, "Whether an alarm of drift is open", (), ()),
    "thalweg_drift_severity": (Gauge, "Severity of the open alarm of drift, 0 without one", (), ()),
    "thalweg_worst_case_accuracy": (Gauge, "Lowest accuracy that the full recent window ever had", (), ()),
    "thalweg_snapshots_total": (Counter, "Snapshots written", (), ()),
    "thalweg_snapshot_failures_total": (Counter, "Snapshots that could not be written", (), ()),
    "thalweg_snapshot_duration_seconds": (Histogram, "Writing one snapshot", (), _LEARN_BUCKETS),
    "thalweg_rollbacks_total": (Counter, "Rollbacks", ("cause",), ()),
    "thalweg_labels_joined_total": (Counter, "Late labels joined with their events", (), ()),
    "thalweg_labels_unmatched_total": (Counter, "Late labels given up: no event of their id is known", (), ()),
    "thalweg_labels_duplicated_total": (Counter, "Late labels of events that had been joined before", (), ()),
    "thalweg_label_delay_seconds": (Histogram, "From an event to its label", (), _DELAY_BUCKETS),
    "thalweg_join_store_up": (Gauge, "Whether the store of waiting events answers the join", (), ()),
}
SERVER_METRICS: Mapping[str, tuple[str, str, tuple[str, ...], tuple[float, ...]]] = {
    "thalweg_inference_requests_total": (
        "counter",
        "Predictions asked for, by gRPC status",
        ("model_name", "code"),
        (),
    ),
    "thalweg_inference_duration_seconds": ("histogram", "Answering one request", ("model_name",), _SERVE_BUCKETS),
    "thalweg_inference_batch_size": ("histogram", "Rows per request", ("model_name",), _ROWS_BUCKETS),
    "thalweg_inference_queue_seconds": (
        "histogram",
        "Waiting of a request for its turn",
        ("model_name",),
        _SERVE_BUCKETS,
    ),
    "grpc_server_started_total": ("counter", "Calls begun, counted as they end", _GRPC, ()),
    "grpc_server_handled_total": ("counter", "Calls ended, by status", (*_GRPC, "grpc_code"), ()),
    "grpc_server_handling_seconds": ("histogram", "Duration of calls", _GRPC, _SERVE_BUCKETS),
}
LEARNER_GAUGES: Mapping[str, tuple[str, str, str]] = {  # by the name under which learners tell them
    "classes": ("thalweg_classes", "gauge", "Classes that the learner knows"),
    "skipped_events": ("thalweg_events_skipped_total", "counter", "Labelled events that the learner passed over"),
    "memory_entries": ("thalweg_memory_entries", "gauge", "Entries in the learner's memory"),
    "memory_evictions": (
        "thalweg_memory_evictions_total",
        "counter",
        "Entries evicted from the learner's memory",
    ),
    "memory_bytes": ("thalweg_memory_bytes", "gauge", "Bytes set aside for the learner's memory"),
    "late_events": ("thalweg_events_late_total", "counter", "Events before the newest one of their key, passed over"),
    "silences": ("thalweg_silences_learned_total", "counter", "Times that the learner took up that nothing had come"),
    "left_out_steps": ("thalweg_steps_left_out_total", "counter", "Steps of learning that were no number, left out"),
    "embedding_rows": ("thalweg_embedding_rows", "gauge", "Ids that have a row in an embedding table"),
}
COLLECTED: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "thalweg_state_version": ("gauge", "Version that answers now", ("model_name",)),
    "thalweg_learned_events": ("gauge", "Events in the version that answers now", ("model_name",)),
    "thalweg_staleness_seconds": (
        "gauge",
        "Age of the newest knowledge in the version that answers now",
        ("model_name",),
    ),
    "thalweg_requests_remembered_total": ("counter", "Requests kept until their label comes", ("model_name",)),
    "thalweg_requests_forgotten_total": (
        "counter",
        "Requests let go because the store was out of reach for too long",
        ("model_name",),
    ),
    "thalweg_requests_recorded_total": ("counter", "Rows of requests that became events", ("model_name",)),
    "thalweg_requests_unrecorded_total": (
        "counter",
        "Rows of requests let go because the log was out of reach for too long",
        ("model_name",),
    ),
    "thalweg_request_store_up": ("gauge", "Whether the store of waiting requests answers the server", ("model_name",)),
    "thalweg_process_up": ("gauge", "Whether the process of this role runs", ("role",)),
    "thalweg_process_restarts_total": ("counter", "Restarts of the process of this role", ("role",)),
    "thalweg_build_info": ("gauge", "Versions of what runs", ("version", "python")),
    "process_cpu_seconds_total": ("counter", "CPU time", ("role",)),
    "process_resident_memory_bytes": ("gauge", "Resident memory", ("role",)),
    "process_open_fds": ("gauge", "Open file descriptors", ("role",)),
    "process_start_time_seconds": ("gauge", "Start of the process, Unix seconds", ("role",)),
    "kafka_consumergroup_lag": (
        "gauge",
        "Records of the log not yet taken, per partition",
        ("consumergroup", "topic", "partition"),
    ),
    "kafka_consumergroup_lag_sum": ("gauge", "Records of the log not yet taken", ("consumergroup", "topic")),
}

_REFRESH_SECONDS = 1.0
_COUNT_AT = 2000  # answers that wait to be counted; a scrape counts them too


def _make(table: Mapping[str, Any], registry: CollectorRegistry) -> dict[str, Any]:
    made = {}
    for name, (kind, text, labels, buckets) in table.items():
        more = {"buckets": buckets} if buckets else {}
        made[name] = kind(name, text, ("model_name", *labels), registry=registry, **more)
    return made


class LearnerMetrics:
    """The registry of a learner's process, and its page in the live folder."""

    def __init__(self, page: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self._metrics = _make(LEARNER_METRICS, self.registry)
        self._page = page
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
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
        lag, total = _collected("kafka_consumergroup_lag"), _collected("kafka_consumergroup_lag_sum")
        for model in self._models:
            sums: dict[str, int] = {}
            for partition, behind in model.lag.items():
                lag.add_metric((model.group, partition.topic, str(partition.number)), behind)
                sums[partition.topic] = sums.get(partition.topic, 0) + behind
            for topic, behind in sums.items():
                total.add_metric((model.group, topic), behind)
        return [lag, total, *self._told()]

    def _told(self) -> Iterable[Metric]:
        for gauge, (name, kind, text) in LEARNER_GAUGES.items():
            family = _family(kind, name, text, ("model_name",))
            for model in self._models:
                if gauge in model.gauges:
                    family.add_metric((model.name,), model.gauges[gauge])
            yield family

    def start(self) -> None:
        """Write the page about once a second from now on."""
        if self._page is not None and self._thread is None:
            self._thread = threading.Thread(target=self._keep_writing, name="metrics", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write the page a last time."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def render(self) -> bytes:
        """The page."""
        for model in self._models:
            model.refresh()
        return bytes(generate_latest(self.registry))

    def _keep_writing(self) -> None:
        assert self._page is not None
        beside = self._page.with_name(f".{self._page.name}")
        while True:
            ended = self._stopping.wait(_REFRESH_SECONDS)
            try:
                beside.write_bytes(self.render())
                beside.rename(self._page)
            except OSError as error:
                log.warning("metrics cannot be written", problem=str(error))
            if ended:
                return


class ModelMetrics(NoObserver):
    """Counts what one model's processor tells."""

    def __init__(self, name: str, group: str, metrics: Mapping[str, Any], evaluation: Monitor | None) -> None:
        self.group = group
        self.lag: Mapping[Partition, int] = {}
        self.gauges: Mapping[str, float] = {}
        self._own_rollbacks: dict[str, float] = {}
        self.name = name
        self._metrics = metrics
        self._evaluation = evaluation
        self._bound = {
            full.removeprefix("thalweg_"): metrics[full].labels(name)
            for full, (_, _, labels, _) in LEARNER_METRICS.items()
            if not labels
        }
        self._shown: set[tuple[str, str, str]] = set()
        self._sized = 0.0

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
        self._bound["learn_duration_seconds"].observe(seconds)

    def block_done(self, learner: Learner, version: int, lag: Mapping[Partition, int]) -> None:
        self.lag = lag
        now = time.monotonic()
        if now - self._sized > _REFRESH_SECONDS:  # gauges of the learner are read on its own thread
            self._sized = now
            self._bound["state_bytes"].set(learner.state().size_bytes)
            self.gauges = dict(learner.gauges())
            self._rollbacks()

    def _rollbacks(self) -> None:
        """Count those that the learner made of itself."""
        for gauge, count in self.gauges.items():
            kind, _, cause = gauge.partition(".")
            if kind == "rollbacks" and count > self._own_rollbacks.get(cause, 0.0):
                more = count - self._own_rollbacks.get(cause, 0.0)
                self._metrics["thalweg_rollbacks_total"].labels(self.name, cause).inc(more)
                self._own_rollbacks[cause] = count

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

    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        """The evaluation grades; its figures are read when the page is."""

    def refresh(self) -> None:
        """Take the evaluation's figures over."""
        if self._evaluation is None:
            return
        watched = self._evaluation
        try:
            figures = _labelled("prequential", watched.metrics(), watched.recent())
            figures |= _labelled("frozen_prequential", watched.frozen.metrics(), watched.frozen.recent())
            scores = watched.drift.scores()
        except (LookupError, RuntimeError, ValueError):  # the learner is changing them: next time
            return
        figures |= {("drift_score", *place): score for place, score in scores.items()}
        for (family, *labels), value in figures.items():
            self._metrics[f"thalweg_{family}"].labels(self.name, *labels).set(value)
        for family, *labels in self._shown - figures.keys():  # no figure any more: AUC, when there is a third class
            self._metrics[f"thalweg_{family}"].remove(self.name, *labels)
        self._shown = set(figures)
        self._bound["worst_case_accuracy"].set(watched.worst_case_accuracy)
        alarm = watched.drift.open
        self._bound["drift_active"].set(alarm is not None)
        self._bound["drift_severity"].set(0.0 if alarm is None else alarm.severity)


def _labelled(
    family: str, whole: Mapping[str, float], recent: Mapping[str, float]
) -> dict[tuple[str, str, str], float]:
    windows = {"all": whole, "recent": recent}
    return {(family, metric, window): value for window, part in windows.items() for metric, value in part.items()}


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


class ServerMetrics:
    """The registry of the server's process; renders the learners' pages behind its own."""

    def __init__(self, live: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self._counters: dict[tuple[str, tuple[str, ...]], int] = {}
        self._histograms: dict[tuple[str, tuple[str, ...]], Tally] = {}
        self._live = live
        self._models: Models | None = None
        self._remembering: Remembering | None = None
        self._recording: Recording | None = None
        self._known: set[str] = set()
        self._answered: deque[tuple[str, str, float, int, float]] = deque()
        self._counting = threading.Lock()
        self.registry.register(self)

    def serves(
        self, models: Models, remembering: Remembering | None = None, recording: Recording | None = None
    ) -> None:
        """What to tell the versions of; other names that callers ask for are counted together."""
        self._models = models
        self._remembering, self._recording = remembering, recording
        self._known = {model.name for model in models.all()}

    def answered(self, model: str, code: str, seconds: float, rows: int, queue_seconds: float = 0.0) -> None:
        # on the way of a request: counted when there is time
        self._answered.append((model, code, seconds, rows, queue_seconds))
        if len(self._answered) >= _COUNT_AT:
            self._count()

    def _count(self) -> None:
        """Take what was answered into the figures, all of a kind at once."""
        with self._counting:
            kinds: dict[tuple[str, str], list[tuple[float, int, float]]] = {}
            for _ in range(len(self._answered)):
                model, code, seconds, rows, queue_seconds = self._answered.popleft()
                name = model if model in self._known else "unknown"  # what callers type must not become labels
                kinds.setdefault((name, code), []).append((seconds, rows, queue_seconds))
            for (name, code), figures in kinds.items():
                durations, sizes, queued = (np.array(column, dtype=np.float64) for column in zip(*figures))
                self._add("thalweg_inference_requests_total", (name, code), len(figures))
                self._observe("thalweg_inference_duration_seconds", (name,), durations)
                self._observe("thalweg_inference_batch_size", (name,), sizes)
                self._observe("thalweg_inference_queue_seconds", (name,), queued)
                self._note_call("inference.GRPCInferenceService", "ModelInfer", code, durations)

    def called(self, method: str, code: str, seconds: float) -> None:
        _, service, name = method.split("/", 2)
        with self._counting:
            self._note_call(service, name, code, np.array([seconds]))

    def _note_call(self, service: str, method: str, code: str, seconds: NDArray[np.float64]) -> None:
        self._add("grpc_server_started_total", (service, method), len(seconds))
        self._add("grpc_server_handled_total", (service, method, code), len(seconds))
        self._observe("grpc_server_handling_seconds", (service, method), seconds)

    def _add(self, name: str, labels: tuple[str, ...], count: int) -> None:
        self._counters[name, labels] = self._counters.get((name, labels), 0) + count

    def _observe(self, name: str, labels: tuple[str, ...], values: NDArray[np.float64]) -> None:
        if (name, labels) not in self._histograms:
            self._histograms[name, labels] = Tally(SERVER_METRICS[name][3])
        self._histograms[name, labels].add(values)

    def render(self) -> tuple[bytes, str]:
        """The whole page and its content type."""
        self._count()
        pages = [bytes(generate_latest(self.registry))]
        if self._live is not None:
            for path in sorted(self._live.glob("metrics-*.prom")):
                with contextlib.suppress(OSError):  # replaced this moment
                    pages.append(path.read_bytes())
        return _merged(pages), CONTENT_TYPE_LATEST

    def collect(self) -> Iterable[Metric]:
        """What is computed when asked."""
        return [*self._requests(), *self._versions(), *self._remembered(), *self._processes(), _build_info()]

    def _requests(self) -> Iterable[Metric]:
        families = {name: _family(kind, name, text, labels) for name, (kind, text, labels, _) in SERVER_METRICS.items()}
        with self._counting:
            for (name, labels), count in self._counters.items():
                families[name].add_metric(labels, count)
            for (name, labels), tally in self._histograms.items():
                buckets = [(_text(bound), count) for bound, count in tally.cumulative()]
                families[name].add_metric(labels, buckets, tally.sum)
        return families.values()

    def _versions(self) -> Iterable[Metric]:
        version, learned = _collected("thalweg_state_version"), _collected("thalweg_learned_events")
        staleness = _collected("thalweg_staleness_seconds")
        for model in self._models.all() if self._models is not None else ():
            served = model.published.current
            if served is not None:
                version.add_metric((model.name,), served.facts.version)
                learned.add_metric((model.name,), served.facts.learned_events)
                staleness.add_metric((model.name,), model.staleness_seconds(served))
        return [version, learned, staleness]

    def _remembered(self) -> Iterable[Metric]:
        kept, lost = _collected("thalweg_requests_remembered_total"), _collected("thalweg_requests_forgotten_total")
        up, remembering = _collected("thalweg_request_store_up"), self._remembering
        for name in remembering.models if remembering is not None else ():
            assert remembering is not None
            kept.add_metric((name,), remembering.remembered[name])
            lost.add_metric((name,), remembering.forgotten[name])
            up.add_metric((name,), remembering.reached(name))
        made, missed = _collected("thalweg_requests_recorded_total"), _collected("thalweg_requests_unrecorded_total")
        for name in self._recording.models if self._recording is not None else ():
            assert self._recording is not None
            made.add_metric((name,), self._recording.recorded[name])
            missed.add_metric((name,), self._recording.lost[name])
        return [kept, lost, up, made, missed]

    def _processes(self) -> Iterable[Metric]:
        roles = {"server": {"pid": os.getpid()}, **self._supervised()}
        up, restarts = _collected("thalweg_process_up"), _collected("thalweg_process_restarts_total")
        of_running = [_collected(name) for name in COLLECTED if name.startswith("process_")]  # in the order of figures
        for role, entry in roles.items():
            found = process_figures(entry.get("pid"))
            up.add_metric((role,), found is not None)
            restarts.add_metric((role,), entry.get("restarts", 0))
            for family, value in zip(of_running, found or ()):
                family.add_metric((role,), value)
        return [up, restarts, *of_running]

    def _supervised(self) -> dict[str, dict[str, Any]]:
        if self._live is None:
            return {}
        try:
            roles: dict[str, dict[str, Any]] = json.loads((self._live / "supervisor.json").read_text())["roles"]
        except (OSError, ValueError, LookupError, TypeError):
            return {}
        return roles if isinstance(roles, dict) else {}


def _merged(pages: list[bytes]) -> bytes:
    """Several pages as one: each family's samples together, its HELP and TYPE once, as the first page has them."""
    heads: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for page in pages:
        name, known = b"", True
        for line in page.splitlines():
            if line.startswith(b"# HELP "):
                name = line.split(b" ", 3)[2]
                known = name in heads
            if not line.startswith(b"#"):
                samples.setdefault(name, []).append(line)
            elif not known:
                heads.setdefault(name, []).append(line)
    return b"".join(b"\n".join([*lines, *samples.get(name, ()), b""]) for name, lines in heads.items())


def _text(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]  # the library's own way to write bounds


def _family(kind: str, name: str, text: str, labels: tuple[str, ...]) -> Any:
    made = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "histogram": HistogramMetricFamily}[kind]
    return made(name, text, labels=labels)


def _collected(name: str) -> Any:
    kind, text, labels = COLLECTED[name]
    return _family(kind, name, text, labels)


def _build_info() -> Any:
    info = _collected("thalweg_build_info")
    info.add_metric((importlib.metadata.version("thalweg"), platform.python_version()), 1)
    return info
