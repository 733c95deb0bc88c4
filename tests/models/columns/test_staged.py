"""A feature stage in front of a learner: the learner's contract, and its capabilities, from columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from tests.models.columns.samples import COLUMNS, ORDER_FREE, events_of, texts
from tests.models.contract import toys
from thalweg.memory.snapshots.state import State
from thalweg.models.columns.make import make_learner, params_behind_columns, predictor_maker
from thalweg.models.columns.settings import columns_of
from thalweg.models.columns.stage import FeatureStage
from thalweg.models.columns.staged import StagedLearner, VersionReader, parted
from thalweg.models.columns.transform import Transform
from thalweg.models.contract.battery.given import assert_close, assert_same, stored
from thalweg.models.contract.capabilities import Explainer, Mergeable, Unlearner, capability
from thalweg.models.contract.learner import Learner, LearnerContext, Predictor
from thalweg.models.contract.registry import BUILT_IN, find
from thalweg.models.encoders.encoded import EncodedLearner, EncodedPredictor
from thalweg.models.encoders.encoder import Encoder, shared_encoder
from thalweg.models.encoders.spec import IDENTITY
from thalweg.models.ridge.learner import Ridge
from thalweg.models.testing import LearnerContract, WrapperContract
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Inputs, TensorSpec, column_specs

PARAMS: dict[str, dict[str, Any]] = {
    "ridge": {"expansion": 8},
    "bottleneck": {"heads": 4, "pairs": 8, "key_width": 3, "key_events": 20, "key_steps": 5},
    "nearest_mean": {},
    "cotta": {
        "model": "tests.models.small_networks:vectors",
        "adapt_batch": 8,
        "follow_batch": 4,
        "views": "jitter",
        "largest": 0,
        "serve_views": 1,
    },
}
OF_IDS = {"error_memory", "prompt_tpp"}
"""Learners of users, items and keys: `test_ids.py`."""


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


class TestCotta(Staged):
    learner = "cotta"
    table: dict[str, Any] = {  # noqa: RUF012 - twelve features, as its network takes
        "amount": "numeric",
        "height": "numeric",
        "weight": "numeric",
        "member": "boolean",
        "place": {"kind": "list", "length": 3},
    }

    def other(self) -> Learner:
        table = {**self.table, "amount": {"kind": "numeric", "scale": False}}
        return make_learner(self.learner, self.context(table), self.encoder)


class Wrapped(WrapperContract):
    """A stage of order-free columns changes a learner's inputs and nothing else."""

    kind: type[toys.Toy] = toys.Capable
    adds = frozenset({Explainer})
    table: dict[str, Any] = {  # noqa: RUF012
        "x": {"kind": "list", "length": 3, "scale": False, "missing": "impute"},
        "y": {"kind": "numeric", "scale": False, "missing": "impute"},
    }

    def bare(self) -> Learner:
        return self.kind(toys.context(4))

    def wrapped(self) -> Learner:
        return StagedLearner(self.bare(), FeatureStage(columns_of(self.table)))

    def published(self, state: State) -> Predictor:
        return VersionReader(self.kind.predictor_from, Transform(columns_of(self.table), 0))(state)

    def inner_state(self, state: State) -> State:
        return parted(state)[0]

    def batches(self) -> list[Batch]:
        return [events_of(self.table, number=number) for number in range(5)]

    def seen(self, inputs: Inputs) -> Inputs:
        return {"features": np.nan_to_num(np.column_stack([inputs["x"], inputs["y"]])).astype(np.float32)}


class TestEveryCapability(Wrapped):
    pass


class TestNoCapability(Wrapped):
    kind = toys.Toy


class TestAnEncoderBehindAStage(Wrapped):
    """What looks through one wrapper looks through two."""

    @property
    def encoder(self) -> Encoder:
        features = {"features": TensorSpec("features", "float32", (4,))}
        return shared_encoder("tests.models.small_networks:flattened", "", features, 0)

    def wrapped(self) -> Learner:
        return StagedLearner(EncodedLearner(self.bare(), self.encoder), FeatureStage(columns_of(self.table)))

    def published(self, state: State) -> Predictor:
        def made(inner: State) -> Predictor:
            return EncodedPredictor(self.kind.predictor_from(inner), self.encoder)

        return VersionReader(made, Transform(columns_of(self.table), 0))(state)


