"""Freshness as servers see it: a record counts when the first version that has learned it is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ops.telemetry.test_metrics import samples
from thalweg.models.contract.learner import Predictor
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.serve.following.location import ModelLocation
from thalweg.ops.serve.models import Models
from thalweg.ops.telemetry.freshness import FreshnessWatch
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.proto.schema import Schema
from thalweg.stream.freshness.budget import within_window
from thalweg.stream.freshness.cohorts import cohort_writer
from thalweg.stream.freshness.params import FreshnessParams
from thalweg.stream.publication.ports import VersionInfo

NOW = 1_700_000_000.0
PROMISED = FreshnessParams(objective=0.9, within_seconds=0.05, window_days=1)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


class Learner:
    """Tells of versions as a learner does, and lets watches see them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        for name in ("live", "state"):
            (folder / name).mkdir()
        self._ring = cohort_writer(folder / "live")
        self._before = 0

    def learn(self, version: int, appended: float, records: int = 1) -> None:
        self._ring.append(version, appended, records, self._before)
        self._before += records

    def watch(self, server: int = 1, params: FreshnessParams = PROMISED) -> FreshnessWatch:
        return FreshnessWatch(
            self.folder / "live", self.folder / "state", params, server, self.clock, lambda: self.clock.now
        )


@pytest.fixture
def learner(tmp_path: Path) -> Learner:
    return Learner(tmp_path)


def info(version: int) -> VersionInfo:
    return VersionInfo(version, 1, 0.0, NOW, NOW, 1)


def seconds(watch: FreshnessWatch) -> tuple[int, float, int]:
    """Records, the sum of their freshness, and how many were late."""
    (counts, total), missed, _ = watch.counted()
    return sum(counts), total, missed


def test_a_record_counts_once_from_its_append_to_the_first_version_in_use_that_has_it(learner: Learner) -> None:
    watch = learner.watch()
    learner.learn(1, NOW - 0.25)
    watch.mapped(info(1))
    learner.clock.now += 10
    watch.mapped(info(1))
    watch.mapped(info(2))

    assert seconds(watch) == (1, 0.25, 1)


def test_a_server_that_skips_a_version_counts_its_records_with_the_next_one(learner: Learner) -> None:
    watch = learner.watch()
    learner.learn(1, NOW - 0.5)
    learner.learn(2, NOW - 0.25, 3)
    learner.learn(3, NOW)
    watch.mapped(info(2))

    assert seconds(watch) == (4, 1.25, 4)


def test_late_is_what_the_model_promises(learner: Learner) -> None:
    watch = learner.watch()
    learner.learn(1, NOW - 0.04, 8)
    learner.learn(1, NOW - 0.06, 2)
    watch.mapped(info(1))

    assert seconds(watch)[2] == 2
    assert watch.budget_remaining() == pytest.approx(-1.0)  # two of ten, where one may be late


def test_an_idle_model_misses_nothing(learner: Learner) -> None:
    watch = learner.watch()
    learner.clock.now += 30 * 86_400
    watch.mapped(info(1))

    assert seconds(watch) == (0, 0.0, 0)
    assert watch.budget_remaining() == 1.0


def test_where_nothing_is_promised_freshness_is_measured_and_nothing_missed(learner: Learner) -> None:
    watch = learner.watch(params=FreshnessParams(objective=0))
    learner.learn(1, NOW - 100)
    watch.mapped(info(1))

    assert seconds(watch) == (1, 100.0, 0)
    assert watch.budget_remaining() is None


def test_each_server_counts_what_its_own_callers_can_see(learner: Learner) -> None:
    first, second = learner.watch(1), learner.watch(2)
    first.mapped(info(0))
    second.mapped(info(0))
    learner.learn(1, NOW)
    first.mapped(info(1))
    learner.clock.now += 1
    second.mapped(info(1))

    assert (seconds(first), seconds(second)) == ((1, 0.0, 0), (1, 1.0, 1))
    assert within_window(learner.folder / "state", 1, NOW) == (2, 1)


