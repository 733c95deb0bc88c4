"""Classes and outputs of shards that have learned different ones, and the mean over shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.ops.serve.serving import SPECS
from thalweg.models.contract.learner import LearnerContext, Predictor
from thalweg.models.nearest_mean import NearestMean
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve.by_key.keys import ROUTE
from thalweg.ops.serve.by_key.predictor import KeyedPredictor, Partitions
from thalweg.ops.serve.errors import NotReady, Unimplemented
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import CLASSIFICATION, REGRESSION, SEQUENCE, Task
from thalweg.stream.publication.ports import ServedVersion, VersionInfo
from thalweg.stream.shards.partitioner import partition_of


class Said:
    """Answers what it was told to, for any row."""

    inputs = {"x": TensorSpec("x", "float32", ())}  # noqa: RUF012 - never changed

    def __init__(
        self,
        task: Task,
        specs: Mapping[str, TensorSpec],
        outputs: Mapping[str, Any],
        classes: tuple[str, ...] = (),
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.task, self.outputs, self.classes = task, specs, classes
        self.properties = properties or {}
        self._said = outputs

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        rows = len(inputs["x"])
        return {name: np.repeat(np.array([one]), rows, axis=0) for name, one in self._said.items()}


PROBABILITIES = {"scores": "probabilities"}
LABELS = {"label": TensorSpec("label", "bytes", ()), "scores": TensorSpec("scores", "float32", (-1,))}


def classifier(label: int, scores: list[float], classes: tuple[str, ...], properties: Any = None) -> Predictor:
    said = {"label": np.int32(label), "scores": np.array(scores, dtype=np.float32)}
    return Said(CLASSIFICATION, LABELS, said, classes, properties)  # type: ignore[return-value]


def regressor(value: float) -> Predictor:
    spec = {"value": TensorSpec("value", "float64", (1,))}
    return Said(REGRESSION, spec, {"value": np.array([value])})  # type: ignore[return-value]


def keyed(*predictors: Predictor | None, learned: int = 5, **more: Any) -> KeyedPredictor:
    versions = [
        None if one is None else ServedVersion(one, VersionInfo(place + 1, learned, 0.0, 1.0, 1.0, 1))
        for place, one in enumerate(predictors)
    ]
    return KeyedPredictor("m", Partitions(len(versions), more.pop("before", 0)), versions, 1, **more)


def rows(*partitions: int | None, of: int) -> Inputs:
    """Rows with a key of these partitions."""
    keys = np.empty(len(partitions), dtype=object)
    for place, partition in enumerate(partitions):
        keys[place] = partition and next(
            key for number in range(1000) if partition_of(key := b"%d" % number, of) == partition - 1
        )
    return {"x": np.zeros(len(partitions), dtype=np.float32), ROUTE: keys}


def test_a_class_that_a_shard_has_not_seen_has_the_lowest_score_there() -> None:
    model = keyed(classifier(0, [0.75, 0.25], ("b", "a")), classifier(1, [0.5, 1.5], ("a", "c")))

    outputs = model.predict(rows(1, 2, 1, of=2))

    assert model.classes == ("a", "b", "c")
    assert [model.classes[code] for code in outputs["label"]] == ["b", "c", "b"]
    lowest = np.finfo(np.float32).min
    np.testing.assert_array_equal(outputs["scores"][:2], np.float32([[0.25, 0.75, lowest], [0.5, lowest, 1.5]]))
    assert np.isfinite(outputs["scores"]).all()


def test_a_class_that_a_shard_has_not_seen_has_the_probability_zero_there() -> None:
    model = keyed(
        classifier(0, [0.75, 0.25], ("b", "a"), PROBABILITIES),
        classifier(0, [1.0], ("c",), PROBABILITIES),
    )

    outputs = model.predict(rows(2, 1, of=2))

    np.testing.assert_array_equal(outputs["scores"], np.float32([[0, 0, 1], [0.25, 0.75, 0]]))


def test_the_order_of_the_classes_depends_on_their_set_alone() -> None:
    """Two servers that have seen the shards' versions in another order have the same columns."""
    one, other = ("x", "b"), ("a", "x")

    assert keyed(classifier(0, [0, 0], one), classifier(0, [0, 0], other)).classes == ("a", "b", "x")
    assert keyed(classifier(0, [0, 0], other), classifier(0, [0, 0], one)).classes == ("a", "b", "x")
    assert keyed(classifier(0, [0, 0], one), classifier(0, [0, 0], one)).classes == one
    configured = keyed(classifier(0, [0, 0], one), classifier(0, [0, 0], other), classes=("x", "b", "a", "z"))
    assert configured.classes == ("x", "b", "a", "z")
    assert configured.predict(rows(1, of=2))["scores"].shape == (1, 4)


def test_the_codes_of_a_sequences_types_are_those_of_all_shards() -> None:
    specs = {
        "next_time": TensorSpec("next_time", "float64", ()),
        "next_type": TensorSpec("next_type", "int64", ()),
        "type_scores": TensorSpec("type_scores", "float32", (-1,)),
        "next_types": TensorSpec("next_types", "int64", (2,)),
    }

    def shard(classes: tuple[str, ...], code: int) -> Any:
        scores = np.eye(len(classes), dtype=np.float32)[max(code, 0)]
        said = {"next_time": 3.5, "next_type": code, "type_scores": scores, "next_types": np.array([code, -1])}
        return Said(SEQUENCE, specs, said, classes)

    model = keyed(shard(("view", "buy"), 1), shard(("open",), -1))

    outputs = model.predict(rows(1, 2, of=2))

    assert model.classes == ("buy", "open", "view")
    assert outputs["next_type"].tolist() == [0, -1]
    assert outputs["next_types"].tolist() == [[0, -1], [-1, -1]]
    np.testing.assert_array_equal(outputs["type_scores"], np.float32([[1, 0, 0], [0, 1, 0]]))