def test_a_learner_behind_a_stage_learns_what_it_would_learn_from_the_stages_features() -> None:
    features = {"features": TensorSpec("features", "float32", (Transform(columns_of(COLUMNS), 3).layout.width,))}
    params, smooth = params_behind_columns("ridge", PARAMS["ridge"]), Transform(columns_of(COLUMNS), 3).layout.smooth()
    bare = cast(Ridge, find("ridge")(LearnerContext(inputs=features, params=params, seed=3, smooth=smooth)))
    staged, stage = make_learner("ridge", context(COLUMNS, PARAMS["ridge"], 3)), FeatureStage(columns_of(COLUMNS), 3)

    for number in range(6):
        batch = events_of(COLUMNS, 40, number)
        known = stage.features(batch.inputs)
        assert_same(staged.predictor().predict(batch.inputs), bare.predictor().predict(known))
        staged.learn(batch)
        for part, move in stage.learn_moving(batch):
            bare.learn(part)
            if move is not None:
                bare.inputs_moved(move)

    assert parted(staged.state())[0].sha256() == bare.state().sha256()
    assert parted(staged.state())[1].sha256() == stage.state().sha256()


def test_ridge_does_not_scale_the_features_of_columns_again_unless_told_to() -> None:
    assert params_behind_columns("ridge", {}) == {"standardise": False, "expansion": 64}
    assert params_behind_columns("ridge", {"standardise": True, "gamma": 2.0}) == {
        "standardise": True,
        "expansion": 64,
        "gamma": 2.0,
    }
    for one_decay in ({"forgetting": 1}, {"forgetting": [0.999]}, {"half_life_seconds": 60}, {"balance": "reweighted"}):
        assert params_behind_columns("ridge", one_decay)["expansion"] == 0
    assert params_behind_columns("ridge", {}, "random_features") == {}
    assert params_behind_columns("nearest_mean", {}) == {}


def test_a_category_or_a_missing_value_that_never_came_before_changes_no_answer_to_another() -> None:
    table = {"x": "numeric", "c": "categorical"}
    draw = np.random.default_rng(3)
    learner = make_learner("ridge", context(table, {}))
    for _ in range(80):
        numbers = draw.normal(size=250)
        names = texts(draw.choice(["k0", "k1", "k2"], 250).tolist())
        codes = (numbers > 0).astype(np.int32)
        learner.learn(Batch({"x": numbers, "c": names}, ClassLabels(codes, ("no", "yes")), np.ones(250), np.zeros(250)))

    rows = {"x": np.array([-1.5, 1.5, -1.5, 1.5]), "c": texts(["new", "new", "", ""])}
    predictor = learner.predictor()

    label = [predictor.classes[code] for code in predictor.predict(rows)["label"]]
    assert label == ["no", "yes", "no", "yes"]


def test_a_learner_gets_the_whole_of_an_event_through_a_stage() -> None:
    class Recording(toys.Toy):
        def learn(self, batch: Batch) -> None:
            taken.append(batch)

    taken: list[Batch] = []
    given = replace(events_of(Wrapped.table), served=[None] * 13)

    StagedLearner(Recording(toys.context(4)), FeatureStage(columns_of(Wrapped.table))).learn(given)

    for name in given.__dataclass_fields__:
        assert name == "inputs" or getattr(taken[0], name) is getattr(given, name), name


def test_the_schema_names_the_columns() -> None:
    schema = make_learner("ridge", context(COLUMNS, {})).schema

    assert schema.columns == columns_of(COLUMNS)
    assert schema.inputs == column_specs(columns_of(COLUMNS))


def test_a_version_is_read_anew_only_where_the_stage_has_changed() -> None:
    learner = make_learner("ridge", context(ORDER_FREE, PARAMS["ridge"]))
    read = predictor_maker("ridge", context(ORDER_FREE, PARAMS["ridge"]))
    versions: list[Any] = []
    for _ in range(2):
        learner.learn(events_of(ORDER_FREE))
        versions.append(read(stored(learner.predictor().state())))

    assert versions[0].known is versions[1].known
    assert versions[0].state().sha256() != versions[1].state().sha256()


