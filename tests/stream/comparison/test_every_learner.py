"""Every built-in learner's predictions have losses, within the range that its task says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.samples import sample
from thalweg.models.contract.capabilities import predict_batch
from thalweg.models.contract.registry import BUILT_IN
from thalweg.ops.config.config import load
from thalweg.ops.run.app import new_learner
from thalweg.proto.event import Places
from thalweg.proto.records import Partition
from thalweg.proto.task import task_of
from thalweg.stream.comparison.bounds import STEP, Bounds
from thalweg.stream.comparison.losses import LossName, LossOfEvents, NoSuchLoss, range_of


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_losses_of_every_learner_are_those_of_its_task_and_can_be_bounded(tmp_path: Path, name: str) -> None:
    path = tmp_path / "thalweg.toml"
    path.write_text('[[model]]\nname = "m"\ntopic = "t"\n' + sample(name).configuration)
    learner = new_learner(load(path, {}).model[0])
    count = 3 * STEP
    events = sample(name).events(count)
    batch = replace(events, places=Places.of(Partition("t", 0), list(range(count))))
    names: tuple[LossName, ...] = ("auto", "zero_one", "brier", "log_loss")
    found = 0
    for begin in range(0, count, STEP):  # nothing learned yet, then some
        part = batch[begin : begin + STEP]
        predictor = learner.predictor()
        outputs = predict_batch(predictor, part)
        task = task_of(predictor, outputs)
        for loss in names:
            try:
                low, high = range_of(task, loss)
            except NoSuchLoss:
                assert loss != "auto"
                continue
            losses = LossOfEvents(loss).of(part, predictor, outputs)
            assert losses is not None
            known = losses.losses[~np.isnan(losses.losses)]
            assert ((known >= low) & (known <= high)).all()
            assert len(losses) == STEP
            scaled = Bounds(low, high).after(losses.losses).bounded(losses.losses)
            assert np.isnan(scaled).all() or ((scaled >= 0) & (scaled <= 1)).all()
            found += len(known)
        learner.learn(part)

    assert found
