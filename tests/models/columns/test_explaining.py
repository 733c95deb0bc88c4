"""Predictions explained by columns, by name, whatever learner made them."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np
import pytest

from tests.models.columns.samples import COLUMNS, events_of, inputs_of
from tests.models.columns.test_staged import PARAMS, context
from thalweg.models.calibration.calibrated import calibrated
from thalweg.models.columns.explaining import CONSTANT, OTHERS, ColumnExplainer
from thalweg.models.columns.make import make_learner
from thalweg.models.columns.settings import columns_of
from thalweg.models.columns.stage import FeatureStage
from thalweg.models.contract.capabilities import Explainer, capability
from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import Inputs, TensorSpec


def taught(
    learner: str, params: dict[str, Any], table: dict[str, Any] = COLUMNS, encoder: str = "identity"
) -> Predictor:
    made = make_learner(learner, context(table, params), encoder)
    for number in range(8):
        made.learn(events_of(table, 40, number))
    return made.predictor()


def explained(predictor: Predictor, inputs: Any, most: int = 99) -> list[list[dict[str, Any]]]:
    explainer = capability(predictor, Explainer)
    assert explainer is not None
    return explainer.explain(inputs, most)


@pytest.mark.parametrize("most", [99, 2, 0])
@pytest.mark.parametrize(
    ("learner", "params"), [("ridge", {"expansion": 0}), ("ridge", {}), ("nearest_mean", PARAMS["nearest_mean"])]
)
def test_contributions_add_up_to_the_score(learner: str, params: dict[str, Any], most: int) -> None:
    predictor = taught(learner, params)
    inputs = inputs_of(columns_of(COLUMNS), 30, 50)

    rows, told = explained(predictor, inputs, most), predictor.predict(inputs)

    assert len(rows) == 30
    for row, entries in enumerate(rows):
        code = told["label"][row]
        names, cut = [entry["column"] for entry in entries], most < len(COLUMNS)
        assert names[-1 - cut :] == [OTHERS, CONSTANT][not cut :]
        assert len(names) == min(most, len(COLUMNS)) + 1 + cut
        assert COLUMNS.keys() >= set(names[: -1 - cut])
        assert {entry["label"] for entry in entries} == {predictor.classes[code]}
        assert sum(entry["contribution"] for entry in entries) == pytest.approx(told["scores"][row, code], abs=1e-5)
        sizes = [abs(entry["contribution"]) for entry in entries[: -1 - cut]]
        assert sizes == sorted(sizes, reverse=True)


def test_a_linear_contribution_is_weight_times_feature() -> None:
    predictor: Any = taught("ridge", {"expansion": 0})
    inputs = inputs_of(columns_of(COLUMNS), 5, 50)
    features = predictor.features(inputs)["features"]
    of_amount = [name.startswith("amount") for name in predictor.feature_names]
    alone = predictor.inner.predict({"features": np.where(of_amount, features, 0).astype(np.float32)})["scores"]
    nothing = predictor.inner.predict({"features": np.zeros_like(features)})["scores"]

    codes = predictor.predict(inputs)["label"]
    for row, entries in enumerate(explained(predictor, inputs)):
        amount = next(entry["contribution"] for entry in entries if entry["column"] == "amount")
        assert amount == pytest.approx((alone - nothing)[row, codes[row]], abs=1e-5)


class Together:
    """Answers with the product of two features, and the third: an effect of two columns together."""

    outputs: ClassVar = {"value": TensorSpec("value", "float64", (1,))}

    def predict(self, inputs: Inputs) -> dict[str, Any]:
        x = inputs["features"].astype(np.float64)
        return {"value": (x[:, 0] * x[:, 1] + x[:, 2])[:, None]}


def test_an_effect_of_two_columns_together_is_half_of_each() -> None:
    plain = {name: {"kind": "numeric", "scale": False, "missing": "impute"} for name in "abc"}
    stage = FeatureStage(columns_of(plain))
    stage.all_fire()
    inputs = {"a": np.array([3.0]), "b": np.array([4.0]), "c": np.array([5.0])}

    [entries] = ColumnExplainer(cast(Predictor, Together()), stage.transform, stage.known).explain(inputs, 9)

    told = {entry["column"]: entry["contribution"] for entry in entries}
    assert told == pytest.approx({"a": 6.0, "b": 6.0, "c": 5.0, CONSTANT: 0.0})


def test_the_column_that_decides_stands_first_with_its_value() -> None:
    table = {name: COLUMNS[name] for name in ("amount", "member", "comment")}
    predictor = taught("ridge", {"expansion": 32}, table)
    inputs = dict(inputs_of(columns_of(table), 4))
    inputs["amount"] = np.array([20.0, 20.0, 20.0, np.nan])
    inputs["comment"][0] = "é".encode() * 300

    rows = explained(predictor, inputs)

    assert [entries[0]["column"] for entries in rows[:3]] == ["amount"] * 3
    assert rows[0][0]["value"] == 20.0
    values = [{entry["column"]: entry["value"] for entry in entries} for entries in rows]
    assert values[3]["amount"] is None
    assert values[0]["comment"] == "é" * 200
    assert [len(entries) for entries in explained(predictor, inputs, 2)] == [2 + 2] * 4


@pytest.mark.parametrize("encoder", ["identity", "random_features:16"])
@pytest.mark.parametrize("learner", ["bottleneck", "nearest_mean"])
def test_other_learners_are_explained_by_columns_too(learner: str, encoder: str) -> None:
    predictor = taught(learner, PARAMS[learner], encoder=encoder)

    rows = explained(predictor, inputs_of(columns_of(COLUMNS), 5, 50))

    assert all({entry["column"] for entry in entries} == {*COLUMNS, CONSTANT} for entries in rows)
    assert any(abs(entry["contribution"]) > 1e-6 for entries in rows for entry in entries)


def test_a_calibrated_model_is_explained_as_the_one_behind_it() -> None:
    made = calibrated(make_learner("ridge", context(COLUMNS, {})), on=True)
    made.learn(events_of(COLUMNS, 40))

    assert explained(made.predictor(), events_of(COLUMNS).inputs)[0][0].keys() == {
        "label",
        "column",
        "value",
        "contribution",
    }


def test_a_value_is_explained_as_a_score_is_and_several_numbers_each() -> None:
    table = {name: COLUMNS[name] for name in ("amount", "member", "comment")}
    for targets in (1, 2):
        made = make_learner("ridge", context(table, {"task": "regression", "targets": targets}))
        events = events_of(table, 40)
        values = np.repeat(np.nan_to_num(events.inputs["amount"])[:, None], targets, axis=1)
        made.learn(Batch(events.inputs, NumberLabels(values), events.weights, events.times))

        entry = explained(made.predictor(), events.inputs, 1)[0][0]

        assert entry["column"] == "amount"
        assert "label" not in entry
        assert np.shape(entry["contribution"]) == (() if targets == 1 else (2,))


def test_what_has_learned_nothing_explains_nothing() -> None:
    assert explained(make_learner("ridge", context(COLUMNS, {})).predictor(), events_of(COLUMNS, 3).inputs) == [[]] * 3
