"""Learners of ids from columns: clicks of named users on named items, and events of named keys, as their rows are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.models.columns.samples import events_of, texts
from tests.models.columns.test_staged import Staged, context
from thalweg.models.columns.make import make_learner
from thalweg.models.contract.battery.given import assert_same
from thalweg.models.contract.capabilities import Explainer, IntensityCurves, capability
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError
from thalweg.models.contract.registry import find
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.rows.ids import id_number
from thalweg.proto.schema import TensorSpec

CLICKS: dict[str, Any] = {
    "user": {"kind": "hashed", "field": "user_id"},
    "item": {"kind": "categorical", "field": "sku"},
    "device": "categorical",
    "campaign": "hashed",
    "price": "numeric",
    "shown_at": "datetime",
}
VISITS: dict[str, Any] = {"key": {"kind": "hashed", "field": "visitor"}}
NETWORK = {"dim": 4, "hidden": "8", "train_batch": 16, "table_rows": 64, "memory_bytes": 100_000}
PROCESS = {"width": 8, "time_width": 4, "unit_gaps": 10, "train_batch": 16, "max_types": 4, "window": 8, "keys": 20}


def clicks(count: int = 40, number: int = 0) -> Batch:
    """Every user likes some of the items; a few have no user, no device or no price."""
    events, random = events_of(CLICKS, count, number), np.random.default_rng([number, 3])
    user, item = random.integers(0, 9, count), random.integers(0, 7, count)
    inputs = {
        **events.inputs,
        "user": texts([f"u-{one}" if one else "" for one in user]),
        "item": texts([str(100 + one) for one in item]),
    }
    labels = NumberLabels(((user + item) % 3 == 0).astype(np.float64)[:, None])
    return replace(events, inputs=inputs, labels=labels)


def visits(count: int = 40, number: int = 0) -> Batch:
    random = np.random.default_rng([number, 4])
    keys = texts([f"visitor {one}" for one in random.integers(0, 5, count)])
    codes = random.integers(0, 3, count).astype(np.int32)
    times = 1.7e9 + 400.0 * number + 10.0 * np.arange(count)
    return Batch({"key": keys}, ClassLabels(codes, ("view", "cart", "buy")), np.ones(count), times)


class TestErrorMemory(Staged):
    learner, table = "error_memory", CLICKS

    def context(self, table: dict[str, Any]) -> LearnerContext:
        return context(table, NETWORK)

    def other(self) -> Learner:
        return make_learner(self.learner, self.context({**self.table, "weight": "numeric"}))

    def batches(self) -> list[Batch]:
        return [clicks(number=number) for number in range(5)]


class TestErrorMemoryOfIdsAlone(TestErrorMemory):
    table = {name: CLICKS[name] for name in ("user", "item")}  # noqa: RUF012
    merges_exactly = False

    def batches(self) -> list[Batch]:
        return [
            replace(one, inputs={name: one.inputs[name] for name in self.table})
            for one in TestErrorMemory.batches(self)
        ]


class TestPromptTpp(Staged):
    learner, table = "prompt_tpp", VISITS

    def context(self, table: dict[str, Any]) -> LearnerContext:
        return context(table, PROCESS)

    def other(self) -> Learner:
        return make_learner(self.learner, context(self.table, {**PROCESS, "width": 12}))

    def batches(self) -> list[Batch]:
        return [visits(number=number) for number in range(5)]


def test_an_id_in_a_column_is_the_id_that_an_input_of_integers_would_be() -> None:
    bare = find("error_memory")(
        LearnerContext(inputs={name: TensorSpec(name, "int64", ()) for name in ("user", "item")}, params=NETWORK)
    )
    table = {name: CLICKS[name] for name in ("user", "item")}
    from_columns = make_learner("error_memory", context(table, NETWORK))
    for number in range(4):
        batch = clicks(number=number)
        named = batch.inputs["user"] != b""
        batch = replace(batch.take(named), inputs={name: batch.inputs[name][named] for name in table})
        ids = {name: np.array([id_number(name, one) for one in batch.inputs[name]]) for name in table}
        bare.learn(replace(batch, inputs=ids))
        from_columns.learn(batch)
        assert_same(from_columns.predictor().predict(batch.inputs), bare.predictor().predict(ids))

    assert ids["item"].tolist() == [int(one) for one in batch.inputs["item"]]


def test_an_id_of_a_megabyte_and_one_that_is_missing_are_ids_as_others_are() -> None:
    learner = make_learner("error_memory", context(CLICKS, NETWORK))
    batch = clicks(3)
    batch.inputs["user"][:] = texts(["x" * 1_000_000, "", "u-1"])

    learner.learn(batch)

    assert np.isfinite(learner.predictor().predict(batch.inputs)["score"]).all()


def test_what_such_a_learner_can_do_it_can_do_from_columns() -> None:
    recommender = make_learner("error_memory", context(CLICKS, NETWORK))
    process = make_learner("prompt_tpp", context(VISITS, PROCESS))
    for number in range(4):
        recommender.learn(clicks(number=number))
        process.learn(visits(number=number))

    explainer = capability(recommender.predictor(), Explainer)
    curves = capability(process.predictor(), IntensityCurves)

    assert explainer is not None
    assert explainer.explain(clicks(number=3).inputs, 2)[0][0].keys() >= {"label", "base_score", "view"}
    assert curves is not None
    assert curves.course(b"visitor 1") is not None


@pytest.mark.parametrize(
    ("learner", "table", "mistakes"),
    [
        (
            "error_memory",
            {"userId": "hashed", "item": "hashed"},
            {
                "columns": "error_memory needs the columns user and item, got userId, item; write user = "
                '{ kind = "hashed", field = "…" } with the field of your records that holds it'
            },
        ),
        (
            "error_memory",
            {"user": "numeric", "item": "text"},
            {
                "columns.user": "expected kind hashed, for an id, got numeric",
                "columns.item": "expected kind hashed, for an id, got text",
            },
        ),
        (
            "prompt_tpp",
            {"key": "hashed", "amount": "numeric", "type": "categorical"},
            {
                "columns.amount": "prompt_tpp takes the columns key alone, got amount",
                "columns.type": "prompt_tpp takes the columns key alone, got type",
            },
        ),
    ],
)
def test_columns_that_do_not_fit_a_learner_of_ids_are_named(
    learner: str, table: dict[str, Any], mistakes: dict[str, str]
) -> None:
    with pytest.raises(ParamsError) as told:
        make_learner(learner, context(table, {}))

    assert told.value.mistakes == mistakes
