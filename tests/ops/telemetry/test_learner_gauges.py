"""A learner's gauges appear as it declares them; what cannot appear is said, not dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import structlog

from tests.ops.telemetry.test_metrics import report_of
from thalweg.models.contract.gauges import GaugeSpec, flattened
from thalweg.models.cotta.learner import ROLLBACKS
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics, ModelMetrics

DEPTH = GaugeSpec(name="depth", help="Depth of the tree")
SPLITS = GaugeSpec(name="splits", help="Splits made", kind="counter", labels=("cause",))


def shown(metrics: LearnerMetrics, name: str) -> list[str]:
    return [line for line in metrics.render().decode().splitlines() if line.startswith((name, f"# HELP {name}"))]


def read(model: ModelMetrics, specs: tuple[GaugeSpec, ...], values: Mapping[str, Any]) -> None:
    model.reported(report_of(gauges_declared=specs, gauges=dict(values), newest_time=None))


def test_a_gauge_of_a_learner_of_ones_own_appears_without_a_table() -> None:
    metrics = LearnerMetrics()
    model = metrics.model("m")

    read(model, (DEPTH, SPLITS), {"depth": 3.0, "splits": {("drift",): 2.0, ("size",): 5}})

    assert shown(metrics, "thalweg_depth") == [
        "# HELP thalweg_depth Depth of the tree",
        'thalweg_depth{model_name="m"} 3.0',
    ]
    assert shown(metrics, "thalweg_splits_total") == [
        "# HELP thalweg_splits_total Splits made",
        'thalweg_splits_total{cause="drift",model_name="m"} 2.0',
        'thalweg_splits_total{cause="size",model_name="m"} 5.0',
    ]


def test_a_counter_that_the_service_has_too_is_counted_there_and_never_twice() -> None:
    metrics = LearnerMetrics()
    model = metrics.model("m")
    model.rolled_back(3, "operator")

    for count in (2.0, 3.0, 3.0, 1.0, 4.0):  # after a rollback it has counted less
        read(model, (ROLLBACKS,), {"rollbacks": {("entropy",): count}})

    found = shown(metrics, "thalweg_rollbacks_total{")
    assert 'thalweg_rollbacks_total{cause="entropy",model_name="m"} 4.0' in found
    assert 'thalweg_rollbacks_total{cause="operator",model_name="m"} 1.0' in found


@pytest.mark.parametrize(
    ("spec", "value", "problem"),
    [
        (DEPTH, {("x",): 1.0}, "expected labels (), got ('x',)"),
        (
            SPLITS,
            {(f"id {number}",): 1.0 for number in range(21)},
            "expected at most 20 combinations of labels, got 21",
        ),
        (GaugeSpec(name="state_bytes", help="Mine"), 1.0, "the service has a metric thalweg_state_bytes of its own"),
        (
            GaugeSpec(name="state_version", help="Mine"),
            1.0,
            "the service has a metric thalweg_state_version of its own",
        ),
        (GaugeSpec(name="rollbacks", help="Mine", kind="counter"), 1.0, "of another kind or with other labels"),
        (None, 1.0, "it is not declared"),
        (DEPTH, "many", "expected a number, or numbers by label values, got 'many'"),
        (DEPTH, None, "expected a number, or numbers by label values, got None"),
        (SPLITS, {("drift",): [1, 2]}, "expected a number, or numbers by label values, got {"),
    ],
)
def test_a_gauge_that_cannot_appear_is_told_of_once(spec: GaugeSpec | None, value: Any, problem: str) -> None:
    metrics = LearnerMetrics()
    model = metrics.model("m")
    read(model, (), {})
    before = metrics.render()

    with structlog.testing.capture_logs() as logged:
        for _ in range(2):
            read(model, () if spec is None else (spec,), {"gauge" if spec is None else spec.name: value})

    assert [line["gauge"] for line in logged] == ["gauge" if spec is None else spec.name]
    assert problem in logged[0]["problem"]
    assert metrics.render() == before


def test_two_learners_may_declare_one_metric_alike_and_not_otherwise() -> None:
    metrics = LearnerMetrics()
    names = ("a", "b", "c")
    models = [metrics.model(name) for name in names]
    for model, spec in zip(models, (DEPTH, DEPTH, GaugeSpec(name="depth", help="By tree", labels=("tree",)))):
        read(model, (spec,), {"depth": {("x",): 1.0} if spec.labels else 1.0})

    with structlog.testing.capture_logs() as logged:
        found = shown(metrics, "thalweg_depth{")

    assert found == ['thalweg_depth{model_name="a"} 1.0', 'thalweg_depth{model_name="b"} 1.0']
    assert [(line["model"], line["gauge"]) for line in logged] == [("c", "depth")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "Depth"}, "gauge name: expected lower-case letters"),
        ({"metric": "depth of"}, "gauge metric: expected lower-case letters"),
        ({"kind": "histogram"}, "expected kind gauge or counter"),
        ({"help": ""}, "expected a line of help"),
        ({"labels": ("model_name",)}, "'model_name' is not a valid label"),
        ({"kind": "counter", "metric": "depths"}, "a counter's metric ends in _total"),
    ],
)
def test_what_prometheus_cannot_take_is_refused_where_it_is_declared(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaugeSpec(**({"name": "depth", "help": "Depth"} | wrong))


def test_the_status_shows_a_gauge_with_labels_by_its_name_and_theirs() -> None:
    assert flattened({"depth": 3, "splits": {("drift",): 2.0}}) == {"depth": 3.0, "splits.drift": 2.0}


def test_the_status_leaves_out_what_is_no_number() -> None:
    assert flattened({"depth": "many", "width": 2, "splits": {("a",): "x"}}) == {"width": 2.0}  # type: ignore[dict-item]
