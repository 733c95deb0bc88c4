"""Metrics for Prometheus: every name in one table, counted per micro-batch and per request, never per event.

The learner's process and the server's have a registry each. The learner writes its page into the live folder about
once a second; the server shows its own page with the learners' behind it, so that one address tells everything. A
family belongs to one kind of process, so no family stands twice.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from thalweg.models.learner import Learner, Predictor
from thalweg.ops.serving import Models
from thalweg.proto.event import Array, Batch, Partition
from thalweg.stream.log import Gap
from thalweg.stream.observer import NoObserver
from thalweg.stream.prequential import Prequential

log = structlog.get_logger(__name__)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that no dashboard asks for

_LEARN_BUCKETS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
_SERVE_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)
_EFFECT_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30, 300)
_ROWS_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096)

LEARNER_METRICS: Mapping[str, tuple[type, str, tuple[str, ...], tuple[float, ...]]] = {
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
    "thalweg_worst_case_accuracy": (Gauge, "Lowest accuracy that the full recent window ever had", (), ()),
    "thalweg_memory_entries": (Gauge, "Entries in the learner's memory", (), ()),
    "thalweg_memory_evictions_total": (Gauge, "Entries evicted from the learner's memory", (), ()),
    "thalweg_snapshots_total": (Counter, "Snapshots written", (), ()),
    "thalweg_snapshot_failures_total": (Counter, "Snapshots that could not be written", (), ()),
    "thalweg_snapshot_duration_seconds": (Histogram, "Writing one snapshot", (), _LEARN_BUCKETS),
    "thalweg_rollbacks_total": (Counter, "Rollbacks", ("cause",), ()),
}
SERVER_METRICS: Mapping[str, tuple[type, str, tuple[str, ...], tuple[float, ...]]] = {
    "thalweg_inference_requests_total": (Counter, "Predictions asked for, by gRPC status", ("code",), ()),
    "thalweg_inference_duration_seconds": (Histogram, "Answering one request", (), _SERVE_BUCKETS),
    "thalweg_inference_batch_size": (Histogram, "Rows per request", (), _ROWS_BUCKETS),
    "thalweg_inference_queue_seconds": (Histogram, "Waiting of a request for its turn", (), _SERVE_BUCKETS),
}
COLLECTED: Mapping[str, tuple[str, str]] = {
    "thalweg_state_version": ("gauge", "Version that answers now"),
    "thalweg_learned_events": ("gauge", "Events in the version that answers now"),
    "thalweg_staleness_seconds": ("gauge", "Age of the newest knowledge in the version that answers now"),
    "thalweg_process_up": ("gauge", "Whether the process of this role runs"),
    "thalweg_process_restarts_total": ("counter", "Restarts of the process of this role"),
    "thalweg_build_info": ("gauge", "Versions of what runs"),
    "process_cpu_seconds_total": ("counter", "CPU time"),
    "process_resident_memory_bytes": ("gauge", "Resident memory"),
    "process_open_fds": ("gauge", "Open file descriptors"),
    "process_start_time_seconds": ("gauge", "Start of the process, Unix seconds"),
    "kafka_consumergroup_lag": ("gauge", "Records of the log not yet taken, per partition"),
    "kafka_consumergroup_lag_sum": ("gauge", "Records of the log not yet taken"),
    "grpc_server_started_total": ("counter", "Calls begun"),
    "grpc_server_handled_total": ("counter", "Calls ended, by status"),
    "grpc_server_handling_seconds": ("histogram", "Duration of calls"),
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

    def model(self, name: str, topic: str, evaluation: Prequential | None) -> ModelMetrics:
        """The observer of one model."""
        made = ModelMetrics(name, f"thalweg.{name}", self._metrics, evaluation)
        self._models.append(made)
        return made

    def collect(self) -> Iterable[Metric]:
        """Lags, computed when asked."""
        lag = GaugeMetricFamily(
            "kafka_consumergroup_lag",
            COLLECTED["kafka_consumergroup_lag"][1],
            labels=("consumergroup", "topic", "partition"),
        )
        total = GaugeMetricFamily(
            "kafka_consumergroup_lag_sum",
            COLLECTED["kafka_consumergroup_lag_sum"][1],
            labels=("consumergroup", "topic"),
        )
        for model in self._models:
            sums: dict[str, int] = {}
            for partition, behind in model.lag.items():
                lag.add_metric((model.group, partition.topic, str(partition.number)), behind)
                sums[partition.topic] = sums.get(partition.topic, 0) + behind
            for topic, behind in sums.items():
                total.add_metric((model.group, topic), behind)
        return [lag, total]

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

    def __init__(self, name: str, group: str, metrics: Mapping[str, Any], evaluation: Prequential | None) -> None:
        self.group = group
        self.lag: Mapping[Partition, int] = {}
        self._name = name
        self._metrics = metrics
        self._evaluation = evaluation
        self._bound = {
            full.removeprefix("thalweg_"): metrics[full].labels(name)
            for full, (_, _, labels, _) in LEARNER_METRICS.items()
            if not labels and full not in ("thalweg_memory_entries", "thalweg_memory_evictions_total")
        }
        self._sized = 0.0

    def consumed(self, events: int) -> None:
        self._bound["events_consumed_total"].inc(events)

    def dead_lettered(self, reasons: Mapping[str, int]) -> None:
        for reason, count in reasons.items():
            self._metrics["thalweg_events_dead_lettered_total"].labels(self._name, reason).inc(count)

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
            for suffix, value in learner.gauges().items():
                metric = self._metrics.get(f"thalweg_{suffix}")
                if metric is not None:
                    metric.labels(self._name).set(value)

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
        self._metrics["thalweg_rollbacks_total"].labels(self._name, cause).inc()

    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        """The evaluation grades; its figures are read when the page is."""

    def refresh(self) -> None:
        """Take the evaluation's figures over."""
        if self._evaluation is None:
            return
        gauge = self._metrics["thalweg_prequential"]
        try:
            found = {"all": self._evaluation.metrics(), "recent": self._evaluation.recent()}
        except (RuntimeError, IndexError, ValueError):  # the learner is changing them: next time
            return
        for window, figures in found.items():
            for metric, value in figures.items():
                gauge.labels(self._name, metric, window).set(value)
        self._bound["worst_case_accuracy"].set(self._evaluation.worst_case_accuracy)


