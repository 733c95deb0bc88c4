"""Micro-batches that wait to be evaluated: until they are many events or many bytes."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.evaluation.gathered import TOGETHER, Gathered, together_after
from thalweg.stream.evaluation.monitor import Monitor


def batch(events: int, width: int) -> Batch:
    x = np.random.default_rng(0).normal(size=(events, width)).astype(np.float32)
    codes = (x[:, 0] > 0).astype(np.int32)
    return Batch({"x": x}, ClassLabels(codes, ("low", "high")), np.ones(events), np.arange(float(events)))


@pytest.mark.parametrize(("width", "waiting"), [(2, TOGETHER), (8192, 32)])
def test_micro_batches_wait_until_they_are_many_events_or_a_megabyte(width: int, waiting: int) -> None:
    learner = Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float32", (width,))}, params={"expansion": 0}, seed=0))
    predictor, gathered, one = learner.predictor(), Gathered(), batch(32, width)
    outputs = predictor.predict(one.inputs)

    while not gathered.enough(TOGETHER):
        assert gathered.fits(predictor, outputs)
        gathered.add(one, predictor, outputs)

    assert gathered.events == waiting
    together = gathered.take()
    assert together is not None
    assert len(together.batch) == sum(together.sizes) == waiting
    assert len(together.outputs["label"]) == waiting
    assert gathered.take() is None


def test_a_stream_that_has_gone_on_waits_for_as_many_events_as_points_of_its_curve_lie_apart() -> None:
    learner = Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float32", (2,))}, params={"expansion": 0}, seed=0))
    monitor, block = Monitor(learner, lambda: learner, frozen_after=0, drift=DriftParams(detectors=[])), batch(16384, 2)
    evaluated = [0]

    for one in block.micro_batches(64):
        predictor = learner.predictor()
        monitor.predicted(one, predictor, predictor.predict(one.inputs))
        learner.learn(one)
        if monitor.drift.events > evaluated[-1]:
            evaluated.append(monitor.drift.events)

    ends, taken = np.array(evaluated[2:]), np.array([point.events for point in monitor.curve.points])
    assert set(np.diff(ends[ends <= 8192])) == {together_after(0)} == {512}
    assert set(np.diff(ends[ends > 8192])) == {together_after(8192)} == {1024}
    assert set(np.diff(taken[taken > 8192])) == {1024}


def test_predictions_of_other_classes_or_shapes_do_not_fit() -> None:
    learner = Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float32", (2,))}, params={"expansion": 0}, seed=0))
    before, one, gathered = learner.predictor(), batch(8, 2), Gathered()
    gathered.add(one, before, before.predict(one.inputs))
    learner.learn(one)
    after = learner.predictor()

    assert not gathered.fits(after, after.predict(one.inputs))
    assert not gathered.fits(before, {"label": np.zeros(8, np.int32)})
