"""Estimators of scikit-learn as learners: each passes the contract, whatever it is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.models.adapters.sample import INPUTS, numbers, two_classes
from tests.samples import events
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError, Predictor
from thalweg.models.contract.registry import find
from thalweg.models.contract.testing import LearnerContract
from thalweg.proto.columns import label_column
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.rejected import Refused


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


def test_the_names_of_all_classes_are_needed_before_the_first_event() -> None:
    path = "sklearn.linear_model.SGDClassifier"
    with pytest.raises(ParamsError, match="classes: missing; scikit-learn needs the names of all classes"):
        learner(path)
    with pytest.raises(ParamsError, match=r"classes: expected at least two different names, got \['a', 'a'\]"):
        learner(path, classes=["a", "a"])
    with pytest.raises(ParamsError, match="classes: no such key: the estimator is a regressor"):
        learner("sklearn.linear_model.SGDRegressor", classes=["a", "b"])
    with pytest.raises(ParamsError, match="alhpa: no such key; did you mean alpha"):
        learner(path, classes=["a", "b"], alhpa=1.0)


@pytest.mark.parametrize(
    ("given", "named", "labels", "codes"),
    [
        ([True, False], ("true", "false"), [True, "True", "false", "NA", None], [0, 0, 1, -1, -1]),
        (["True", "False"], ("True", "False"), [True, "True", False, "FALSE"], [0, 0, 1, 1]),
        ([1, 0], ("1", "0"), [1, 1.0, "1", "0.0"], [0, 0, 0, 1]),
        (["NA", "ok"], ("NA", "ok"), ["NA", "ok", "nan"], [0, 1, -1]),
    ],
)
def test_classes_are_named_as_labels_are_on_the_way_in_and_out(
    given: list[Any], named: tuple[str, ...], labels: list[Any], codes: list[int]
) -> None:
    made = learner("sklearn.naive_bayes.GaussianNB", classes=given)

    found = label_column(made.schema, labels)
    made.learn(replace(events(4), labels=label_column(made.schema, [*named, *named])))

    assert made.predictor().classes == made.schema.classes == named
    assert isinstance(found, ClassLabels)
    assert found.recoded({name: code for code, name in enumerate(named)}).tolist() == codes
    with pytest.raises(Refused, match="expected one of the classes"):
        label_column(made.schema, ["another"])


def test_a_users_factory_that_asks_for_the_classes_gets_them() -> None:
    path = "tests.models.adapters.pipelines.priors_of"
    made = learner(path, classes=["a", "b"])

    made.learn(replace(events(4), labels=label_column(made.schema, ["a", "b", "a", "b"])))

    assert made.predictor().classes == ("a", "b")
    with pytest.raises(ParamsError, match="classes: missing"):
        learner(path)


def test_columns_of_scores_are_in_the_order_of_the_parameter_and_other_classes_are_skipped_and_counted() -> None:
    made = learner("sklearn.naive_bayes.GaussianNB", classes=["c", "a"])
    made.learn(events(60))
    batch = events(40, 100)
    assert isinstance(batch.labels, ClassLabels)

    predictor = made.predictor()
    answer = predictor.predict(batch.inputs)

    assert predictor.classes == ("c", "a")
    known = np.array([batch.labels.names[code] in "ac" for code in batch.labels.codes])
    told = np.array([predictor.classes[code] for code in answer["label"]])
    named = np.array([batch.labels.names[code] for code in batch.labels.codes])
    assert (told == named)[known].mean() > 0.9
    assert made.gauges()["excess_class_events"] > 10


def test_a_clusterer_waits_for_as_many_events_as_clusters_and_learns_them_all() -> None:
    path = "sklearn.cluster.MiniBatchKMeans"
    whole, split = (learner(path, n_clusters=3) for _ in range(2))
    batch = events(20)
    whole.learn(batch)
    for part in (batch[:1], batch[1:2]):
        split.learn(part)
        assert split.predictor().predict(batch.inputs)["label"].tolist() == [-1] * 20
        restored = learner(path, n_clusters=3)
        restored.restore(split.state())
        split = restored

    split.learn(batch[2:])

    assert split.state().tensors["objects"].tolist() == whole.state().tensors["objects"].tolist()
    assert set(split.predictor().predict(batch.inputs)["label"].tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sklearn.linear_model.LogisticRegression", "expected an estimator with partial_fit, got a sklearn"),
        ("sklearn.preprocessing.StandardScaler", "expected a classifier, a regressor or a clusterer of scikit-learn"),
        ("sklearn.linear_model.SGDClassifer", "did you mean sklearn.linear_model.SGDClassifier"),
    ],
)
def test_an_estimator_that_cannot_learn_from_a_stream_is_refused_by_name(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learner(path)


def test_a_part_without_a_random_state_gets_the_models_seed() -> None:
    path = "sklearn.linear_model.SGDClassifier"
    one, other = (learner(path, seed=seed, classes=["a", "b", "c"]) for seed in (1, 2))

    assert (one._lent.estimator.random_state, other._lent.estimator.random_state) == (1, 2)  # type: ignore[attr-defined]