class ServerMetrics:
    """The registry of the server's process; renders the learners' pages behind its own."""

    def __init__(self, live: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self._metrics = _make(SERVER_METRICS, self.registry)
        self._grpc: dict[str, Any] = {
            "handled": Counter(
                "grpc_server_handled_total",
                COLLECTED["grpc_server_handled_total"][1],
                ("grpc_service", "grpc_method", "grpc_code"),
                registry=self.registry,
            ),
            "started": Counter(
                "grpc_server_started_total",
                COLLECTED["grpc_server_started_total"][1],
                ("grpc_service", "grpc_method"),
                registry=self.registry,
            ),
            "seconds": Histogram(
                "grpc_server_handling_seconds",
                COLLECTED["grpc_server_handling_seconds"][1],
                ("grpc_service", "grpc_method"),
                buckets=_SERVE_BUCKETS,
                registry=self.registry,
            ),
        }
        self._live = live
        self._models: Models | None = None
        self._known: set[str] = set()
        self._bound: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._answered: deque[tuple[str, str, float, int, float]] = deque()
        self._counting = threading.Lock()
        self.registry.register(self)

    def serves(self, models: Models) -> None:
        """What to tell the versions of; other names that callers ask for are counted together."""
        self._models = models
        self._known = {model.name for model in models.all()}

    def answered(self, model: str, code: str, seconds: float, rows: int, queue_seconds: float = 0.0) -> None:
        # on the way of a request: counted when there is time
        self._answered.append((model, code, seconds, rows, queue_seconds))
        if len(self._answered) >= _COUNT_AT:
            self._count()

    def _count(self) -> None:
        """Take what was answered into the counters."""
        with self._counting:
            while self._answered:
                model, code, seconds, rows, queue_seconds = self._answered.popleft()
                bound = self._bound.get((model, code)) or self._bind(model, code)
                requests, duration, size, queue, handled, started, handling = bound
                requests.inc()
                duration.observe(seconds)
                size.observe(rows)
                queue.observe(queue_seconds)
                handled.inc()
                started.inc()
                handling.observe(seconds)

    def called(self, method: str, code: str, seconds: float) -> None:
        _, service, name = method.split("/", 2)
        self._grpc["handled"].labels(service, name, code).inc()
        self._grpc["started"].labels(service, name).inc()
        self._grpc["seconds"].labels(service, name).observe(seconds)

    def _bind(self, model: str, code: str) -> tuple[Any, ...]:
        name = model if model in self._known else "unknown"  # whatever callers type must not become labels
        method = ("inference.GRPCInferenceService", "ModelInfer")
        bound = (
            self._metrics["thalweg_inference_requests_total"].labels(name, code),
            self._metrics["thalweg_inference_duration_seconds"].labels(name),
            self._metrics["thalweg_inference_batch_size"].labels(name),
            self._metrics["thalweg_inference_queue_seconds"].labels(name),
            self._grpc["handled"].labels(*method, code),
            self._grpc["started"].labels(*method),
            self._grpc["seconds"].labels(*method),
        )
        if name == model:
            self._bound[model, code] = bound
        return bound

    def render(self) -> tuple[bytes, str]:
        """The whole page and its content type."""
        self._count()
        pages = [bytes(generate_latest(self.registry))]
        if self._live is not None:
            for path in sorted(self._live.glob("metrics-*.prom")):
                try:
                    pages.append(path.read_bytes())
                except OSError:
                    continue  # replaced this moment
        return (_merged(pages[1:], pages[0]) if len(pages) > 2 else b"".join(pages)), CONTENT_TYPE_LATEST

    def collect(self) -> Iterable[Metric]:
        """What is computed when asked."""
        return [*self._versions(), *self._processes(), _build_info()]

    def _versions(self) -> Iterable[Metric]:
        version = _gauge("thalweg_state_version", ("model_name",))
        learned = _gauge("thalweg_learned_events", ("model_name",))
        staleness = _gauge("thalweg_staleness_seconds", ("model_name",))
        for model in self._models.all() if self._models is not None else ():
            served = model.published.current
            if served is not None:
                version.add_metric((model.name,), served.facts.version)
                learned.add_metric((model.name,), served.facts.learned_events)
                staleness.add_metric((model.name,), model.staleness_seconds(served))
        return [version, learned, staleness]

    def _processes(self) -> Iterable[Metric]:
        roles = {"server": {"pid": os.getpid()}, **self._supervised()}
        up = _gauge("thalweg_process_up", ("role",))
        restarts = CounterMetricFamily(
            "thalweg_process_restarts", COLLECTED["thalweg_process_restarts_total"][1], labels=("role",)
        )
        cpu = CounterMetricFamily("process_cpu_seconds", COLLECTED["process_cpu_seconds_total"][1], labels=("role",))
        memory = _gauge("process_resident_memory_bytes", ("role",))
        files = _gauge("process_open_fds", ("role",))
        start = _gauge("process_start_time_seconds", ("role",))
        for role, entry in roles.items():
            found = _process(int(entry.get("pid") or 0))
            up.add_metric((role,), found is not None)
            restarts.add_metric((role,), entry.get("restarts", 0))
            if found is not None:
                cpu.add_metric((role,), found[0])
                for family, value in zip((memory, files, start), found[1:]):
                    family.add_metric((role,), value)
        return [up, restarts, cpu, memory, files, start]

    def _supervised(self) -> dict[str, dict[str, Any]]:
        if self._live is None:
            return {}
        try:
            roles: dict[str, dict[str, Any]] = json.loads((self._live / "supervisor.json").read_text())["roles"]
        except (OSError, ValueError, KeyError):
            return {}
        return roles


def _merged(pages: list[bytes], first: bytes) -> bytes:
    """Several learners' pages as one: each family's samples together, its HELP and TYPE once."""
    families: dict[bytes, list[bytes]] = {}
    for page in pages:
        samples: list[bytes] = []
        for line in page.splitlines():
            if line.startswith(b"# HELP "):
                samples = families.setdefault(line, [])
            elif line.startswith(b"# TYPE ") and line in samples:
                continue
            else:
                samples.append(line)
    return first + b"".join(b"\n".join([head, *lines, b""]) for head, lines in families.items())


def _gauge(name: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, COLLECTED[name][1], labels=labels)


def _build_info() -> GaugeMetricFamily:
    info = _gauge("thalweg_build_info", ("version", "python"))
    info.add_metric((importlib.metadata.version("thalweg"), platform.python_version()), 1)
    return info


_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _boot_time() -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def _process(pid: int, boot: Callable[[], float] = _boot_time) -> tuple[float, float, float, float] | None:
    """CPU seconds, resident bytes, open files and start of a process; None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] == "Z":
            return None
        files = float(len(os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208 - names are not needed
    except (OSError, IndexError):
        return None
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    return cpu, float(int(fields[21]) * _PAGE), files, boot() + int(fields[19]) / _TICKS
