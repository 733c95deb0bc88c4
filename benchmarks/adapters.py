"""What an estimator of River or scikit-learn costs as a learner beside its own time, and what its state costs.

Bare: the estimator's own methods, in a loop over dictionaries (or matrices) that were made before. As a learner: each
micro-batch of arrays is predicted, then learned, as the service does. Both in turn, several times; the least of each,
in CPU time.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable, Iterator  # noqa: E402 - the environment comes first
from time import process_time  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.report import Result, at_most, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.contract.registry import find  # noqa: E402
from thalweg.proto.event import Batch, ClassLabels, NumberLabels  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402

COLUMNS, SIZE = 10, 64
TARGET = 1.3
RIVER: dict[str, dict[str, Any]] = {
    "linear_model.LogisticRegression": {},
    "linear_model.PAClassifier": {},
    "linear_model.Perceptron": {},
    "linear_model.ALMAClassifier": {},
    "linear_model.LinearRegression": {},
    "linear_model.BayesianLinearRegression": {},
    "tree.HoeffdingTreeClassifier": {},
    "tree.HoeffdingAdaptiveTreeClassifier": {},
    "tree.HoeffdingTreeRegressor": {},
    "forest.ARFClassifier": {},
    "forest.AMFClassifier": {},
    "naive_bayes.GaussianNB": {},
    "neighbors.KNNClassifier": {},
    "anomaly.HalfSpaceTrees": {},
    "cluster.KMeans": {},
}
_CLASSES = {"classes": ["a", "b"]}
SKLEARN: dict[str, dict[str, Any]] = {
    "linear_model.SGDClassifier": _CLASSES,
    "linear_model.Perceptron": _CLASSES,
    "linear_model.SGDRegressor": {},
    "naive_bayes.GaussianNB": _CLASSES,
    "cluster.MiniBatchKMeans": {"n_clusters": 3},
}
_SLOW = {"forest.ARFClassifier", "forest.AMFClassifier", "neighbors.KNNClassifier"}
_SPECS = {f"c{number}": TensorSpec(f"c{number}", "float64", (), optional=True) for number in range(COLUMNS)}
_MATRIX = {"features": TensorSpec("features", "float64", (COLUMNS,))}


def batches(events: int, numbers: bool, matrix: bool) -> list[Batch]:
    """Two classes, or a number, that the first column tells."""
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 2, events).astype(np.int32)
    x = draw.standard_normal((events, COLUMNS))
    x[:, 0] += 1.5 * codes
    inputs = {"features": x} if matrix else {name: x[:, column].copy() for column, name in enumerate(_SPECS)}
    labels = NumberLabels(2 * x[:, :1] + 1) if numbers else ClassLabels(codes, ("a", "b"))
    return list(Batch(inputs, labels, np.ones(events), np.arange(float(events))).micro_batches(SIZE))


def river_alone(estimator: Any, kind: Any, stream: list[Batch]) -> Callable[[], None]:
    """The bare loop over the events of a stream."""
    events = []
    for batch in stream:
        labels: Any = batch.labels
        values = labels.values[:, 0].tolist() if isinstance(labels, NumberLabels) else labels.codes.tolist()
        targets = [bool(value) for value in values] if kind.binary else values
        rows = zip(*(batch.inputs[name].tolist() for name in _SPECS))
        events += [(dict(zip(_SPECS, row)), target) for row, target in zip(rows, targets)]
    name = {"regressor": "predict_one", "clusterer": "predict_one", "anomaly": "score_one"}.get(kind.kind)
    predict = getattr(estimator, name or ("predict_proba_one" if kind.probabilities else "predict_one"))

    def loop() -> None:
        learned = False
        for x, y in events:
            if learned:
                predict(x)
            if kind.supervised:
                estimator.learn_one(x, y)
            else:
                estimator.learn_one(x)
            learned = True

    return loop


def sklearn_alone(estimator: Any, kind: Any, stream: list[Batch]) -> Callable[[], None]:
    """The bare loop over the micro-batches of a stream."""
    parts = []
    for batch in stream:
        labels: Any = batch.labels
        y = labels.values[:, 0] if isinstance(labels, NumberLabels) else labels.codes
        parts.append((batch.inputs["features"], y))
    more = {"classes": np.arange(2)} if kind.kind == "classifier" else {}

    def loop() -> None:
        learned = False
        for x, y in parts:
            if learned:
                getattr(estimator, kind.scores or "predict")(x)
            estimator.partial_fit(x, y, **more)
            learned = True

    return loop


def measured(name: str, params: dict[str, Any], events: int, rounds: int) -> Iterator[Result]:
    """The ratio of one estimator, and what its state costs at the end."""
    factory: Any = find(name)
    of_river = name.startswith("river:")
    context = LearnerContext(inputs=_SPECS if of_river else _MATRIX, params=params)
    ours, bare = [], []
    for _ in range(rounds):
        learner: Any = factory(context)
        stream = batches(events, learner.schema.label == "number", not of_river)
        own = {key: value for key, value in params.items() if key != "classes"}
        alone = (river_alone if of_river else sklearn_alone)(factory.new(own, 0), learner._kind, stream)
        started = process_time()
        alone()
        bare.append(process_time() - started)
        started = process_time()
        for batch in stream:
            learner.predictor().predict(batch.inputs)
            learner.learn(batch)
        ours.append(process_time() - started)
    started = process_time()
    state = learner.predictor().state()
    walked = process_time() - started
    started = process_time()
    factory.predictor_from(state)
    made = process_time() - started
    each, as_learner = 1e6 * min(bare) / events, 1e6 * min(ours) / events
    note = (
        f"{each:.1f} µs an event alone, {as_learner:.1f} as a learner; after {events:,} events a version of "
        f"{state.size_bytes / 1e3:,.1f} kB is walked in {1e3 * walked:.1f} ms, made again in {1e3 * made:.1f}"
    )
    yield at_most(name, min(ours) / min(bare), "×", TARGET, note)


def run(scale: Scale) -> list[Result]:
    """All figures."""
    events = scale.of(5_000, 2_000, 128)
    rounds = scale.of(5, 2, 1)
    results = []
    for prefix, table in (("river:river", RIVER), ("sklearn:sklearn", SKLEARN)):
        for path, params in table.items():
            slow = path in _SLOW
            results += measured(f"{prefix}.{path}", params, events // 5 if slow else events, 1 if slow else rounds)
    return results


if __name__ == "__main__":
    show("estimators as learners", run(Scale.asked()))
