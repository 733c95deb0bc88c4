"""A feature that was 0 in all that was learned has no effect on a prediction, whatever learner is behind the stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.models.columns import test_staged
from tests.models.columns.samples import texts
from tests.models.columns.test_staged import PARAMS, context
from thalweg.memory.snapshots.state import State
from thalweg.models.columns.make import make_learner, predictor_maker
from thalweg.models.columns.settings import columns_of
from thalweg.models.columns.stage import FeatureStage
from thalweg.models.columns.staged import STAGE_FIRED
from thalweg.models.contract.battery.given import stored
from thalweg.models.contract.learner import Learner
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import Inputs

TABLE: dict[str, Any] = {
    "amount": "numeric",
    "again": "numeric",
    "fixed": "numeric",
    "never": "boolean",
    "colour": {"kind": "categorical", "categories": ["red", "blue", "green"]},
    "bucket": {"kind": "hashed", "buckets": 8},
    "pair": {"kind": "list", "length": 2},
    "paid": "datetime",
}
IDS: dict[str, Any] = {"user": "hashed", "item": "hashed"}
NETWORK = {"dim": 4, "hidden": "8", "train_batch": 16, "table_rows": 64, "memory_bytes": 100_000}
LEARNERS: dict[str, dict[str, Any]] = {
    **{name: params for name, params in PARAMS.items() if name != "cotta"},
    "error_memory": NETWORK,
    "sklearn:sklearn.neural_network.MLPRegressor": {"hidden_layer_sizes": [16], "random_state": 0},
}
NUMBERS = {"error_memory", "sklearn:sklearn.neural_network.MLPRegressor"}


def rows(count: int = 96, seed: int = 0) -> Inputs:
    """`fixed` is 5, `never` 0, `bucket` and `colour` have one value each; nothing is missing."""
    random = np.random.default_rng(seed)
    return {
        "amount": random.normal(10.0, 2.0, count),
        "again": random.normal(size=count),
        "fixed": np.full(count, 5.0),
        "never": np.zeros(count),
        "colour": texts(["red"] * count),
        "bucket": texts(["b"] * count),
        "pair": random.normal(size=(count, 2)),
        "paid": 1.7e9 + 3600.0 * np.arange(count),
        "user": texts([f"u{one}" for one in random.integers(0, 5, count)]),
        "item": texts([f"i{one}" for one in random.integers(0, 5, count)]),
    }


def table_for(name: str) -> dict[str, Any]:
    return TABLE | IDS if name == "error_memory" else TABLE


def learned(name: str, events: Inputs) -> tuple[Learner, Inputs]:
    table = table_for(name)
    learner = make_learner(name, context(table, LEARNERS[name]))
    inputs = {column: events[column] for column in table}
    high = events["amount"] > 10.0
    labels: Any = ClassLabels(high.astype(np.int32), ("low", "high"))
    if name in NUMBERS:
        labels = NumberLabels(high.astype(np.float64)[:, None])
    count = len(high)
    for start in range(0, count, 16):
        part = slice(start, start + 16)
        some = {column: array[part] for column, array in inputs.items()}
        told = replace(labels, codes=labels.codes[part]) if name not in NUMBERS else NumberLabels(labels.values[part])
        learner.learn(Batch(some, told, np.ones(16), np.arange(start, start + 16) + 1.7e9))
    return learner, {column: array[-1:] for column, array in inputs.items()}


def answers(predictor: Any, inputs: Inputs) -> dict[str, Any]:
    found = predictor.predict(inputs)
    return {name: np.array(found[name]) for name in ("score", "scores", "value") if name in found}


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize(
    "changed",
    [
        {"fixed": np.array([6.0])},
        {"never": np.array([1.0])},
        {"colour": texts(["blue"])},
        {"fixed": np.array([np.nan])},
        {"never": np.array([np.nan]), "fixed": np.array([np.nan])},
    ],
    ids=["a constant changes", "a boolean that was never true", "a category that never came", "missing", "two missing"],
)
def test_what_was_constant_in_all_that_was_learned_has_no_effect(name: str, changed: dict[str, Any]) -> None:
    learner, row = learned(name, rows())

    kept = answers(learner.predictor(), row)
    other = answers(learner.predictor(), row | changed)

    if "colour" in changed:  # its usual category is taken away, too
        row |= {"colour": texts([""])}
        kept = answers(learner.predictor(), row)
    assert kept
    for output, values in kept.items():
        np.testing.assert_array_equal(other[output], values, output)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("column", ["amount", "pair"])
def test_a_column_that_is_left_out_for_the_first_time_is_at_its_mean(name: str, column: str) -> None:
    """Nothing else has an effect: the mark of missing values never fired."""
    learner, row = learned(name, rows())
    predictor: Any = predictor_maker(name, context(table_for(name), LEARNERS[name]))(
        stored(learner.predictor().state())
    )
    place = predictor.transform.layout.names(predictor.known.categories).index({"pair": "pair[0]"}.get(column, column))
    mean = predictor.known.shift[place : place + 1 + (column == "pair"), 0]

    left_out = answers(predictor, {name: array for name, array in row.items() if name != column})

    assert left_out
    for output, values in answers(predictor, row | {column: mean.reshape(row[column].shape)}).items():
        np.testing.assert_allclose(left_out[output], values, rtol=1e-6, atol=1e-6)


def test_a_mark_that_fired_once_has_little_effect_on_a_network_of_random_weights() -> None:
    events = rows()
    events["amount"][10] = np.nan
    learner, row = learned("error_memory", events)
    predictor: Any = learner.predictor()
    place = predictor.feature_names.index("amount")
    at_mean = row | {"amount": predictor.known.shift[place]}

    marked = answers(predictor, row | {"amount": np.array([np.nan])})["score"]

    assert abs(marked - answers(predictor, at_mean)["score"]) < 0.05


def test_a_state_of_a_version_that_did_not_note_what_fired_is_taken_up_with_all_features() -> None:
    learner, _ = learned("ridge", rows())
    state = learner.state()
    before = State({name: one for name, one in state.tensors.items() if name != STAGE_FIRED}, state.meta)
    again = make_learner("ridge", context(TABLE, LEARNERS["ridge"]))

    again.restore(stored(before))

    known: Any = again.predictor()
    assert known.known.fired.all()
    assert not learner.predictor().known.fired.all()  # type: ignore[attr-defined]


def test_stages_that_are_merged_know_what_fired_in_either() -> None:
    columns = columns_of({"bucket": {"kind": "hashed", "buckets": 256}})
    one, other = (FeatureStage(columns) for _ in range(2))
    for stage, text in ((one, "a"), (other, "c")):
        stage.learn(Batch({"bucket": texts([text])}, NumberLabels(np.zeros((1, 1))), np.ones(1), np.zeros(1)))
    apart = one.known.fired | other.known.fired

    one.merge(other)

    assert one.known.fired.sum() == 2
    assert np.array_equal(one.known.fired, apart)


def test_a_network_that_was_trained_before_has_all_its_features_from_the_start() -> None:
    learner: Any = make_learner("cotta", context(test_staged.TestCotta.table, PARAMS["cotta"]))

    assert learner.predictor().known.fired.all()
