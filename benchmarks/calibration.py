"""Calibrated probabilities beside a learner's own scores on four recorded streams, and what the calibration costs.

Each row is predicted, graded, then learned, in micro-batches of 64. A learner's own: its scores as they are, as if they
were probabilities. Log loss leaves out events of classes that no model could know yet.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from time import thread_time  # noqa: E402 - the environment comes first

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.report import Result, at_most, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, TO_BEAT, load, no_streams  # noqa: E402
from thalweg.models.calibration.calibrated import CalibratedLearner, calibrated  # noqa: E402
from thalweg.models.contract.capabilities import predict_batch  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.contract.registry import find  # noqa: E402
from thalweg.proto.event import Batch, ClassLabels  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402
from thalweg.stream.evaluation.figures.calibration import Calibration  # noqa: E402

BATCH = 64
LEARNERS = ("ridge", "nearest_mean", "bottleneck")


class Graded:
    """Log loss and calibration error of some probabilities."""

    def __init__(self) -> None:
        self._losses: list[NDArray[np.float64]] = []
        self._calibration = Calibration()

    def add(self, given: NDArray[np.float32], columns: NDArray[np.int32]) -> None:
        """Probabilities (N, C), C ≥ 1, and the true columns (N,), -1 if unknown."""
        known = np.flatnonzero(columns >= 0)
        self._losses.append(-np.log(given[known, columns[known]].astype(np.float64).clip(1e-15, 1)))
        self._calibration.add(given.max(axis=1).astype(np.float64), given.argmax(axis=1) == columns)

    @property
    def log_loss(self) -> float:
        return float(np.concatenate(self._losses).mean())

    @property
    def error(self) -> float:
        return self._calibration.error or 0.0


def compared(name: str, log: Batch, width: int) -> tuple[Graded, Graded, float, float]:
    """Grades of a learner's own scores and of its probabilities; CPU microseconds an event of the calibration, and of
    learning with it.
    """
    context = LearnerContext(inputs={"features": TensorSpec("features", "float32", (width,))})
    learner = calibrated(find(name)(context))
    assert isinstance(learner, CalibratedLearner)
    own, better, extra, total = Graded(), Graded(), 0.0, 0.0
    for batch in log.micro_batches(BATCH):
        predictor = learner.predictor()
        outputs = predict_batch(predictor, batch)
        if not isinstance(batch.labels, ClassLabels) or not predictor.classes:
            learner.learn(batch)
            continue
        columns = batch.labels.recoded({name: code for code, name in enumerate(predictor.classes)})
        own.add(outputs["scores"], columns)
        better.add(outputs["probabilities"], columns)
        begun = thread_time()
        calibration = learner.calibration
        spread = calibration.spread(outputs["scores"])  # what is done in all, once more
        calibration.probabilities(spread, outputs["label"])
        calibration.after(spread, columns)
        middle = thread_time()
        learner.learn(batch)
        extra, total = extra + middle - begun, total + thread_time() - middle
    events = len(log)
    return own, better, 1e6 * extra / events, 1e6 * total / events


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Three learners on four streams, the first 20,000 rows of each."""
    if not SHARED.is_dir():
        return [no_streams("calibration")]
    results = []
    for stream in TO_BEAT:
        features, labels = load(stream, scale.of(20_000, quick=3000, tiny=200))
        count = len(features)
        log = Batch({"features": features}, labels, np.ones(count), np.arange(count, dtype=np.float64))
        for learner in LEARNERS[: scale.of(3, quick=2, tiny=2)]:
            own, better, extra, total = compared(learner, log, features.shape[1])
            name = f"{learner} on {stream}"
            note = f"own scores {own.log_loss:.3f}; calibration error {own.error:.3f} -> {better.error:.3f}"
            if scale is Scale.FULL:
                results.append(at_most(f"log loss, {name}", better.log_loss, "nats", own.log_loss, note))
            else:
                results.append(Result(name=f"log loss, {name}", value=better.log_loss, unit="nats", note=note))
            if stream == "electricity":
                note = f"{100 * extra / total:.1f} % of {total:.1f} µs for learning; in predicting and in learning"
                results.append(Result(name=f"calibration, {learner}", value=extra, unit="µs/event", note=note))
    return results


if __name__ == "__main__":
    show("Calibrated probabilities", run(Scale.asked()))
