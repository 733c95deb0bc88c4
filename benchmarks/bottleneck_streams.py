"""The key-value bottleneck on four recorded streams: the default against counts alone and the values of the paper.

Each row is predicted, then learned, in micro-batches of 64 and one by one. The first 1,000 rows, from which the keys
are learned, are left out. The bounds are what values by gradient, the defaults of before, reach in the same run, less
0.3 points.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from typing import Any  # noqa: E402 - the environment comes first

import numpy as np  # noqa: E402

from benchmarks.bottleneck import PUBLISHED  # noqa: E402
from benchmarks.report import Result, at_least, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, load, no_streams  # noqa: E402
from thalweg.models.bottleneck.learner import Bottleneck  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.proto.event import Batch, ClassLabels  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402

STREAMS = ("electricity", "noaa_weather", "spoken_digits_recurring", "insects_gradual")
ROWS = 20_000
FIRST = 1000
"""Rows for the keys."""
_TINY = {"heads": 4, "pairs": 16, "key_width": 4, "key_steps": 5, "key_events": 50}


def prequential(name: str, size: int, rows: int, seed: int, **params: Any) -> tuple[float, float]:
    """Share predicted rightly, and mean log loss of the scores, of a stream's first rows."""
    features, labels = load(name, rows)
    spec = TensorSpec("features", "float32", (features.shape[1],))
    learner = Bottleneck(LearnerContext(inputs={"features": spec}, params=params, seed=seed))
    log = Batch({"features": features}, labels, np.ones(len(features)), np.arange(float(len(features))))
    first = min(FIRST, rows // 2)
    right, losses = 0, 0.0
    learner.learn(log[:first])
    for start in range(first, len(log), size):
        batch = log[start : start + size]
        predictor = learner.predictor()
        answer = predictor.predict(batch.inputs)
        assert isinstance(batch.labels, ClassLabels)
        columns = batch.labels.recoded({label: code for code, label in enumerate(predictor.classes)})
        known = columns >= 0
        given = answer["scores"][np.flatnonzero(known), columns[known]].astype(np.float64)
        losses -= float(np.log(given.clip(1e-12)).sum()) + np.log(1e-12) * int((~known).sum())
        right += int(((answer["label"] == columns) & known).sum())
        learner.learn(batch)
    return right / (len(log) - first), losses / (len(log) - first)


def compared(name: str, size: int, rows: int, seeds: int, **params: Any) -> Result:
    """The default beside what it replaces."""
    found = np.array([prequential(name, size, rows, seed, **params) for seed in range(seeds)])
    (right, loss), (spread, _) = found.mean(axis=0), found.std(axis=0)
    before = np.array([prequential(name, size, rows, seed, **{**PUBLISHED, **params}) for seed in range(seeds)])
    counts, counts_loss = prequential(name, size, rows, 0, decay=1.0, **params)
    bound = 100 * float(before[:, 0].mean()) - 0.3
    note = (
        f"± {100 * spread:.1f}, log loss {loss:.3f}; by gradient {100 * before[:, 0].mean():.1f} ± "
        f"{100 * before[:, 0].std():.1f}, {before[:, 1].mean():.3f}; counts {100 * counts:.1f}, {counts_loss:.3f}"
    )
    return at_least(f"{name}, by {size}", 100 * right, "%", round(bound, 1), note)


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """All four by 64, two of them row by row; `QUICK`: one seed of the first rows by 64."""
    if not SHARED.is_dir():
        return [no_streams("the bottleneck on streams")]
    rows, seeds = scale.of((ROWS, 3), quick=(4000, 1), tiny=(200, 1))
    params = _TINY if scale is Scale.TINY else {}
    results = [compared(name, 64, rows, seeds, **params) for name in STREAMS]
    if scale is Scale.FULL:
        results += [compared(name, 1, rows, 1) for name in ("electricity", "insects_gradual")]
    return results


if __name__ == "__main__":
    show("The bottleneck on streams, the learner as it comes", run(Scale.asked()))
