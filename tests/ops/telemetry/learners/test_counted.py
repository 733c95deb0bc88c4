"""Counters go on where the process before had them, whatever it was killed in the middle of."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.ops.telemetry.test_metrics import report_of, samples, told
from thalweg.models.cotta.learner import ROLLBACKS
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.learners.counted import counted_before
from thalweg.ops.telemetry.metrics import LEARNER_METRICS
from thalweg.proto.records import Partition


def page_of(metrics: LearnerMetrics, path: Path) -> bytes:
    metrics.start()
    metrics.close()
    return path.read_bytes()


def counters(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Those of the service itself: what a learner counts is part of its state."""
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(page.decode())
        if family.type in ("counter", "histogram") and {family.name, f"{family.name}_total"} & set(LEARNER_METRICS)
        for one in family.samples
    }


def test_a_process_that_has_counted_nothing_yet_shows_what_the_one_before_had(tmp_path: Path) -> None:
    path = tmp_path / "metrics-learner.prom"
    first = LearnerMetrics(path)
    told(first, "m")
    first.joining("m").labels_joined([0.5, 30.0])
    before = counters(page_of(first, path))

    second = LearnerMetrics(path)
    second.model("m")
    second.joining("m")
    after = counters(page_of(second, path))

    assert after == before
    assert sum(value > 0 for value in before.values()) > 20


def test_what_a_learner_counts_in_its_state_is_not_counted_again_by_the_process_that_restores_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics-learner.prom"

    def rollbacks(count: float) -> float:
        metrics = LearnerMetrics(path)
        report = report_of(gauges={"rollbacks": {("quality",): count}}, gauges_declared=(ROLLBACKS,))
        metrics.model("m").reported(report)
        metrics.model("m").rolled_back(1, "operator")
        found = samples(page_of(metrics, path))
        return found["thalweg_rollbacks_total", (("cause", "quality"), ("model_name", "m"))]

    assert [rollbacks(count) for count in (2.0, 2.0, 5.0, 4.0, 6.0)] == [2, 2, 5, 5, 6]
    last = samples(path.read_bytes())
    assert last["thalweg_rollbacks_total", (("cause", "operator"), ("model_name", "m"))] == 5


def test_after_many_lives_everything_was_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics-learner.prom"
    for life in range(1, 5):
        metrics = LearnerMetrics(path)
        told(metrics, "m")
        metrics.joining("m").labels_joined([0.5, 30.0])
        metrics.joining("m")  # the joiner was restarted
        found = samples(page_of(metrics, path))
        m = ("model_name", "m")

        assert found["thalweg_events_consumed_total", (m,)] == 3 * life
        assert found["thalweg_labels_joined_total", (m,)] == 2 * life
        assert found["thalweg_label_delay_seconds_count", (m,)] == 2 * life
        assert found["thalweg_label_delay_seconds_sum", (m,)] == pytest.approx(30.5 * life)
        assert found["thalweg_label_delay_seconds_bucket", (("le", "1.0"), m)] == life
        assert found["thalweg_label_delay_seconds_bucket", (("le", "10.0"), m)] == life
        assert found["thalweg_label_delay_seconds_bucket", (("le", "60.0"), m)] == 2 * life


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"# TYPE thalweg_events_consumed_total counter\nthalweg_events_consumed_total 3\n", b"thalweg{"],
)
def test_a_damaged_page_counts_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "metrics-learner.prom"
    path.write_bytes(content)

    assert counted_before(path) == {}
    assert samples(LearnerMetrics(path).render()) == {}


def test_of_a_release_with_other_buckets_or_labels_the_rest_counts(tmp_path: Path) -> None:
    path = tmp_path / "metrics-learner.prom"
    path.write_text(
        "# TYPE thalweg_learn_duration_seconds histogram\n"
        'thalweg_learn_duration_seconds_bucket{le="0.7",model_name="m"} 4.0\n'
        "# TYPE thalweg_drift_alarms_total counter\n"
        'thalweg_drift_alarms_total{by="x",model_name="m"} 4.0\n'
        "# TYPE thalweg_events_consumed_total counter\n"
        'thalweg_events_consumed_total{model_name="m"} 4.0\n'
    )

    metrics = LearnerMetrics(path)
    metrics.model("m")
    found = samples(metrics.render())

    assert found["thalweg_events_consumed_total", (("model_name", "m"),)] == 4
    assert sum(value for (name, _), value in found.items() if name == "thalweg_learn_duration_seconds_bucket") == 0
    assert not [key for key in found if key[0] == "thalweg_drift_alarms_total"]


def test_the_page_is_rendered_again_only_when_something_on_it_may_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "metrics-learner.prom"
    metrics = LearnerMetrics(path)
    idle = report_of(lag={Partition("t", 0): 0})
    joiner = metrics.joining("m")
    metrics.model("m").reported(idle)
    assert metrics._rendered() is not None  # to a folder in which it is not yet
    page_of(metrics, path)

    assert metrics._rendered() is None
    metrics.model("m")
    joiner.store_reached(True)
    joiner.labels_lag({})
    assert metrics._rendered() is None
    for tells in (
        lambda: metrics.model("m").published(1, 0.1, None),
        lambda: metrics.model("n"),
        lambda: joiner.labels_lag({Partition("t", 0): 1}),
        lambda: joiner.store_reached(False),
        lambda: joiner.labels_joined([1.0]),
        lambda: metrics.model("m").reported(idle),
    ):
        tells()
        rendered = metrics._rendered()
        assert rendered == metrics.render()
        assert metrics._rendered() is None
    path.unlink()  # the folder in memory was emptied
    assert metrics._rendered() is not None
    path.touch()
    metrics.model("m").reported(report_of(newest_time=1.0))  # records wait: how long, grows
    assert None not in (metrics._rendered(), metrics._rendered())
