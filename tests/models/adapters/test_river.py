"""River's estimators as learners: each passes the contract, whatever it is made of."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.models.adapters.sample import INPUTS, numbers, two_classes
from tests.samples import events
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerContext, Predictor
from thalweg.models.contract.registry import find
from thalweg.models.contract.testing import LearnerContract
from thalweg.proto.event import Batch


def learner(path: str, inputs: Any = None, seed: int = 0, **params: Any) -> Learner:
    return find(f"river:{path}")(LearnerContext(inputs=inputs or INPUTS, params=params, seed=seed))


class _Contract(LearnerContract):
    path: ClassVar[str]
    params: ClassVar[dict[str, Any]] = {}
    stream: ClassVar[Any] = staticmethod(events)

    def new(self) -> Learner:
        return learner(self.path, **self.params)

    def other(self) -> Learner:
        return learner(self.path, seed=7, **self.params)

    def batches(self) -> list[Batch]:
        made = [self.stream(count, 100 * number) for number, count in enumerate((20, 1, 30, 9, 17))]
        return [*made, self.stream(3, 700).unlabelled()]

    def predictor_from(self, state: State) -> Predictor:
        return find(f"river:{self.path}").predictor_from(state)


class _Numbers(_Contract):
    gauges_left_out = frozenset({"classes", "excess_class_events"})
    stream = staticmethod(numbers)


class TestLogisticRegression(_Contract):
    path = "river.linear_model.LogisticRegression"
    stream = staticmethod(two_classes)


class TestPassiveAggressive(_Contract):
    path = "river.linear_model.PAClassifier"
    stream = staticmethod(two_classes)


class TestPerceptron(_Contract):
    path = "river.linear_model.Perceptron"
    stream = staticmethod(two_classes)


class TestAlma(_Contract):
    path = "river.linear_model.ALMAClassifier"
    stream = staticmethod(two_classes)


class TestLinearRegression(_Numbers):
    path = "river.linear_model.LinearRegression"


class TestBayesianLinearRegression(_Numbers):
    path = "river.linear_model.BayesianLinearRegression"


class TestHoeffdingTree(_Contract):
    path = "river.tree.HoeffdingTreeClassifier"
    params: ClassVar = {"grace_period": 10, "delta": 0.1}


class TestHoeffdingAdaptiveTree(_Contract):
    path = "river.tree.HoeffdingAdaptiveTreeClassifier"
    params: ClassVar = {"grace_period": 10, "delta": 0.1}


class TestHoeffdingTreeRegressor(_Numbers):
    path = "river.tree.HoeffdingTreeRegressor"
    params: ClassVar = {"grace_period": 10, "delta": 0.1}


class TestAdaptiveRandomForest(_Contract):
    path = "river.forest.ARFClassifier"
    params: ClassVar = {"n_models": 2, "grace_period": 10, "delta": 0.1}


class TestMondrianForest(_Contract):
    path = "river.forest.AMFClassifier"
    params: ClassVar = {"n_estimators": 2}


class TestGaussianNaiveBayes(_Contract):
    path = "river.naive_bayes.GaussianNB"


class TestNearestNeighbours(_Contract):
    path = "river.neighbors.KNNClassifier"
    params: ClassVar = {"n_neighbors": 3}


class TestHalfSpaceTrees(_Numbers):
    path = "river.anomaly.HalfSpaceTrees"
    params: ClassVar = {"n_trees": 3, "height": 3, "window_size": 10}


class TestKMeans(_Contract):
    path = "river.cluster.KMeans"
    params: ClassVar = {"n_clusters": 3, "halflife": 0.4}
    gauges_left_out = frozenset({"classes", "excess_class_events"})


class TestBagging(_Contract):
    path = "river.ensemble.SRPClassifier"
    params: ClassVar = {"n_models": 2, "model": {"class": "river.tree.HoeffdingTreeClassifier", "grace_period": 10}}


class TestPipelineOfAFactory(_Contract):
    path = "tests.models.adapters.pipelines.scaled"
    params: ClassVar = {"rate": 0.05}
    stream = staticmethod(two_classes)


class TestPipelineThatIsAnObject(_Contract):
    path = "tests.models.adapters.pipelines.own"