def test_an_output_that_a_shard_has_not_got_is_no_answer_of_its_rows() -> None:
    wide = {**LABELS, "probabilities": TensorSpec("probabilities", "float32", (-1,))}
    said = {"label": np.int32(0), "scores": np.float32([1.0]), "probabilities": np.float32([1.0])}
    model = keyed(Said(CLASSIFICATION, wide, said, ("a",)), classifier(0, [0.5], ("a",)))  # type: ignore[arg-type]

    outputs = model.predict(rows(1, 2, of=2))

    assert outputs.keys() == wide.keys()
    np.testing.assert_array_equal(outputs["probabilities"], np.float32([[1.0], [np.nan]]))


def test_without_a_key_numbers_are_the_mean_over_the_shards_that_answer() -> None:
    model = keyed(regressor(1.0), regressor(4.0), None, regressor(np.nan))

    outputs = model.predict(rows(None, 2, of=4))

    assert outputs["value"].tolist() == [[2.5], [4.0]]


def test_without_a_key_the_class_is_that_of_the_highest_mean() -> None:
    model = keyed(
        classifier(0, [0.6, 0.4], ("a", "b"), PROBABILITIES),
        classifier(0, [0.9, 0.1], ("b", "a"), PROBABILITIES),
        classifier(0, [1.0], ("a",), PROBABILITIES),
    )

    outputs = model.predict(rows(None, of=3))

    np.testing.assert_allclose(outputs["scores"], np.float32([[1.7 / 3, 1.3 / 3]]), rtol=1e-6)
    assert [model.classes[code] for code in outputs["label"]] == ["a"]


def test_without_a_key_a_score_is_the_mean_over_the_shards_that_have_seen_its_class() -> None:
    model = keyed(classifier(0, [2.0, 1.0], ("a", "b")), classifier(0, [4.0], ("b",)))

    outputs = model.predict(rows(None, of=2))

    np.testing.assert_array_equal(outputs["scores"], np.float32([[2.0, 2.5]]))
    assert model.classes[outputs["label"][0]] == "b"


def test_without_scores_the_class_is_that_of_most_shards() -> None:
    def says(name: str) -> Any:
        return Said(CLASSIFICATION, {"label": LABELS["label"]}, {"label": np.int32(0)}, (name,))

    model = keyed(says("a"), says("b"), says("b"))

    assert model.classes[model.predict(rows(None, of=3))["label"][0]] == "b"


def test_an_output_of_whole_numbers_has_no_mean() -> None:
    specs = {"value": TensorSpec("value", "float64", (1,)), "count": TensorSpec("count", "int64", ())}
    model = keyed(Said(REGRESSION, specs, {"value": np.array([1.0]), "count": 3}))  # type: ignore[arg-type]

    with pytest.raises(Unimplemented, match="output 'count' \\(int64\\) has no mean over shards: expected a key"):
        model.predict(rows(None, of=1))


def test_no_shard_gives_no_mean() -> None:
    with pytest.raises(NotReady, match="none of its shards gives an answer yet: m~0: has learned nothing yet"):
        keyed(regressor(1.0), learned=0).predict(rows(None, of=1))


def test_a_shard_that_has_learned_no_number_has_no_answer_beside_others() -> None:
    def ridge() -> Ridge:
        return Ridge(LearnerContext(inputs=SPECS, params={"expansion": 0, "task": "regression"}, seed=0))

    taught = ridge()
    features = np.eye(4, dtype=np.float32)
    taught.learn(Batch({"features": features}, NumberLabels(np.ones((4, 1))), np.ones(4), np.arange(4.0)))
    model = keyed(taught.predictor(), ridge().predictor())
    inputs = {"features": features[:2], ROUTE: rows(1, 2, of=2)[ROUTE]}

    value = model.predict(inputs)["value"]

    assert np.isfinite(value).tolist() == [[True], [False]]


def test_shards_of_a_real_classifier_answer_as_they_do_alone() -> None:
    def learned(names: tuple[str, ...], seed: int) -> Predictor:
        learner = NearestMean(LearnerContext(inputs={"x": TensorSpec("x", "float32", (2,))}, params={}, seed=0))
        random = np.random.default_rng(seed)
        codes = random.integers(0, len(names), 60).astype(np.int32)
        x = (random.normal(0, 0.2, (60, 2)) + codes[:, None]).astype(np.float32)
        learner.learn(Batch({"x": x}, ClassLabels(codes, names), np.ones(60), np.arange(60.0)))
        return learner.predictor()

    shards = learned(("b", "a"), 0), learned(("c", "b", "d"), 1)
    model = keyed(*shards)
    route = rows(*([1, 2] * 20), of=2)[ROUTE]
    x = np.random.default_rng(2).normal(0, 1, (40, 2)).astype(np.float32)

    outputs = model.predict({"x": x, ROUTE: route})

    for row in range(40):
        alone = shards[row % 2]
        own = alone.predict({"x": x[row : row + 1]})
        assert model.classes[outputs["label"][row]] == alone.classes[own["label"][0]]
        columns = [model.classes.index(name) for name in alone.classes]
        np.testing.assert_array_equal(outputs["scores"][row, columns], own["scores"][0])
        assert not np.delete(outputs["scores"][row], columns).any()
