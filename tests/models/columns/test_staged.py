"""A feature stage in front of a learner: the learner's contract, and its capabilities, from columns."""

from __future__ import annotations

from typing import Any

import pytest

from tests.models.columns.samples import COLUMNS, ORDER_FREE, events_of
from thalweg.memory.snapshots.state import State
from thalweg.models.columns.make import make_learner, predictor_maker
from thalweg.models.columns.settings import columns_of
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError, Predictor
from thalweg.models.contract.registry import BUILT_IN
from thalweg.models.encoders.encoder import IDENTITY
from thalweg.models.testing import LearnerContract
from thalweg.proto.event import Batch
from thalweg.proto.schema import column_specs

PARAMS: dict[str, dict[str, Any]] = {
    "ridge": {"expansion": 8},
    "bottleneck": {"heads": 4, "pairs": 8, "key_width": 3, "key_events": 20, "key_steps": 5},
    "nearest_mean": {},
}
WITHOUT_COLUMNS = {
    "error_memory": "user, item, fields, numeric",
    "prompt_tpp": "key",
    "cotta": "",
}


def context(table: dict[str, Any], params: dict[str, Any], seed: int = 0) -> LearnerContext:
    columns = columns_of(table)
    return LearnerContext(inputs=column_specs(columns), params=params, seed=seed, columns=columns)


class Staged(LearnerContract):
    learner = "ridge"
    params: dict[str, Any] = {}  # noqa: RUF012
    table: dict[str, Any] = COLUMNS
    encoder = IDENTITY

    def new(self) -> Learner:
        return make_learner(self.learner, self.context(self.table), self.encoder)

    def other(self) -> Learner:
        wider = {**self.table, "amount": "numeric", "weight": "numeric"}
        return make_learner(self.learner, self.context(wider), self.encoder)

    def context(self, table: dict[str, Any]) -> LearnerContext:
        return context(table, PARAMS[self.learner] | self.params)

    def batches(self) -> list[Batch]:
        return [events_of(self.table, number=number) for number in range(5)]

    def predictor_from(self, state: State) -> Predictor:
        return predictor_maker(self.learner, self.context(self.table), self.encoder)(state)


class TestRidge(Staged):
    pass


class TestRidgeThatMergesAndUnlearns(Staged):
    params: dict[str, Any] = {"forgetting": 1, "standardise": False}  # noqa: RUF012
    table = ORDER_FREE


class TestRidgeBehindAnEncoder(Staged):
    encoder = "random_features:16"


class TestBottleneck(Staged):
    learner = "bottleneck"


class TestBottleneckBehindAnEncoder(TestBottleneck):
    encoder = "random_features:16"


class TestNearestMean(Staged):
    learner = "nearest_mean"


class TestNearestMeanThatMergesAndUnlearns(TestNearestMean):
    table = ORDER_FREE


class TestNearestMeanBehindAnEncoder(TestNearestMean):
    encoder = "random_features:16"


def test_each_built_in_learner_is_tried_or_refused_behind_columns() -> None:
    assert {*PARAMS, *WITHOUT_COLUMNS} == set(BUILT_IN)


@pytest.mark.parametrize("learner", [name for name, inputs in WITHOUT_COLUMNS.items() if inputs])
def test_a_learner_that_does_not_learn_from_features_is_refused_with_columns(learner: str) -> None:
    with pytest.raises(ParamsError) as told:
        make_learner(learner, context(COLUMNS, {}))

    assert told.value.mistakes["columns"] == (
        f"{learner} does not learn from columns: it takes {WITHOUT_COLUMNS[learner]} as inputs"
    )
