"""Metrics: what is told is counted, two processes make one page, and Prometheus itself accepts it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.services.processes import Unavailable, required_or_skipped
from thalweg.ops.metrics import COLLECTED, LEARNER_METRICS, SERVER_METRICS, LearnerMetrics, ServerMetrics
from thalweg.proto.event import Batch, ClassLabels, Partition
from thalweg.stream.log import Gap
from thalweg.stream.prequential import Prequential

ROOT = Path(__file__).parents[2]


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def told(metrics: LearnerMetrics, name: str = "m") -> None:
    """Everything that a processor tells, once."""
    evaluation = Prequential(4)
    model = metrics.model(name, "t", evaluation)
    batch = Batch({}, ClassLabels(np.array([0, -1, 1], np.int32), ("a", "b")), np.ones(3), np.zeros(3))
    predictor: Any = SimpleNamespace(classes=("a",), properties={})
    evaluation.predicted(batch, predictor, {"label": np.zeros(3, np.int32)})
    learner: Any = SimpleNamespace(
        state=lambda: SimpleNamespace(size_bytes=77), gauges=lambda: {"memory_entries": 5.0, "unknown": 1.0}
    )
    model.consumed(3)
    model.dead_lettered({"malformed": 2})
    model.duplicated(4)
    model.learned(batch, 0.01)
    model.block_done(learner, 1, {Partition("t", 0): 6, Partition("t", 1): 1})
    model.published(1, 0.001, 0.0)
    model.snapshotted(1, 0.1, 10)
    model.snapshot_failed(1, "full")
    model.lost(Gap(Partition("t", 0), 10, 19))
    model.rolled_back(2, "operator")


def test_what_a_processor_tells_is_counted() -> None:
    metrics = LearnerMetrics()
    told(metrics)

    found = samples(metrics.render())

    def value(name: str, **labels: str) -> float:
        return found[name, tuple(sorted({"model_name": "m", **labels}.items()))]

    assert value("thalweg_events_consumed_total") == 3
    assert value("thalweg_events_learned_total") == 2
    assert value("thalweg_events_dead_lettered_total", reason="malformed") == 2
    assert value("thalweg_events_duplicated_total") == 4
    assert value("thalweg_log_gap_records_total") == 10
    assert value("thalweg_learn_duration_seconds_count") == 1
    assert value("thalweg_event_to_effect_seconds_count") == 1
    assert value("thalweg_state_bytes") == 77
    assert value("thalweg_memory_entries") == 5
    assert value("thalweg_snapshots_total") == value("thalweg_snapshot_failures_total") == 1
    assert value("thalweg_rollbacks_total", cause="operator") == 1
    assert value("thalweg_prequential", metric="accuracy", window="all") == 0.5
    lag = ("consumergroup", "thalweg.m")
    assert found["kafka_consumergroup_lag", (lag, ("partition", "0"), ("topic", "t"))] == 6
    assert found["kafka_consumergroup_lag_sum", (lag, ("topic", "t"))] == 7


def page(tmp_path: Path, learners: int) -> bytes:
    for number in range(learners):
        metrics = LearnerMetrics(tmp_path / f"metrics-learner-{number}.prom")
        told(metrics, f"m{number}")
        metrics.start()
        metrics.close()
    server = ServerMetrics(tmp_path)
    server.answered("m", "OK", 0.001, 3)
    server.called("/thalweg.v1.LearningService/GetModel", "OK", 0.1)
    return server.render()[0]


@pytest.mark.parametrize("learners", [0, 1, 3])
def test_the_pages_of_several_processes_are_one_page_in_which_no_family_stands_twice(
    tmp_path: Path, learners: int
) -> None:
    text = page(tmp_path, learners).decode()

    heads = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(heads) == len(set(heads))
    found = samples(text.encode())
    consumed = [key for key in found if key[0] == "thalweg_events_consumed_total"]
    assert len(consumed) == learners


@pytest.mark.prometheus
def test_prometheus_itself_accepts_the_page(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    with required_or_skipped():
        if promtool is None:
            raise Unavailable("no promtool; run: sudo apt-get install prometheus")

    done = subprocess.run([promtool, "check", "metrics"], input=page(tmp_path, 3), capture_output=True)

    problems = [line for line in (done.stdout + done.stderr).decode().splitlines() if "error" in line.lower()]
    assert not problems, problems


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()

    documented = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}

    assert documented == {*LEARNER_METRICS, *SERVER_METRICS, *COLLECTED}


def test_restarts_are_told_from_what_the_supervisor_writes(tmp_path: Path) -> None:
    (tmp_path / "supervisor.json").write_text('{"roles": {"learner": {"pid": 999999999, "restarts": 3}}}')

    found = samples(ServerMetrics(tmp_path).render()[0])

    assert found["thalweg_process_up", (("role", "learner"),)] == 0
    assert found["thalweg_process_up", (("role", "server"),)] == 1
    assert found["thalweg_process_restarts_total", (("role", "learner"),)] == 3
