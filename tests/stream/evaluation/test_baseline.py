"""The frozen baseline: a version that is pinned stays what it is compared with, whatever becomes of that version."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stream.evaluation.test_monitor import batches, ridge
from thalweg.memory.snapshots.snapshots import UnknownVersion
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import predict_batch
from thalweg.models.ridge.learner import Ridge
from thalweg.stream.evaluation.baseline import Pinned
from thalweg.stream.evaluation.monitor import Monitor


def learned(count: int) -> Ridge:
    made = ridge()
    for batch in batches(count, turned=10_000):
        made.learn(batch)
    return made


def gone() -> State:
    raise UnknownVersion("no version 7 is kept; kept: 9")


def follow(monitor: Monitor, learner: Ridge, first: int, end: int) -> None:
    for batch in batches(3200, turned=1000)[first:end]:
        predictor = learner.predictor()
        monitor.predicted(batch, predictor, predict_batch(predictor, batch))
        learner.learn(batch)


def test_a_pinned_version_is_the_baseline_from_the_first_event_on_and_after_restarts_without_that_version(
    tmp_path: Path,
) -> None:
    learner, path = learned(640), tmp_path / "baseline"
    monitor = Monitor(learner, ridge, frozen_after=0, baseline_path=path, pinned=Pinned(7, learned(640).state))
    follow(monitor, learner, 0, 40)

    again = Monitor(learner, ridge, frozen_after=0, baseline_path=path, pinned=Pinned(7, gone))
    again.restore(monitor.state())
    follow(again, learner, 40, 50)

    assert again.frozen.graded == again.live.graded == 3200
    assert monitor.recent()["accuracy"] > 0.9
    assert again.frozen.recent()["accuracy"] < 0.1  # it still knows the old rule


def test_another_version_begins_its_figures_anew(tmp_path: Path) -> None:
    learner, path = learned(640), tmp_path / "baseline"
    monitor = Monitor(learner, ridge, frozen_after=64, baseline_path=path)
    follow(monitor, learner, 0, 40)

    again = Monitor(learner, ridge, frozen_after=64, baseline_path=path, pinned=Pinned(8, learner.state))
    again.restore(monitor.state())

    assert again.frozen.metrics() == {}
    follow(again, learner, 40, 50)
    assert again.frozen.graded == 640
    assert again.frozen.recent()["accuracy"] > 0.9


def test_a_version_that_is_not_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownVersion, match="no version 7"):
        Monitor(learned(64), ridge, baseline_path=tmp_path / "baseline", pinned=Pinned(7, gone))
