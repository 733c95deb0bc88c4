"""Estimators of scikit-learn as learners: each passes the contract, whatever it is made of."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.models.adapters.sample import INPUTS, numbers, two_classes
from tests.samples import events
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerContext, Predictor
from thalweg.models.contract.registry import find
from thalweg.models.contract.testing import LearnerContract
from thalweg.proto.event import Batch


def learner(path: str, seed: int = 0, **params: Any) -> Learner:
    return find(f"sklearn:{path}")(LearnerContext(inputs=INPUTS, params=params, seed=seed))


class _Contract(LearnerContract):
    path: ClassVar[str]
    params: ClassVar[dict[str, Any]] = {"classes": ["a", "b", "c"]}
    stream: ClassVar[Any] = staticmethod(events)

    def new(self) -> Learner:
        return learner(self.path, **self.params)

    def other(self) -> Learner:
        return learner(self.path, seed=7, **self.params)

    def batches(self) -> list[Batch]:
        made = [self.stream(count, 100 * number) for number, count in enumerate((20, 1, 30, 9, 17))]
        return [*made, self.stream(3, 700).unlabelled()]

    def predictor_from(self, state: State) -> Predictor:
        return find(f"sklearn:{self.path}").predictor_from(state)


class TestStochasticGradientDescent(_Contract):
    path = "sklearn.linear_model.SGDClassifier"


class TestStochasticGradientDescentOfTwoClasses(_Contract):
    path = "sklearn.linear_model.SGDClassifier"
    params: ClassVar = {"classes": ["ok", "fraud"], "loss": "log_loss", "average": True}
    stream = staticmethod(two_classes)


class TestStochasticGradientDescentOfNumbers(_Contract):
    path = "sklearn.linear_model.SGDRegressor"
    params: ClassVar = {}
    stream = staticmethod(numbers)
    gauges_left_out = frozenset({"classes", "excess_class_events"})


class TestGaussianNaiveBayes(_Contract):
    path = "sklearn.naive_bayes.GaussianNB"


class TestPerceptron(_Contract):
    path = "sklearn.linear_model.Perceptron"


class TestMiniBatchKMeans(_Contract):
    path = "sklearn.cluster.MiniBatchKMeans"
    params: ClassVar = {"n_clusters": 3}
    gauges_left_out = frozenset({"classes", "excess_class_events"})


class TestMultilayerPerceptron(_Contract):
    path = "sklearn.neural_network.MLPClassifier"
    params: ClassVar = {"classes": ["a", "b", "c"], "hidden_layer_sizes": [5]}
