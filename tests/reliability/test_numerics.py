"""Numbers that an adversary or a broken sensor sends: states stay finite, nothing is printed, learning goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.samples import sample
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.registry import BUILT_IN
from thalweg.ops.config.config import load
from thalweg.ops.run.app import new_learner, new_monitor, settings_of
from thalweg.proto.event import Batch, ClassLabels, Decoded, NumberLabels
from thalweg.stream.drift.inputs import ColumnsWatch
from thalweg.stream.learn.blocks import DecodedBlock
from thalweg.stream.learn.fold import Fold


class _Folded:
    """A learner with its evaluation and drift detection, as the service folds blocks into them."""

    def __init__(self, name: str, folder: Path) -> None:
        (folder / "c.toml").write_text(f'[[model]]\nname = "m"\ntopic = "t"\n{sample(name).configuration}')
        model = load(folder / "c.toml", {}).find("m")
        self.learner = new_learner(model)
        monitor = new_monitor(model, self.learner)
        self.fold = Fold(self.learner, InMemorySnapshots(), settings_of(model, 1 << 20), monitor)

    def apply(self, batch: Batch) -> None:
        self.fold.apply(DecodedBlock(self.fold.version + 1, len(batch), [Decoded(batch)], {}))

    def finite(self) -> bool:
        floats = [array for array in self.learner.state().tensors.values() if array.dtype.kind == "f"]
        return not any(np.isnan(array).any() for array in floats)


def adversary(batch: Batch) -> Batch:
    """The same events with every label another one than is true."""
    labels: Any = batch.labels
    if isinstance(labels, ClassLabels):
        codes = np.where(labels.codes >= 0, (labels.codes + 1) % len(labels.names), labels.codes).astype(np.int32)
        labels = replace(labels, codes=codes)
    elif isinstance(labels, NumberLabels):
        labels = NumberLabels(1.0 - labels.values)
    return replace(batch, labels=labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BUILT_IN.keys() - {"cotta"}))  # which learns from no label
def test_labels_flipped_for_a_thousand_events_leave_a_learner_that_recovers(name: str, tmp_path: Path) -> None:
    folded = _Folded(name, tmp_path)
    events = sample(name).events
    folded.apply(events(100))

    for block in range(10):
        folded.apply(adversary(events(100, 1000 + 100 * block)))
        assert folded.finite()
    if "label" not in folded.learner.predictor().outputs:
        return
    for block in range(14):
        folded.apply(events(100, 5000 + 100 * block))
    after = events(100, 9000)
    assert isinstance(after.labels, ClassLabels)
    predictor = folded.learner.predictor()
    answers = [predictor.classes[code] for code in predictor.predict(after.inputs)["label"]]
    assert np.mean([answer == after.labels.names[code] for answer, code in zip(answers, after.labels.codes)]) > 0.7


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_constant_stream_leaves_a_finite_state(name: str, tmp_path: Path) -> None:
    folded = _Folded(name, tmp_path)
    one = sample(name).events(1)
    same = replace(one.take(np.zeros(64, np.int64)), ids=None)

    for _ in range(6):
        folded.apply(same)

    assert folded.finite()
    assert folded.learner.predictor().predict(same.inputs)


@pytest.mark.parametrize("categorical", [True, False])
@pytest.mark.parametrize("usual", [0.0, 1.0, 1e-38, 1e37])
def test_extreme_values_after_any_reference_are_watched_without_a_warning(categorical: bool, usual: float) -> None:
    noise = np.random.default_rng(0).normal(size=(4000, 2))
    rows = (usual * (1.0 + noise)).astype(np.float32)
    largest = np.finfo(np.float32).max
    rows[3000:] = np.resize([largest, -largest, 0.0, 1e-45, np.nan, np.inf], (1000, 2))
    watch = ColumnsWatch(["a", "b"], [categorical, categorical])

    for part in np.array_split(rows, 40):
        watch.feed(part)