def test_a_version_of_other_columns_is_refused() -> None:
    version = make_learner("ridge", context(ORDER_FREE, {})).predictor().state()

    with pytest.raises(ValueError, match="other columns"):
        predictor_maker("ridge", context(COLUMNS, {}))(version)
    with pytest.raises(ValueError, match="without columns"):
        predictor_maker("ridge", context(COLUMNS, {}))(State({}, {}))


# Merging and unlearning

PLAIN = {"expansion": 8, "forgetting": 1, "standardise": False}


@pytest.mark.parametrize(
    ("column", "named"),
    [
        ("numeric", "scaled otherwise; scale = false"),
        ({"kind": "list", "length": 2}, "scaled otherwise; scale = false"),
        ({"kind": "datetime", "trend": True}, "scaled otherwise; trend = false"),
        ({"kind": "categorical", "min_events": 1}, "other categories, or in another order; its categories listed"),
        ({"kind": "categorical", "categories": ["DE", "FR"], "missing": "impute"}, "most frequent category"),
    ],
)
def test_what_means_something_else_in_another_stage_is_not_merged_and_named(column: Any, named: str) -> None:
    table = {"note": column, "user": {"kind": "hashed"}}
    mine, theirs = (make_learner("ridge", context(table, PLAIN)) for _ in range(2))
    mine.learn(events_of(table, 30, 1))
    events = events_of(table, 30, 2)
    if column != "numeric" and isinstance(column, dict) and column["kind"] == "categorical":
        events = replace(events, inputs={**events.inputs, "note": texts(["FR"] * 30)})
    theirs.learn(events)
    mergeable = capability(mine, Mergeable)
    assert mergeable is not None
    before = mine.state().sha256()

    with pytest.raises(ValueError, match=f"cannot merge: column 'note' .*{named}"):
        mergeable.merge(stored(theirs.state()))
    assert mine.state().sha256() == before


def test_stages_that_gave_features_to_the_same_categories_merge() -> None:
    table = {"country": {"kind": "categorical", "min_events": 1}}
    learners = [make_learner("ridge", context(table, PLAIN)) for _ in range(3)]
    first = events_of(table, 2)
    first = replace(first, inputs={"country": texts(["DE", "FR"])}, labels=None)  # the same tables in all of them
    for learner in learners:
        learner.learn(first)
    halves = [replace(one, inputs={"country": texts(["DE", "FR", "DE"] * 10)}) for one in _two_halves(table)]
    for learner, events in zip(learners, [halves[:1], halves[1:], halves]):
        for batch in events:
            learner.learn(batch)
    mergeable = capability(learners[0], Mergeable)
    assert mergeable is not None

    mergeable.merge(stored(learners[1].state()))

    assert_close(learners[0].predictor(), learners[2].predictor(), halves[0].inputs)


def _two_halves(table: dict[str, Any]) -> list[Batch]:
    return [events_of(table, 30, number) for number in (1, 2)]


def test_a_learner_that_has_learned_nothing_takes_over_another_with_its_scales() -> None:
    mine, theirs = (make_learner("ridge", context(COLUMNS, PLAIN)) for _ in range(2))
    for number in range(4):
        theirs.learn(events_of(COLUMNS, 30, number))
    mergeable = capability(mine, Mergeable)
    assert mergeable is not None

    mergeable.merge(stored(theirs.state()))

    assert_close(mine.predictor(), theirs.predictor(), events_of(COLUMNS, 30).inputs)
    assert parted(mine.state())[1].sha256() == parted(theirs.state())[1].sha256()


@pytest.mark.parametrize("column", ["numeric", {"kind": "categorical"}, {"kind": "datetime", "trend": True}])
def test_events_whose_features_depend_on_earlier_ones_are_not_unlearned(column: Any) -> None:
    learner = make_learner("ridge", context({"note": column}, PLAIN))
    unlearner = capability(learner, Unlearner)
    assert unlearner is not None

    with pytest.raises(ValueError, match="cannot unlearn: column 'note'"):
        unlearner.unlearn(events_of({"note": column}))


def test_each_built_in_learner_is_tried_behind_columns() -> None:
    assert {*PARAMS, *OF_IDS} == set(BUILT_IN)
