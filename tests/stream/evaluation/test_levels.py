"""The level before a drift against the level now: a model that has not recovered is told apart from one that has."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.stream.evaluation.test_monitor import Life, batches, ridge
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import predict_batch
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import TensorSpec
from thalweg.stream.evaluation.monitor import Monitor


def noisy(first: int, count: int, share_right: float, seed: int = 0) -> list[Batch]:
    """Events whose label is the sign of their input for this share of them, and a coin's otherwise."""
    rng, found = np.random.default_rng(seed + first), []
    for start in range(first, first + count, 50):
        x = rng.normal(size=(50, 2)).astype(np.float32)
        flipped = rng.random(50) > share_right
        codes = ((x[:, 0] > 0) ^ flipped).astype(np.int32)
        times = np.arange(start, start + 50, dtype=np.float64)
        found.append(Batch({"x": x}, ClassLabels(codes, ("low", "high")), np.ones(50), times))
    return found


def test_a_drift_that_was_never_made_good_is_not_recovered_though_its_alarm_has_ended() -> None:
    life = Life(None)
    life.follow(noisy(0, 2000, 0.97))
    assert life.monitor.report(0.0).recovery is None

    life.follow(noisy(2000, 3000, 0.6))

    report = life.monitor.report(0.0)
    assert report.alarms[-1].end is not None
    recovery = report.recovery
    assert recovery is not None
    assert (recovery.alarm, recovery.metric, recovery.recovered) == (1, "accuracy", False)
    assert recovery.since == report.alarms[0].since
    assert recovery.before == pytest.approx(0.97, abs=0.03)
    assert recovery.now == pytest.approx(0.6, abs=0.06)
    assert report.levels[1] == recovery.before

    life.follow(noisy(5000, 1000, 0.97))
    back = life.monitor.report(0.0).recovery
    assert back is not None
    assert back.recovered
    assert back.now == pytest.approx(0.95, abs=0.05)


def test_a_model_that_follows_a_change_has_recovered() -> None:
    life = Life(None)
    life.follow(batches(6016, turned=3000))

    recovery = life.monitor.report(0.0).recovery

    assert recovery is not None
    assert recovery.recovered


def test_a_second_drift_of_a_model_that_never_recovered_is_measured_against_the_level_before_the_first() -> None:
    life = Life(None)
    life.follow(noisy(0, 2000, 0.97))
    life.follow(noisy(2000, 2500, 0.8))
    first = life.monitor.report(0.0)
    assert first.recovery is not None
    assert not first.recovery.recovered
    life.follow(noisy(4500, 2500, 0.55))

    report = life.monitor.report(0.0)

    assert len(report.alarms) > len(first.alarms)
    assert report.recovery is not None
    assert (report.recovery.alarm, report.recovery.before) == (1, first.recovery.before)
    assert report.levels[report.alarms[len(first.alarms)].number] == pytest.approx(0.8, abs=0.06)


def test_after_a_rollback_the_figures_are_those_of_the_state_that_is_served_since() -> None:
    life = Life(None)
    life.follow(noisy(0, 2000, 0.97))
    high = life.monitor.recent()["accuracy"]

    life.learner.restore(ridge().state())  # an empty version
    life.monitor.state_replaced("rolled back to version 0")

    report = life.monitor.report(0.0)
    assert (report.recent, report.baseline_recent, report.floor_breached) == ({}, {}, None)
    assert report.controls_recent == {"majority": {}, "repeat_last_label": {}}
    assert (report.replaced_at, report.replaced) == (2000, "rolled back to version 0")
    assert report.before_replaced == pytest.approx(high, abs=0.02)

    predictor = life.learner.predictor()
    for batch in noisy(2000, 400, 0.97):  # the empty version has no answer
        life.monitor.predicted(batch, predictor, predict_batch(predictor, batch))
    assert life.monitor.recent() == life.monitor.controls.recent()["majority"] == {}
    assert life.monitor.report(0.0).unanswered == 50 + 400  # its first micro-batch, too
    assert life.monitor.metrics()["accuracy"] > 0.7  # over all events: what was served


def test_levels_survive_a_restart_and_do_not_depend_on_it(tmp_path: Path) -> None:
    events = noisy(0, 2000, 0.97) + noisy(2000, 2500, 0.6)
    whole, first = Life(tmp_path / "w"), Life(tmp_path / "f")
    whole.follow(events)
    first.follow(events[:50])

    second = first.next_life(tmp_path / "f")
    second.follow(events[50:])

    assert second.monitor.report(0.0).recovery == whole.monitor.report(0.0).recovery
    assert second.monitor.state().sha256() == whole.monitor.state().sha256()


def test_a_level_of_a_state_that_kept_no_numbers_of_events_is_not_known() -> None:
    life = Life(None)
    life.follow(noisy(0, 2000, 0.97))
    saved = life.monitor.state()
    tensors = {name: one for name, one in saved.tensors.items() if name != "recent.event"}
    after = Life(None)
    after.monitor.restore(State(tensors, {k: v for k, v in saved.meta.items() if k != "levels"}))

    after.learner.restore(life.learner.state())
    after.follow(noisy(2000, 200, 0.97))

    assert after.monitor.live.figures_of_events(1, 2001) == ({}, 0)
    assert after.monitor.live.figures_of_events(2001, 2201)[1] == 200


@pytest.mark.parametrize(("floor", "breached"), [(0.5, False), (0.99, True), (None, None)])
def test_a_floor_is_breached_while_recent_quality_is_below_it(floor: float | None, breached: bool | None) -> None:
    learner = ridge()
    monitor = Monitor(learner, ridge, window_events=500, quality_floor=floor)
    life = Life(None)
    life.learner, life.monitor = learner, monitor

    life.follow(noisy(0, 50, 0.9))
    assert monitor.report(0.0).floor_breached is None  # too few to judge
    life.follow(noisy(50, 1000, 0.9))

    report = monitor.report(0.0)
    assert (report.quality_floor, report.floor_breached) == (floor, breached)


def test_where_smaller_is_better_the_floor_is_a_ceiling() -> None:
    def new() -> Ridge:
        return Ridge(
            LearnerContext(
                inputs={"x": TensorSpec("x", "float32", (2,))}, params={"task": "regression", "expansion": 0}, seed=0
            )
        )

    for ceiling, breached in ((10.0, False), (0.01, True)):
        learner = new()
        monitor = Monitor(learner, new, window_events=200, quality_floor=ceiling)
        rng = np.random.default_rng(0)
        for _ in range(10):
            x = rng.normal(size=(50, 2)).astype(np.float32)
            labels = NumberLabels((x[:, :1] + rng.normal(0, 0.5, (50, 1))).astype(np.float64))
            batch = Batch({"x": x}, labels, np.ones(50), np.zeros(50))
            predictor = learner.predictor()
            monitor.predicted(batch, predictor, predict_batch(predictor, batch))
            learner.learn(batch)
        report = monitor.report(0.0)
        assert report.floor_breached is breached
        assert 0.3 < report.recent["rmse"] < 0.8 < report.controls_recent["mean"]["rmse"]
        assert not math.isnan(report.controls["repeat_last_label"]["rmse"])
