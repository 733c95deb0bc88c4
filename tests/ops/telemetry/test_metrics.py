"""Metrics: what is told is counted, two processes make one page, and Prometheus itself accepts it."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.models.learners import gauges_of_learners
from tests.ops.serve.serving import served
from tests.services.ports import free_port
from tests.services.processes import PATIENCE, Unavailable, required_or_skipped, stop
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.gauges import MEMORY_ENTRIES, MEMORY_EVICTIONS, SKIPPED_EVENTS
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve.models import Models, RequestSinks
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.telemetry.freshness import FreshnessWatch
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.learners.pages import metrics_page
from thalweg.ops.telemetry.learners.processes import LearnerProcesses
from thalweg.ops.telemetry.metrics import COLLECTED, LEARNER_METRICS, SERVER_METRICS
from thalweg.ops.telemetry.process_health import learner_role
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.records import Partition
from thalweg.proto.rejected import REASONS
from thalweg.proto.schema import TensorSpec
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.evaluation.continual import METRICS as CONTINUAL
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.freshness.params import FreshnessParams
from thalweg.stream.learn.observer import LearnerReport
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.log.log import Gap

ROOT = Path(__file__).parents[3]


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


RAISED = Alarm(
    number=1,
    since=3,
    start=5,
    peak=6,
    start_time=7.0,
    detector="adwin",
    signal="loss",
    severity=0.4,
    kind="concept",
    signals=(("loss", "adwin", 5),),
)


BLOCK = Outcome(
    version=1,
    learned=2,
    events=3,
    labelled=2,
    duplicates=4,
    rejected={"malformed": 2},
    oldest_time=0.0,
    newest_time=0.0,
    learn_seconds=(0.01,),
)


def watched() -> Monitor:
    def make() -> Ridge:
        return Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float32", (2,))}, params={"expansion": 0}, seed=0))

    return Monitor(make(), make, window_events=4)


def report_of(monitor: Monitor | None = None, **changes: Any) -> LearnerReport:
    """As a processor makes it of a model that this monitor watches."""
    made = LearnerReport(
        time=50.0,
        version=1,
        learned=2,
        state_bytes=77,
        gauges={"memory_entries": 5.0, "memory_evictions": 2.0, "skipped_events": 3.0, "unknown": 1.0},
        gauges_declared=(MEMORY_ENTRIES, MEMORY_EVICTIONS, SKIPPED_EVENTS),
        lag={Partition("t", 0): 6, Partition("t", 1): 1},
        newest_time=0.0,
        evaluation=None if monitor is None else monitor.report(50.0),
    )
    return replace(made, **changes)


def told(metrics: LearnerMetrics, name: str = "m") -> None:
    """Everything that a processor tells, once."""
    monitor = watched()
    model = metrics.model(name, monitor.drift.watchers())
    batch = Batch({}, ClassLabels(np.array([0, -1, 1], np.int32), ("a", "b")), np.ones(3), np.zeros(3))
    predictor: Any = SimpleNamespace(classes=("a",), properties={})
    for graded in (monitor.live, monitor.frozen):
        graded.predicted(batch, predictor, {"label": np.zeros(3, np.int32)})
    model.block_done(BLOCK, None, {})  # type: ignore[arg-type]  # nobody asks the learner
    model.reported(report_of(monitor))
    model.published(1, 0.001, 0.0)
    model.snapshotted(1, 0.1, 10)
    model.snapshot_failed(1, "full")
    model.lost(Gap(Partition("t", 0), 10, 19))
    model.rolled_back(2, "operator")
    model.drifted(RAISED)
    model.drifted(replace(RAISED, end=8, end_time=9.0))


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
    assert value("thalweg_memory_evictions_total") == 2
    assert value("thalweg_events_skipped_total") == 3
    assert value("thalweg_snapshots_total") == value("thalweg_snapshot_failures_total") == 1
    assert value("thalweg_rollbacks_total", cause="operator") == 1
    assert value("thalweg_prequential", metric="accuracy", window="all") == 0.5
    assert value("thalweg_frozen_prequential", metric="accuracy", window="all") == 0.5
    assert value("thalweg_drift_alarms_total", detector="adwin", signal="loss") == 1  # not again when it ended
    assert value("thalweg_drift_active") == value("thalweg_drift_severity") == 0
    lag = ("consumergroup", "thalweg.m")
    assert found["kafka_consumergroup_lag", (lag, ("partition", "0"), ("topic", "t"))] == 6
    assert found["kafka_consumergroup_lag_sum", (lag, ("topic", "t"))] == 7


def test_figures_stand_on_the_page_between_their_bounds_beside_what_is_still_known() -> None:
    metrics, monitor = LearnerMetrics(), watched()
    model = metrics.model("m")
    predictor: Any = SimpleNamespace(
        classes=("a", "b"), properties={}, predict=lambda x: {"label": np.zeros(len(x["x"]), np.int32)}
    )
    for _ in range(40):
        codes = np.arange(50, dtype=np.int32) % 2
        batch = Batch({"x": np.ones((50, 2), np.float32)}, ClassLabels(codes, ("a", "b")), np.ones(50), np.zeros(50))
        monitor.live.predicted(batch, predictor, {"label": np.zeros(50, np.int32)})
        monitor.continual.predicted(batch, predictor, monitor.live)
    model.reported(report_of(monitor))

    found = samples(metrics.render())

    for window in ("all", "recent"):
        labels = (("metric", "accuracy"), ("model_name", "m"), ("window", window))
        low, high = (found["thalweg_prequential_bound", (("bound", bound), *labels)] for bound in ("lower", "upper"))
        assert low < found["thalweg_prequential", labels] == 0.5 < high
    known = {labels: value for (name, labels), value in found.items() if name == "thalweg_continual"}
    assert known[("metric", "accuracy"), ("model_name", "m")] == 0.5
    assert {dict(labels)["metric"] for labels in known} <= set(CONTINUAL)


def models_named(*names: str) -> Any:
    """Served models without a version."""
    versions = SimpleNamespace(newest=None)
    nowhere = Path("/nonexistent")
    models = [
        SimpleNamespace(
            name=name,
            versions=versions,
            needs_labels=lambda _: True,
            freshness=FreshnessWatch(nowhere, nowhere, FreshnessParams()),
        )
        for name in names
    ]
    return SimpleNamespace(all=lambda: models, aliases=[], answering=str, sinks=RequestSinks())


def page(tmp_path: Path, learners: int) -> bytes:
    homes = {f"m{number}": (number + 1,) for number in range(learners)}
    for name, (number,) in homes.items():
        metrics = LearnerMetrics(metrics_page(tmp_path, learner_role(number)))
        told(metrics, name)
        metrics.start()
        metrics.close()
    server = ServerMetrics(tmp_path, health=ServiceHealth(Models([]), learners=LearnerProcesses(tmp_path, homes)))
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


def test_a_family_that_an_older_release_described_otherwise_stands_once(tmp_path: Path) -> None:
    page(tmp_path, 1)
    (tmp_path / "metrics-older.prom").write_text(
        "left over\n# HELP thalweg_state_bytes In other words\n# TYPE thalweg_state_bytes gauge\n"
        'thalweg_state_bytes{model_name="old"} 3\n'
    )

    text = ServerMetrics(tmp_path).render()[0].decode()

    assert text.count("# TYPE thalweg_state_bytes ") == text.count("# HELP thalweg_state_bytes ") == 1
    sizes = {labels: size for (name, labels), size in samples(text.encode()).items() if name == "thalweg_state_bytes"}
    assert sizes == {(("model_name", "m0"),): 77, (("model_name", "old"),): 3}


requests = st.lists(
    st.tuples(st.sampled_from(["m", "n"]), st.sampled_from(["OK", "INTERNAL"]), st.sampled_from([0.0001, 0.003, 9.0])),
    max_size=30,
)


@settings(max_examples=30)  # each reads whole pages
@given(asked=requests, at_once=st.integers(1, 40))
def test_requests_are_counted_alike_whenever_they_are_counted(
    asked: list[tuple[str, str, float]], at_once: int
) -> None:
    server = ServerMetrics(models=models_named("m"))
    for number, (model, code, seconds) in enumerate(asked):
        server.answered(model, code, seconds, 2, 0.5)
        if number % at_once == 0:
            server.render()

    found = samples(server.render()[0])

    def of(name: str, **labels: str) -> float:
        return found.get((name, tuple(sorted(labels.items()))), 0.0)

    for shown, model in (("m", "m"), ("unknown", "n")):
        for code in ("OK", "INTERNAL"):
            wanted = [entry for entry in asked if entry[:2] == (model, code)]
            assert of("thalweg_inference_requests_total", model_name=shown, code=code) == len(wanted)
        times = [seconds for name, _, seconds in asked if name == model]
        duration = "thalweg_inference_duration_seconds"
        for bound in (0.0001, 0.0005, 0.005):
            below = sum(seconds <= bound for seconds in times)
            assert of(f"{duration}_bucket", model_name=shown, le=str(bound)) == below
        assert of(f"{duration}_count", model_name=shown) == len(times)
        assert of(f"{duration}_sum", model_name=shown) == pytest.approx(sum(times))
        assert of("thalweg_inference_batch_size_sum", model_name=shown) == 2 * len(times)
    call = {"grpc_service": "inference.GRPCInferenceService", "grpc_method": "ModelInfer"}
    assert of("grpc_server_started_total", **call) == len(asked)


def test_whatever_callers_type_the_page_does_not_grow() -> None:
    server = ServerMetrics()
    for number in range(5000):
        server.answered(f"guess {number}", "NOT_FOUND", 0.001, 0)

    found = samples(server.render()[0])

    asked = {labels: count for (name, labels), count in found.items() if name == "thalweg_inference_requests_total"}
    assert asked == {(("code", "NOT_FOUND"), ("model_name", "unknown")): 5000}


def test_a_figure_that_is_no_more_leaves_the_page() -> None:
    metrics, monitor = LearnerMetrics(), watched()
    model = metrics.model("m")
    auc = ("thalweg_prequential", (("metric", "auc"), ("model_name", "m"), ("window", "recent")))

    for names, expected in ((("a", "b"), True), (("c", "a"), False)):
        batch = Batch({}, ClassLabels(np.array([0, 1], np.int32), names), np.ones(2), np.zeros(2))
        predictor: Any = SimpleNamespace(classes=("a", "b"), properties={})
        answers = {"label": np.zeros(2, np.int32), "scores": np.ones((2, 2), np.float32)}
        monitor.live.predicted(batch, predictor, answers)
        model.reported(report_of(monitor))
        assert (auc in samples(metrics.render())) == expected


def test_the_columns_that_moved_most_are_those_of_the_newest_alarm_and_at_most_ten() -> None:
    metrics, monitor = LearnerMetrics(), watched()
    model = metrics.model("m")

    def shown() -> dict[str, float]:
        model.reported(report_of(monitor))
        found = samples(metrics.render())
        return {
            dict(labels)["feature"]: value
            for (name, labels), value in found.items()
            if name == "thalweg_drift_feature_distance"
        }

    assert shown() == {}
    for features in (tuple((f"x[{place}]", 0.9 - place / 100) for place in range(12)), (("y", 0.5),), ()):
        record = replace(RAISED, features=features).record()
        state = monitor.drift.state()
        monitor.drift.restore(State(state.tensors, {**state.meta, "alarms": [record]}))
        assert shown() == dict(features[:10])


def test_a_model_that_is_behind_says_by_how_long() -> None:
    metrics = LearnerMetrics()
    model = metrics.model("m")
    lag = ("thalweg_lag_seconds", (("model_name", "m"),))
    assert lag not in samples(metrics.render())

    for event_time, behind, least, most in (
        (time.time() - 3600, 5, 3600, 3700),
        (time.time() - 3600, 0, 0, 0),  # old, but nothing waits
        (time.time() + 3600, 5, 0, 0),  # from the future
        (time.time() - 10, 5, 10, 100),  # which does not hide what comes after
    ):
        model.reported(report_of(newest_time=event_time, lag={Partition("t", 0): behind, Partition("t", 1): 0}))
        assert least <= samples(metrics.render())[lag] <= most


def test_what_may_be_counted_stands_at_zero_before_it_is() -> None:
    metrics, server = LearnerMetrics(), ServerMetrics(models=models_named("m"))
    metrics.model("m", watched().drift.watchers())

    found = samples(metrics.render()) | samples(server.render()[0])

    m = ("model_name", "m")
    for reason in REASONS:
        assert found["thalweg_events_dead_lettered_total", (m, ("reason", reason))] == 0
    for detector, signal in (("adwin", "loss"), ("page_hinkley", "twin"), ("ks", "inputs"), ("mmd", "predictions")):
        place = (("detector", detector), m, ("signal", signal))
        assert found["thalweg_drift_alarms_total", place] == 0
    assert found["thalweg_rollbacks_total", (("cause", "operator"), m)] == 0
    assert found["thalweg_inference_requests_total", (("code", "INTERNAL"), m)] == 0


def test_the_lag_of_late_labels_is_that_of_a_consumer_group_of_its_own() -> None:
    metrics = LearnerMetrics()
    joining = metrics.joining("m")
    joining.labels_lag({Partition("labels", 0): 3, Partition("labels", 1): 4, Partition("events", 0): 5})
    joining.lost(Gap(Partition("labels", 0), 7, 9, "unreadable"))

    found = samples(metrics.render())

    group = ("consumergroup", "thalweg.m.joiner")
    assert found["kafka_consumergroup_lag", (group, ("partition", "1"), ("topic", "labels"))] == 4
    assert found["kafka_consumergroup_lag_sum", (group, ("topic", "labels"))] == 7
    assert found["thalweg_log_gap_records_total", (("model_name", "m"),)] == 3


def test_only_a_model_with_late_labels_has_figures_of_its_joiner() -> None:
    metrics = LearnerMetrics()
    told(metrics, "plain")
    told(metrics, "late")
    metrics.joining("late")

    found = samples(metrics.render())

    of_joiners = {
        name: [labels for full, labels in found if full == name]
        for name in (
            "thalweg_join_store_up",
            "thalweg_labels_joined_total",
            "thalweg_labels_unmatched_total",
            "thalweg_labels_duplicated_total",
            "thalweg_label_delay_seconds_count",
        )
    }
    late = (("model_name", "late"),)
    assert of_joiners == {name: [late] for name in of_joiners}  # a 0 for `plain` would raise ThalwegLabelStoreDown
    assert found["thalweg_join_store_up", late] == 1
    assert found["thalweg_labels_joined_total", late] == 0


@pytest.mark.prometheus
def test_promtool_finds_nothing_but_a_name_that_is_given(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    with required_or_skipped():
        if promtool is None:
            raise Unavailable("no promtool; run: sudo apt-get install prometheus")

    done = subprocess.run([promtool, "check", "metrics"], input=page(tmp_path, 3), capture_output=True)

    found = [line for line in (done.stdout + done.stderr).decode().splitlines() if line]
    assert [line.split()[0] for line in found] == ["kafka_consumergroup_lag_sum"], found  # named by its exporter so


@pytest.mark.prometheus
def test_prometheus_itself_scrapes_the_page(tmp_path: Path) -> None:
    prometheus = shutil.which("prometheus")
    with required_or_skipped():
        if prometheus is None:
            raise Unavailable("no prometheus; run: sudo apt-get install prometheus")
    live = tmp_path / "live"
    live.mkdir()
    page(live, 1)
    with served(tmp_path) as parts:  # one version is published
        place, port = f"127.0.0.1:{parts.server.http_port}", free_port()
        (tmp_path / "prometheus.yml").write_text(
            "scrape_configs: [{job_name: thalweg, scrape_interval: 200ms, scrape_timeout: 200ms, "
            f"static_configs: [{{targets: ['{place}']}}]}}]"
        )
        process = subprocess.Popen(
            [
                prometheus,
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            scraped = until_scraped(port)
        finally:
            stop(process)

    assert scraped["up"] == [1.0]
    assert scraped["thalweg_state_version"] == [1.0]
    assert scraped["thalweg_events_consumed_total"] == [3.0]
    assert scraped["thalweg_learn_duration_seconds_count"] == [1.0]


def until_scraped(port: int) -> Mapping[str, list[float]]:
    """Values by name of what Prometheus has, once it has scraped."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            address = f"http://127.0.0.1:{port}/api/v1/query?query=%7Bjob=%22thalweg%22%7D"
            with urllib.request.urlopen(address, timeout=PATIENCE) as reply:
                series = json.load(reply)["data"]["result"]
        except (OSError, http.client.HTTPException):
            series = []
        found: dict[str, list[float]] = {}
        for entry in series:
            found.setdefault(entry["metric"]["__name__"], []).append(float(entry["value"][1]))
        if 1.0 in found.get("up", ()) or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    kinds = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram"}
    rows = {
        **{
            name: (kinds[kind.__name__], ("model_name", *more), text)
            for name, (kind, text, more, _) in LEARNER_METRICS.items()
        },
        **{
            spec.full_name: (spec.kind, ("model_name", *spec.labels), spec.help)
            for spec in gauges_of_learners()
            if spec.full_name not in LEARNER_METRICS
        },
        **{name: (kind, labels, text) for name, (kind, text, labels, _) in SERVER_METRICS.items()},
        **{name: (kind, labels, text) for name, (kind, text, labels) in COLLECTED.items()},
    }
    expected = {
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |"
        for name, (kind, labels, text) in rows.items()
    }
    lines = (ROOT / "docs" / "metrics.md").read_text().splitlines()

    assert {line for line in lines if line.startswith("| `")} == expected


def test_restarts_are_told_from_what_the_supervisor_writes(tmp_path: Path) -> None:
    (tmp_path / "supervisor.json").write_text('{"roles": {"learner": {"pid": 999999999, "restarts": 3}}}')

    found = samples(ServerMetrics(tmp_path).render()[0])

    assert found["thalweg_process_up", (("role", "learner"),)] == 0
    assert found["thalweg_process_up", (("role", "server"),)] == 1
    assert found["thalweg_process_restarts_total", (("role", "learner"),)] == 3
