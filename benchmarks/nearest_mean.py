"""The nearest mean beside ridge where labels are few, then over whole streams, and what it costs.

Of a digits data set and four recorded streams, a few events of each class are learned and all the others answered.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable, Iterator, Mapping  # noqa: E402 - the environment comes first
from time import perf_counter  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.report import Result, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, TO_BEAT, load, no_streams  # noqa: E402
from thalweg.models.contract.learner import Learner, LearnerContext  # noqa: E402
from thalweg.models.contract.registry import find  # noqa: E402
from thalweg.proto.event import Batch, ClassLabels  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402

LABELS = (1, 2, 5, 10, 50)
"""Events of each class that are learned."""
ROWS = 6_000
"""Of a stream, from its beginning: few enough that it does not drift much."""
LEARNERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "nearest_mean": ("nearest_mean", {}),
    "plain means": ("nearest_mean", {"covariance": "none"}),
    "ridge": ("ridge", {}),
    "linear ridge": ("ridge", {"forgetting": 1, "expansion": 0}),
}


def made(learner: str, width: int, params: dict[str, Any]) -> Learner:
    """One that has learned nothing."""
    return find(learner)(
        LearnerContext(inputs={"features": TensorSpec("features", "float32", (width,))}, params=params)
    )


def digits() -> tuple[NDArray[np.float32], ClassLabels]:
    """Handwritten digits, 1,797 of 64 pixels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    names = tuple(str(name) for name in found.target_names)
    return found.data.astype(np.float32), ClassLabels(found.target.astype(np.int32), names)


def accuracy(learner: Learner, events: Batch) -> float:
    """Share in % of events (N,) whose class is answered."""
    predictor = learner.predictor()
    codes = {name: code for code, name in enumerate(predictor.classes)}
    assert isinstance(events.labels, ClassLabels)
    return 100 * float((predictor.predict(events.inputs)["label"] == events.labels.recoded(codes)).mean())


def few(events: Batch, labels: int, seed: int) -> tuple[Batch, Batch]:
    """So many events of each class, at random, and all the others."""
    assert isinstance(events.labels, ClassLabels)
    order = np.random.default_rng(seed).permutation(len(events))
    codes = events.labels.codes[order]
    chosen = np.concatenate([order[codes == code][:labels] for code in range(len(events.labels.names))])
    return events.take(np.sort(chosen)), events.take(np.setdiff1d(order, chosen))


def cold_start(name: str, events: Batch, seeds: int) -> Iterator[Result]:
    """Mean accuracy over random choices of the events that are learned."""
    width = events.inputs["features"].shape[1]
    for labels in LABELS:
        reached: dict[str, list[float]] = {label: [] for label in LEARNERS}
        for seed in range(seeds):
            learned, others = few(events, labels, seed)
            if not len(others):  # so many are not there
                return
            for label, (learner, params) in LEARNERS.items():
                one = made(learner, width, params)
                one.learn(learned)
                reached[label].append(accuracy(one, others))
        means = {label: float(np.mean(values)) for label, values in reached.items()}
        note = ", ".join(f"{label} {value:.1f}" for label, value in means.items() if label != "nearest_mean")
        title = f"{name}, {labels} label{'s'[: labels > 1]} a class"
        yield Result(name=title, value=means["nearest_mean"], unit="%", note=note)


def prequential(events: Batch, micro_batch: int, params: dict[str, Any]) -> tuple[float, float]:
    """Accuracy in %, each event answered before it was learned; events a second."""
    learner = made("nearest_mean", events.inputs["features"].shape[1], params)
    right = 0.0
    started = perf_counter()
    for batch in events.micro_batches(micro_batch):
        right += accuracy(learner, batch) * len(batch)
        learner.learn(batch)
    return right / len(events), len(events) / (perf_counter() - started)


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Digits and the streams; `QUICK` and `TINY` take fewer rows and choices."""
    rows, seeds = scale.of(None, quick=2000, tiny=200), scale.of(20, quick=2, tiny=1)
    sources: dict[str, Callable[[], tuple[NDArray[np.float32], ClassLabels]]] = {"digits": digits}
    if SHARED.is_dir():
        sources |= {name: lambda name=name: load(name, rows) for name in TO_BEAT}  # type: ignore[misc]
    results = []
    for name, source in sources.items():
        features, labels = source()
        whole = Batch({"features": features}, labels, np.ones(len(features)), np.arange(len(features), dtype=float))
        results += cold_start(name, whole[:ROWS], seeds)
        if name != "digits":
            kept, _ = prequential(whole, 1, {"decay": 0.995, "priors": "frequency"})
            never, speed = prequential(whole, 64, {})
            note = f"without decay and by 64: {never:.1f} %, {speed:,.0f} events/s"
            results.append(Result(name=f"{name}, row by row, decay 0.995", value=kept, unit="%", note=note))
    if not SHARED.is_dir():
        results.append(no_streams("real streams"))
    return results


if __name__ == "__main__":
    show("Nearest mean", run(Scale.asked()))
