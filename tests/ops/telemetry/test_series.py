"""How many series a page has: bounded per model, whatever stream and callers say, and none of models that are gone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from tests.ops.running import TOML, service, until
from tests.ops.telemetry.test_metrics import BLOCK, report_of, samples
from tests.samples import sample
from tests.services.processes import stop
from thalweg.models.contract.gauges import MEMORY_ENTRIES, GaugeSpec
from thalweg.models.cotta.learner import ROLLBACKS
from thalweg.ops.serve.models import RequestSinks
from thalweg.ops.telemetry.freshness import FreshnessWatch
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.records import Partition
from thalweg.proto.rejected import REASONS
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.proto.task import CLASSIFICATION
from thalweg.stream.drift.methods.river import DETECTORS
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.freshness.params import FreshnessParams

pytestmark = pytest.mark.slow

PER_MODEL = 400
"""As docs/metrics.md says: series of one model, beside those of its topic's partitions."""
BESIDE = 400
"""Series of the service itself."""
COLUMNS, CLASSES, MODELS = 1000, 10_000, 5


def hostile(metrics: LearnerMetrics, name: str) -> None:
    """A model whose every column moves, whose labels never end, and that is told of everything."""
    predictor: Any = SimpleNamespace(
        inputs={"x": TensorSpec("x", "float32", (COLUMNS,))},
        outputs={"label": TensorSpec("label", "bytes", ())},
        classes=tuple(map(str, range(CLASSES))),
        properties={},
    )
    learner: Any = SimpleNamespace(predictor=lambda: predictor, schema=Schema(predictor.inputs))
    params = DriftParams(detectors=list(DETECTORS), reference_events=200)
    monitor = Monitor(learner, lambda: learner, frozen_after=0, drift=params)
    told, joined, rng = metrics.model(name, monitor.drift.watchers()), metrics.joining(name), np.random.default_rng(0)
    for part in range(6):
        moved = np.linspace(0, 9, COLUMNS) * (part > 3)
        labels = ClassLabels(np.arange(200, dtype=np.int32), tuple(f"{part}-{code}" for code in range(CLASSES)))
        batch = Batch(
            {"x": rng.normal(moved, 1, (200, COLUMNS)).astype(np.float32)}, labels, np.ones(200), np.ones(200)
        )
        monitor.predicted(batch, predictor, {"label": rng.integers(0, CLASSES, 200).astype(np.int32)})
        told.reported(report_of(monitor))
        metrics.render()
    for alarm in monitor.news():
        told.drifted(alarm)
    assert monitor.drift.alarms[-1].features
    causes = {(f"cause {number}",): 1.0 for number in range(5)}
    ids = {(f"id {number}",): 1.0 for number in range(10_000)}
    gauges = {"rollbacks": causes, "memory_entries": 1.0, "made up": 1.0, "by_id": ids}
    by_id = GaugeSpec(name="by_id", help="A learner's mistake", labels=("id",))
    outcome = replace(BLOCK, events=1200, rejected=dict.fromkeys(REASONS, 1), learn_seconds=(0.1,) * 6)
    told.block_done(outcome, learner, {})
    lag = {Partition("t", number): 1 for number in range(8)}
    declared = (ROLLBACKS, MEMORY_ENTRIES, by_id)
    told.reported(report_of(monitor, lag=lag, gauges=gauges, gauges_declared=declared))
    told.published(1, 0.1, 0.0)
    told.snapshotted(1, 0.1, 1)
    joined.labels_joined([1.0])


def test_the_page_is_bounded_per_model_whatever_stream_and_callers_say(tmp_path: Path) -> None:
    metrics = LearnerMetrics(tmp_path / "metrics-learner.prom")
    names = [f"m{number}" for number in range(MODELS)]
    for name in names:
        hostile(metrics, name)
    metrics.start()
    metrics.close()
    info = SimpleNamespace(version=1, learned_events=1)
    versions = SimpleNamespace(newest=SimpleNamespace(info=info, predictor=SimpleNamespace(task=CLASSIFICATION)))
    said: dict[str, Any] = {"staleness_seconds": 0.0, "untrained": "", "needs_labels": True}
    freshness = FreshnessWatch(tmp_path / "live", tmp_path / "state", FreshnessParams())
    told = {"versions": versions, "freshness": freshness} | {
        name: lambda _, answer=answer: answer for name, answer in said.items()
    }
    served: Any = [SimpleNamespace(name=name, **told) for name in names]
    models: Any = SimpleNamespace(
        all=lambda: served, named=lambda: served, answering=lambda name: name, aliases={}, sinks=RequestSinks()
    )
    server = ServerMetrics(tmp_path, models)
    for code in grpc.StatusCode:
        for name in (*names, *(f"no model {number}" for number in range(500))):
            server.answered(name, code.name, 0.001, 1)
        server.called("/thalweg.v1.LearningService/GetModel", code.name, 0.001)

    found = samples(server.render()[0])

    owners = Counter(
        dict(labels).get("model_name", dict(labels).get("consumergroup", "").removeprefix("thalweg."))
        for name, labels in found
        if name != "kafka_consumergroup_lag"
    )
    beside = owners.pop("") + owners.pop("unknown")
    assert set(owners) == set(names)
    assert max(owners.values()) <= PER_MODEL
    assert beside <= BESIDE
    assert str(PER_MODEL) in (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    assert len([1 for name, _ in found if name == "thalweg_drift_feature_distance"]) == 10 * MODELS


def test_a_model_that_is_configured_no_more_leaves_the_page_after_a_restart(tmp_path: Path) -> None:
    other = f'\n[[model]]\nname = "n"\ntopic = "n.events"\nready_after_events = 0\n{sample("ridge").configuration}'
    with service(tmp_path, more=other) as running:
        first = running.start()
        until("readiness", running.ready)
        running.send(40)
        until(
            "both models on the page",
            lambda: '"m"' in running.get("/metrics")[1] and '"n"' in running.get("/metrics")[1],
        )
        assert stop(first) == 0
        head = TOML.format(
            prefix="thalweg",
            folder=tmp_path,
            log=f"sqlite:{tmp_path}/log.db",
            store=f"sqlite:{tmp_path}/store.db",
            topic="m.events",
            **running.ports,
        )
        running.path.write_text(head + sample("ridge").configuration)

        running.start()
        until("readiness", running.ready)
        running.send(60)

        until("the new process to count", lambda: running.metric("thalweg_events_consumed_total", model_name="m") == 60)
        page = running.get("/metrics")[1]
        assert '"n"' not in page
        assert '"thalweg.n"' not in page
