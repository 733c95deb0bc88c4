"""What a scrape costs: the page of a server with many models, each with all that it may show."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.report import Result, at_most, median_seconds, show
from benchmarks.scale import Scale
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve.models import RequestSinks
from thalweg.ops.telemetry.freshness import FreshnessWatch
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.records import Partition
from thalweg.proto.schema import TensorSpec
from thalweg.proto.task import CLASSIFICATION
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.freshness.params import FreshnessParams
from thalweg.stream.learn.observer import LearnerReport
from thalweg.stream.learn.outcome import Outcome

_COLUMNS = 64
_CODES = ("OK", "INVALID_ARGUMENT", "UNAVAILABLE", "INTERNAL")


def learner_page(live: Path, models: int) -> LearnerMetrics:
    """Of models that have learned, drifted, and told everything once."""
    metrics = LearnerMetrics(live / "metrics-learner.prom")
    rng = np.random.default_rng(0)
    spec = {"x": TensorSpec("x", "float32", (_COLUMNS,))}

    def make() -> Ridge:
        return Ridge(LearnerContext(inputs=spec, params={"expansion": 0}, seed=0))

    for number in range(models):
        monitor = Monitor(make(), make, frozen_after=256)
        told = metrics.model(f"model-{number}", monitor.drift.watchers())
        learner = make()
        for part in range(24):
            inputs = {"x": rng.normal(3.0 * (part > 20), 1, (64, _COLUMNS)).astype(np.float32)}
            labels = ClassLabels(rng.integers(0, 2, 64).astype(np.int32), ("a", "b"))
            batch = Batch(inputs, labels, np.ones(64), np.arange(64.0))
            predictor = learner.predictor()
            monitor.predicted(batch, predictor, predictor.predict(inputs))
            learner.learn(batch)
        for alarm in monitor.news():
            told.drifted(alarm)
        done = Outcome(
            version=1, learned=1536, events=1536, labelled=1536, newest_time=63.0, learn_seconds=(0.01,) * 24
        )
        lag = {Partition(f"t-{number}", place): 3 for place in range(4)}
        told.block_done(done, learner, lag)
        told.reported(
            LearnerReport(
                time=0.0,
                version=1,
                learned=1536,
                state_bytes=learner.state().size_bytes,
                gauges=learner.gauges(),
                gauges_declared=learner.gauges_declared,
                lag=lag,
                newest_time=63.0,
                evaluation=monitor.report(0.0),
            )
        )
        told.published(1, 0.001, 0.0)
        told.snapshotted(1, 0.1, 10)
        metrics.joining(f"model-{number}").labels_joined([1.0])
    return metrics


def server_of(live: Path, count: int) -> ServerMetrics:
    """Serving the same models, asked with every kind of outcome."""
    info = SimpleNamespace(version=1, learned_events=1)
    models = [
        SimpleNamespace(
            name=f"model-{number}",
            versions=SimpleNamespace(newest=SimpleNamespace(info=info, predictor=SimpleNamespace(task=CLASSIFICATION))),
            staleness_seconds=lambda served: 0.1,
            untrained=lambda served: "",
            needs_labels=lambda task: True,
            freshness=FreshnessWatch(live / f"model-{number}", live / f"state-{number}", FreshnessParams()),
        )
        for number in range(count)
    ]
    every: Any = SimpleNamespace(
        all=lambda: models, named=lambda: models, answering=lambda name: name, aliases={}, sinks=RequestSinks()
    )
    server = ServerMetrics(live, every)
    for model in models:
        for code in _CODES:
            server.answered(model.name, code, 0.001, 3)
    return server


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """All figures."""
    rounds, models = scale.of((50, 20), quick=(10, 20), tiny=(1, 2))
    with tempfile.TemporaryDirectory() as folder:
        live = Path(folder)
        learners = learner_page(live, models)
        learners.start()
        learners.close()
        server = server_of(live, models)
        page = server.render()[0]
        samples = sum(not line.startswith(b"#") for line in page.splitlines())
        note = f"{samples} series, {len(page) // 1024} kB"
        scrape = 1000 * median_seconds(server.render, rounds)
        writing = 1000 * median_seconds(learners.render, rounds)
    return [
        at_most(f"scrape of {models} models", scrape, "ms", 20, note),
        Result(name="the learner's page, written once a second", value=writing, unit="ms"),
    ]


if __name__ == "__main__":
    show("Scrape", run(Scale.asked()))
