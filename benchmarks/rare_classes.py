"""Classes of very unequal frequency: what balanced heads of ridge find of the rare ones, beside the plain head.

Ten overlapping classes with 1,000 … 10 events, in random order; accuracy is the mean over classes on as many unseen
events of each. Controls: guessing, and the nearest class mean, which gives every class the same weight anyway.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from typing import Any  # noqa: E402 - the environment comes first

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.report import Result, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.contract.registry import find  # noqa: E402
from thalweg.proto.event import Batch, ClassLabels  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402

CLASSES, WIDTH, APART = 10, 32, 0.6
"""The centres of classes are normal with this deviation; events with 1."""
NAMES = tuple(str(kind) for kind in range(CLASSES))
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ridge, default settings": ("ridge", {}),
    "… balance = pseudo_features": ("ridge", {"balance": "pseudo_features"}),
    "… balance = reweighted": ("ridge", {"balance": "reweighted"}),
    "ridge, expansion = 256, forgetting = 1": ("ridge", {"expansion": 256, "forgetting": 1}),
    "… and pseudo_features": ("ridge", {"expansion": 256, "forgetting": 1, "balance": "pseudo_features"}),
    "… and reweighted": ("ridge", {"expansion": 256, "forgetting": 1, "balance": "reweighted"}),
    "control: nearest_mean": ("nearest_mean", {}),
}


def events(counts: NDArray[np.int64], centres: NDArray[np.float64], random: np.random.Generator) -> Batch:
    """So many events of each class, in random order."""
    codes = random.permutation(np.repeat(np.arange(CLASSES), counts)).astype(np.int32)
    x = (centres[codes] + random.standard_normal((len(codes), WIDTH))).astype(np.float32)
    return Batch({"x": x}, ClassLabels(codes, NAMES), np.ones(len(x)), np.zeros(len(x)))


def balanced_accuracy(name: str, params: dict[str, Any], seed: int, most: int) -> float:
    """Mean over classes of the share right, in %."""
    random = np.random.default_rng(seed)
    centres = APART * random.standard_normal((CLASSES, WIDTH))
    counts = np.geomspace(most, max(most // 100, 1), CLASSES).round().astype(np.int64)
    shown, asked = events(counts, centres, random), events(np.full(CLASSES, most // 2), centres, random)
    inputs = {"x": TensorSpec("x", "float32", (WIDTH,))}
    learner = find(name)(LearnerContext(inputs=inputs, params=params, seed=seed))
    for start in range(0, len(shown), 64):
        learner.learn(shown[start : start + 64])
    predictor = learner.predictor()
    names = np.array([*predictor.classes, ""])  # type: ignore[attr-defined]
    labels = asked.labels
    assert isinstance(labels, ClassLabels)
    right = names[predictor.predict(asked.inputs)["label"]] == np.array(NAMES)[labels.codes]
    return 100 * float(np.mean([right[labels.codes == kind].mean() for kind in range(CLASSES)]))


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Each learner over the seeds; the spread is that from the lowest to the highest."""
    seeds, most = scale.of(4, quick=2, tiny=1), scale.of(1000, quick=1000, tiny=100)
    results = []
    for title, (name, params) in LEARNERS.items():
        found = [balanced_accuracy(name, params, seed, most) for seed in range(seeds)]
        note = f"{seeds} seeds, {min(found):.1f} to {max(found):.1f}; guessing 10"
        results.append(Result(name=f"rare classes: {title}", value=float(np.mean(found)), unit="%", note=note))
    return results


if __name__ == "__main__":
    show("Rare classes", run(Scale.asked()))