def test_a_server_that_starts_again_counts_what_no_server_has_shown_yet_and_nothing_twice(learner: Learner) -> None:
    before = learner.watch()
    learner.learn(1, NOW)
    before.mapped(info(1))
    before.close()
    learner.learn(2, NOW + 1)
    learner.clock.now += 5
    after = learner.watch()
    after.mapped(info(2))

    assert seconds(after) == (1, 4.0, 1)
    assert within_window(learner.folder / "state", 1, NOW) == (2, 1)


def test_what_a_server_was_too_slow_to_read_counts_as_at_least_as_old_as_what_is_left(learner: Learner) -> None:
    watch = learner.watch()
    learner.learn(1, NOW)
    watch.mapped(info(1))
    for version in range(2, 2002):  # more than the ring holds
        learner.learn(version, NOW + version / 1000)
    learner.clock.now = NOW + 10
    watch.mapped(info(2001))

    records, total, missed = seconds(watch)
    assert (records, missed) == (2001, 2000)
    assert total > 2000 * 7.9


def test_a_clock_that_was_set_back_makes_nothing_fresher_than_at_once(learner: Learner) -> None:
    watch = learner.watch()
    learner.learn(1, NOW + 5)
    watch.mapped(info(1))

    assert seconds(watch) == (1, 0.0, 0)


def test_a_version_is_in_use_although_its_freshness_cannot_be_measured(learner: Learner, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    FreshnessWatch(tmp_path / "file" / "live", tmp_path / "file" / "state", PROMISED).mapped(info(1))


def test_the_metrics_page_has_what_is_promised_counted_and_left(learner: Learner) -> None:
    def no_predictor(state: object) -> Predictor:
        raise AssertionError

    where = learner.folder
    location = ModelLocation(
        name="m",
        learner="ridge",
        topic="t",
        live=where / "live",
        state=where / "state",
        schema=Schema(inputs={}, label=None),  # type: ignore[arg-type]
        freshness=PROMISED,
        build=no_predictor,
        restore=no_predictor,
    )
    models = Models([location])
    metrics = ServerMetrics(where / "live", models)
    before = samples(metrics.render()[0])
    learner.learn(1, 0.0)
    models.all()[0].freshness.mapped(info(1))
    page = samples(metrics.render()[0])
    of_model = (("model_name", "m"),)

    assert before["thalweg_freshness_missed_total", of_model] == 0
    assert before["thalweg_freshness_seconds_count", of_model] == 0
    assert page["thalweg_freshness_missed_total", of_model] == 1
    assert page["thalweg_freshness_seconds_count", of_model] == 1
    assert page["thalweg_freshness_objective", of_model] == 0.9
    assert page["thalweg_freshness_objective_seconds", of_model] == 0.05
    assert page["thalweg_freshness_budget_remaining", of_model] == pytest.approx(-9.0)
    assert (metrics.freshness("m")["p99_seconds"] or 0) >= 100


def test_the_budget_is_kept_where_no_learner_has_made_the_folder_of_the_model(learner: Learner) -> None:
    (learner.folder / "state").rmdir()
    watch = learner.watch()
    watch.mapped(info(0))
    learner.learn(1, NOW)
    watch.mapped(info(1))

    assert watch.within_window() == (1, 0)
    assert (learner.folder / "state" / "freshness-1.hours").exists()


@pytest.mark.parametrize(
    "table", [{"objective": 1.0}, {"objective": -0.1}, {"within_seconds": 0.0}, {"window_days": 91}, {"within": 1.0}]
)
def test_a_promise_that_cannot_be_is_a_mistake_of_the_configuration(table: dict[str, float]) -> None:
    given = {"name": "m", "learner": "ridge", "topic": "t", "inputs": {"x": {"shape": [2]}}, "freshness": table}

    with pytest.raises(ValueError, match="freshness"):
        ModelConfig.of(given)
