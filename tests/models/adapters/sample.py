"""Small streams for estimators of other libraries, and those that run as a service in the tests."""

from __future__ import annotations

import time

import numpy as np

from tests.samples import FEATURES, Sample, events
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import TensorSpec

INPUTS = {"features": TensorSpec("features", "float32", (FEATURES,))}


def two_classes(count: int, first: int = 0, seed: int = 0) -> Batch:
    """Of the classes `ok` and `fraud`, which a linear model tells apart."""
    random = np.random.default_rng(seed + first)
    codes = random.integers(0, 2, count).astype(np.int32)
    features = random.normal(0, 0.3, (count, FEATURES)).astype(np.float32)
    features[np.arange(count), codes] += 1
    ids = [f"e{first + i}" for i in range(count)]
    labels = ClassLabels(codes, ("ok", "fraud"))
    return Batch({"features": features}, labels, np.ones(count), np.full(count, time.time()), ids)


def numbers(count: int, first: int = 0, seed: int = 0) -> Batch:
    """A linear function of the features, with noise."""
    classes = events(count, first, seed)
    noise = np.random.default_rng(seed + first + 1).normal(0, 0.05, count)
    values = classes.inputs["features"] @ np.array([1.0, -2.0, 0.5, 0.0]) + noise
    return Batch(classes.inputs, NumberLabels(values[:, None]), classes.weights, classes.times, classes.ids)


_INPUTS = 'inputs.features = { shape = [4], dtype = "float32" }\n'
LINEAR = "river:river.linear_model.LogisticRegression"
TREE = "river:river.tree.HoeffdingAdaptiveTreeClassifier"
MATRIX = "sklearn:sklearn.linear_model.SGDClassifier"
SAMPLES = {
    LINEAR: Sample(configuration=f'learner = "{LINEAR}"\n{_INPUTS}params = {{ l2 = 0.001 }}\n', events=two_classes),
    TREE: Sample(configuration=f'learner = "{TREE}"\n{_INPUTS}params = {{ grace_period = 20 }}\n', events=events),
    MATRIX: Sample(
        configuration=f'learner = "{MATRIX}"\n{_INPUTS}params = {{ classes = ["a", "b", "c"] }}\n', events=events
    ),
}
