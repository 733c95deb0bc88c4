"""Metrics of the server process, and the page that includes the learners' metrics, at one address.

Requests are queued and counted in batches, to keep the work per request small.
"""

from __future__ import annotations

import contextlib
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from thalweg.memory.software import version_of
from thalweg.ops.serve.champions.standing import evidence
from thalweg.ops.serve.models import Models
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.serve.telemetry import REFUSAL_REASONS, PredictionTotals
from thalweg.ops.telemetry.freshness import freshness_tally, objectives, recent_freshness
from thalweg.ops.telemetry.histogram import Histogram
from thalweg.ops.telemetry.latency_window import Recent
from thalweg.ops.telemetry.learners.pages import learner_pages, merged
from thalweg.ops.telemetry.learners.processes import LearnerProcesses
from thalweg.ops.telemetry.metrics import COLLECTED, SERVER_METRICS, collected, family
from thalweg.ops.telemetry.process_figures import process_figures
from thalweg.ops.telemetry.processes import running_processes
from thalweg.ops.telemetry.replicas import Replicas, Tally
from thalweg.stream.health.registry import Condition

_USUAL_CODES = ("OK", "INTERNAL", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
_OF_SINKS = (
    "thalweg_requests_remembered_total",
    "thalweg_requests_forgotten_total",
    "thalweg_requests_recorded_total",
    "thalweg_requests_unrecorded_total",
)
"""Counted by what takes requests besides the answer."""
_COUNT_AT = 2000  # queued responses that trigger counting; a scrape does, too


class ServerMetrics:
    """The registry of the server process; its page includes the learners' pages.

    Args:
        live: The folder of the learners' pages; None: there are none.
        models: The served models, whose versions are exported; other names in requests are counted together.
        health: The health of all parts.
        replicas: The tallies of all server processes, where there are several.
    """

    def __init__(
        self,
        live: Path | None = None,
        models: Models | None = None,
        health: ServiceHealth | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self._counters: dict[tuple[str, tuple[str, ...]], int] = {}
        self._histograms: dict[tuple[str, tuple[str, ...]], Histogram] = {}
        self._live = live
        self._models = models or Models([])
        self._health = health or ServiceHealth(self._models, learners=LearnerProcesses(live) if live else None)
        self._known = {model.name for model in self._models.all()}
        self._answered: deque[tuple[str, str, float, int, float, float]] = deque()
        self._recent: dict[str, Recent] = {}
        self._totals: dict[str, PredictionTotals] = {}
        self._counting = threading.Lock()
        self._replicas = replicas
        self._before: Mapping[tuple[str, tuple[str, ...]], float] = {}
        self.gauges: Mapping[str, Callable[[], float]] = {}
        for name in self._known:  # if a series first appeared at 1, Prometheus would not see the increase
            for code in _USUAL_CODES:
                self._add("thalweg_inference_requests_total", (name, code), 0)
        for reason in REFUSAL_REASONS:
            self._add("thalweg_requests_refused_total", (reason,), 0)
        if replicas is not None:
            self._go_on_from(replicas.before)
        self.registry.register(self)

    def start(self) -> None:
        """Tell the other server processes what is counted here."""
        if self._replicas is not None:
            self._replicas.start(self._tally, self._models.registry)

    def close(self) -> None:
        """Tell it a last time."""
        if self._replicas is not None:
            self._replicas.close()

    def _go_on_from(self, before: Tally) -> None:
        """Count on from what the process before this one told."""
        for key, count in before.counters.items():
            if key[0] in SERVER_METRICS:
                self._counters[key] = self._counters.get(key, 0) + int(count)
        self._before = {key: count for key, count in before.counters.items() if key[0] in _OF_SINKS}
        for (name, labels), (counts, total) in before.histograms.items():
            with contextlib.suppress(LookupError, ValueError):  # of an earlier release
                self._histograms[name, labels] = Histogram.of(SERVER_METRICS[name][3], counts, total)
        for model, sums in before.totals.items():
            with contextlib.suppress(TypeError):
                self._totals[model] = PredictionTotals(**sums)  # type: ignore[arg-type]

    def _tally(self) -> Tally:
        """What this process has counted, and those before it in its place."""
        self._count()
        now = time.monotonic()
        with self._counting:
            own = Tally(
                {**self._counters, **self._of_sinks()},
                {key: (tally.counts, tally.sum) for key, tally in self._histograms.items()},
                {model: asdict(sums) for model, sums in self._totals.items()},
                {kind: float(value()) for kind, value in self.gauges.items()},
                {model: (recent.counts(now), recent.per_second(now)) for model, recent in self._recent.items()},
            )
        for model in self._models.all():
            own.add(freshness_tally(model.name, model.freshness))
        return own

    def _of_sinks(self) -> dict[tuple[str, tuple[str, ...]], float]:
        buffer, log = self._models.sinks.buffer, self._models.sinks.log
        figures: dict[str, Mapping[str, int]] = {}
        if buffer is not None:
            figures |= dict(zip(_OF_SINKS[:2], (buffer.remembered, buffer.forgotten)))
        if log is not None:
            figures |= dict(zip(_OF_SINKS[2:], (log.recorded, log.lost)))
        return {
            (name, (model,)): count + self._before.get((name, (model,)), 0)
            for name, by_model in figures.items()
            for model, count in by_model.items()
        }

    def _shown(self) -> Tally:
        """What is shown: the sum over all server processes."""
        own = self._tally()
        return own if self._replicas is None else self._replicas.together(own)

    def answered(self, model: str, code: str, seconds: float, rows: int, queue_seconds: float = 0.0) -> None:
        # per request: only queued, counted later
        self._answered.append((model, code, seconds, rows, queue_seconds, time.monotonic()))
        if len(self._answered) >= _COUNT_AT:
            self._count()

    def _count(self) -> None:
        """Count the queued responses in one go."""
        with self._counting:
            kinds: dict[tuple[str, str], list[list[float]]] = {}
            for _ in range(len(self._answered)):
                model, code, *figures = self._answered.popleft()
                model = self._models.answering(model)
                name = model if model in self._known else "unknown"  # names from requests must not become labels
                kinds.setdefault((name, code), []).append(figures)
            for (name, code), rows in kinds.items():
                durations, sizes, queued, moments = (np.array(column, dtype=np.float64) for column in zip(*rows))
                self._add("thalweg_inference_requests_total", (name, code), len(rows))
                self._sum_up(name, code == "OK", durations, sizes, queued)
                if code == "OK":
                    self._recent.setdefault(name, Recent()).add(durations, moments)
                self._observe("thalweg_inference_duration_seconds", (name,), durations)
                self._observe("thalweg_inference_batch_size", (name,), sizes)
                self._observe("thalweg_inference_queue_seconds", (name,), queued)
                self._note_call("inference.GRPCInferenceService", "ModelInfer", code, durations)

    def _sum_up(
        self,
        model: str,
        well: bool,
        seconds: NDArray[np.float64],
        rows: NDArray[np.float64],
        queued: NDArray[np.float64],
    ) -> None:
        known, count, spent = self._totals.get(model, PredictionTotals()), len(seconds), float(seconds.sum())
        if well:
            self._totals[model] = replace(
                known,
                succeeded=known.succeeded + count,
                succeeded_seconds=known.succeeded_seconds + spent,
                rows=known.rows + int(rows.sum()),
                queue_seconds=known.queue_seconds + float(queued.sum()),
                last=time.time(),
            )
        else:
            self._totals[model] = replace(
                known, failed=known.failed + count, failed_seconds=known.failed_seconds + spent, last=time.time()
            )

    def totals(self, model: str) -> PredictionTotals:
        """Sums over the requests to a model so far."""
        return PredictionTotals(**self._shown().totals.get(model, {}))  # type: ignore[arg-type]

    def called(self, method: str, code: str, seconds: float) -> None:
        _, service, name = method.split("/", 2)
        with self._counting:
            self._note_call(service, name, code, np.array([seconds]))

    def shadowed(self, alias: str, model: str, outcome: str, seconds: float) -> None:
        """A shadow copy of a request to an alias was answered by a challenger, or dropped."""
        with self._counting:
            self._add("thalweg_alias_shadow_requests_total", (alias, model, outcome), 1)
            if outcome != "shed":
                self._observe("thalweg_alias_shadow_duration_seconds", (alias, model), np.array([seconds]))

    def refused(self, reason: str) -> None:
        with self._counting:
            self._add("thalweg_requests_refused_total", (reason,), 1)

    def _note_call(self, service: str, method: str, code: str, seconds: NDArray[np.float64]) -> None:
        self._add("grpc_server_started_total", (service, method), len(seconds))
        self._add("grpc_server_handled_total", (service, method, code), len(seconds))
        self._observe("grpc_server_handling_seconds", (service, method), seconds)

    def _add(self, name: str, labels: tuple[str, ...], count: int) -> None:
        self._counters[name, labels] = self._counters.get((name, labels), 0) + count

    def _observe(self, name: str, labels: tuple[str, ...], values: NDArray[np.float64]) -> None:
        if (name, labels) not in self._histograms:
            self._histograms[name, labels] = Histogram(SERVER_METRICS[name][3])
        self._histograms[name, labels].add(values)

    def latency(self, model: str) -> dict[str, float | None]:
        """Over the last minute: requests per second, and the p50 and p99 of the latency in seconds."""
        counts, rate = self._shown().recent.get(model, ([], 0.0))
        half, most = Recent.quantiles_of(counts, (0.5, 0.99)) or (None, None)
        return {"answers_per_second": rate, "p50_seconds": half, "p99_seconds": most}

    def freshness(self, model: str) -> dict[str, float | None]:
        """Over the last minute: the p50 and p99 of the freshness of a model's records, in seconds."""
        return recent_freshness(model, self._shown())

    def processes(self) -> dict[str, dict[str, Any]]:
        """By role: whether the process runs, its restarts, its memory and its start time."""
        by_role: dict[str, dict[str, Any]] = {}
        for role, (pid, up, restarts) in running_processes(self._live, self._health.learners).items():
            by_role[role] = {"up": up, "restarts": restarts}
            found = process_figures(pid) if up else None
            if found is not None:
                by_role[role] |= {"memory_bytes": found.resident_memory_bytes, "started": found.start_time_seconds}
        return by_role

    def render(self) -> tuple[bytes, str]:
        """The whole page and its content type."""
        pages = [bytes(generate_latest(self.registry))]
        if self._live is not None:
            learners = self._health.learners
            pages += learner_pages(self._live, learners)
        return merged(pages), CONTENT_TYPE_LATEST

    def collect(self) -> Iterable[Metric]:
        """Metrics that are computed on each scrape."""
        shown = self._shown()
        return [
            *_requests(shown),
            *self._versions(),
            *objectives([(model.name, model.freshness) for model in self._models.all()]),
            *self._promotions(),
            *self._remembered(shown),
            _load(shown),
            *self._components(),
            *self._processes(),
            _build_info(),
        ]

    def _versions(self) -> Iterable[Metric]:
        version, learned = collected("thalweg_state_version"), collected("thalweg_learned_events")
        staleness, ready = collected("thalweg_staleness_seconds"), collected("thalweg_model_ready")
        needed = collected("thalweg_labels_needed")
        for model in self._models.all():
            served = model.versions.newest
            needed.add_metric((model.name,), model.needs_labels(served.predictor.task.name if served else None))
            ready.add_metric((model.name,), served is not None and not model.untrained(served))
            if served is not None:
                version.add_metric((model.name,), served.info.version)
                learned.add_metric((model.name,), served.info.learned_events)
                staleness.add_metric((model.name,), model.staleness_seconds(served))
        return [version, learned, staleness, ready, needed]

    def _promotions(self) -> Iterable[Metric]:
        count, champion = collected("thalweg_promotions_total"), collected("thalweg_alias_champion")
        for alias in self._models.aliases:
            count.add_metric((alias.name,), alias.promotions)
            for name in alias.members:
                champion.add_metric((alias.name, name), name == alias.model.answering.name)
        return [count, champion, *self._comparisons()]

    def _comparisons(self) -> Iterable[Metric]:
        gained, difference = collected("thalweg_alias_evidence"), collected("thalweg_alias_loss_difference")
        compared, waiting = collected("thalweg_alias_compared_events"), collected("thalweg_alias_waiting")
        for alias in self._models.aliases:
            if (report := alias.comparison()) is None:
                continue
            waiting.add_metric((alias.name,), bool(report.waits))
            for test in report.comparison.tests:
                labels = alias.name, test.challenger
                gained.add_metric(labels, evidence(test))
                difference.add_metric(labels, test.sums.mean)
                compared.add_metric(labels, test.compared)
        return [gained, difference, compared, waiting]

    def _remembered(self, shown: Tally) -> Iterable[Metric]:
        families = {name: collected(name) for name in _OF_SINKS}
        for (name, labels), count in shown.counters.items():
            if name in families:
                families[name].add_metric(labels, count)
        up, buffer = collected("thalweg_request_store_up"), self._models.sinks.buffer
        for name in buffer.models if buffer is not None else ():
            assert buffer is not None
            up.add_metric((name,), buffer.reached(name))
        return [*families.values(), up]

    def _components(self) -> Iterable[Metric]:
        state, restarts = collected("thalweg_component_state"), collected("thalweg_component_restarts_total")
        for one in self._health.components():
            for condition in Condition:
                state.add_metric((one.component, one.model, condition.value), one.state is condition)
            restarts.add_metric((one.component, one.model), one.restarts)
        log_up, reached = collected("thalweg_log_up"), self._health.log_up()
        if reached is not None:
            log_up.add_metric((), reached)
        return [state, restarts, log_up]

    def _processes(self) -> Iterable[Metric]:
        up, restarts = collected("thalweg_process_up"), collected("thalweg_process_restarts_total")
        of_running = [
            collected(name) for name in COLLECTED if name.startswith("process_")
        ]  # in the order of the fields
        for role, (pid, runs, count) in running_processes(self._live, self._health.learners).items():
            found = process_figures(pid) if runs else None
            up.add_metric((role,), runs)
            restarts.add_metric((role,), count)
            for figure, value in zip(of_running, found or ()):
                figure.add_metric((role,), value)
        return [up, restarts, *of_running, self._learner_processes()]

    def _learner_processes(self) -> Metric:
        """By model, because nothing else tells which process has it."""
        up: Any = collected("thalweg_learner_process_up")
        if (learners := self._health.learners) is not None:
            for model in self._models.all():
                up.add_metric((model.name,), any(process.up for process in learners.of(model.name)))
        return up  # type: ignore[no-any-return]


def _requests(shown: Tally) -> Iterable[Metric]:
    families = {name: family(kind, name, text, labels) for name, (kind, text, labels, _) in SERVER_METRICS.items()}
    for (name, labels), count in shown.counters.items():
        if name in families:
            families[name].add_metric(labels, count)
    for (name, labels), (counts, total) in shown.histograms.items():
        if name in families:
            tally = Histogram.of(SERVER_METRICS[name][3], counts, total)
            families[name].add_metric(labels, [(_text(upper), count) for upper, count in tally.cumulative()], total)
    return families.values()


def _load(shown: Tally) -> Any:
    load = collected("thalweg_interface_load")
    for kind, value in shown.gauges.items():
        load.add_metric((kind,), value)
    return load


def _build_info() -> Any:
    info = collected("thalweg_build_info")
    info.add_metric((version_of("thalweg"), platform.python_version()), 1)
    return info


def _text(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]  # the library's own way to write bounds
