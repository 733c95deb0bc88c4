"""An encoder in front of a learner changes what it sees, and nothing else: each built-in learner bare and encoded."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.contract import toys
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import (
    LEARNER_CAPABILITIES,
    PREDICTOR_CAPABILITIES,
    Explainer,
    InputValidator,
    SequencePredictor,
    Unlearner,
    capability,
    predict_batch,
)
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError, Predictor
from thalweg.models.contract.registry import BUILT_IN, find
from thalweg.models.encoders import encoded
from thalweg.models.encoders.encoded import EncodedLearner, EncodedPredictor, make_learner
from thalweg.models.encoders.encoder import Encoder, shared_encoder
from thalweg.models.testing import WrapperContract
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import InputError, Inputs, TensorSpec
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.publication.file_channel import ServedVersion, VersionInfo

FLATTENED = "tests.models.small_networks:flattened"
PARAMS: dict[str, dict[str, Any]] = {
    "ridge": {"expansion": 8},
    "bottleneck": {"heads": 4, "pairs": 8, "key_width": 3, "key_events": 20, "key_steps": 5},
    "cotta": {
        "model": "tests.models.small_networks:vectors",
        "adapt_batch": 8,
        "follow_batch": 4,
        "views": "jitter",
        "largest": 0,
        "serve_views": 1,
    },
    "nearest_mean": {},
}
WITHOUT_FEATURES = {"error_memory": "user, item, fields, numeric", "prompt_tpp": "key"}
"""Learners of ids and of keys, which no encoder makes, and the inputs that they take."""


def pictures(shape: tuple[int, ...], count: int = 13, number: int = 0, classes: int = 3) -> Batch:
    """With everything that an event may have."""
    generator = np.random.default_rng(number)
    codes = generator.integers(-1, classes, count).astype(np.int32)
    x = generator.random((count, *shape)) + codes[:, None, None, None]
    return Batch(
        {"image": x.astype(np.float32)},
        ClassLabels(codes, tuple("abcd"[:classes])),
        generator.uniform(0.5, 2.0, count),
        100.0 * number + np.arange(count),
        [f"e{number}-{row}" for row in range(count)],
        [f"k{row % 3}" for row in range(count)],
    )


class Encoded(WrapperContract):
    learner = "ridge"
    params: dict[str, Any] = {}  # noqa: RUF012
    shape: tuple[int, ...] = (1, 2, 6)

    @property
    def inputs(self) -> dict[str, TensorSpec]:
        return {"image": TensorSpec("image", "float32", self.shape)}

    @property
    def encoder(self) -> Encoder:
        return shared_encoder(FLATTENED, "", self.inputs, 0)

    def bare(self) -> Learner:
        features = {"features": TensorSpec("features", "float32", (int(np.prod(self.shape)),))}
        return find(self.learner)(LearnerContext(inputs=features, params=PARAMS[self.learner] | self.params))

    def wrapped(self) -> Learner:
        context = LearnerContext(inputs=self.inputs, params=PARAMS[self.learner] | self.params)
        return make_learner(self.learner, context, FLATTENED)

    def published(self, state: State) -> Predictor:
        return EncodedPredictor(find(self.learner).predictor_from(state), self.encoder)

    def batches(self) -> list[Batch]:
        return [pictures(self.shape, number=number) for number in range(5)]

    def seen(self, inputs: Inputs) -> Inputs:
        return {"features": inputs["image"].reshape(len(inputs["image"]), -1)}


class TestRidge(Encoded):
    pass


class TestRidgeThatMergesAndUnlearns(Encoded):
    params: dict[str, Any] = {"forgetting": 1, "standardise": False}  # noqa: RUF012


class TestBottleneck(Encoded):
    learner = "bottleneck"


class TestCotta(Encoded):
    learner = "cotta"


class TestCottaThatRefusesInputs(Encoded):
    learner = "cotta"
    params: dict[str, Any] = {"largest": 1.0}  # noqa: RUF012


class TestNearestMean(Encoded):
    learner = "nearest_mean"


class TestEveryCapability(Encoded):
    """No built-in learner of features has them all."""

    kind: type[toys.Toy] = toys.Capable
    shape = (1, 2, 2)

    def bare(self) -> Learner:
        return self.kind(toys.context(4))

    def wrapped(self) -> Learner:
        return EncodedLearner(self.bare(), self.encoder)

    def published(self, state: State) -> Predictor:
        return EncodedPredictor(self.kind.predictor_from(state), self.encoder)


class TestNoCapability(TestEveryCapability):
    kind = toys.Toy


class TestTwoEncodersInARow(TestEveryCapability):
    """What looks through one wrapper looks through two."""

    def wrapped(self) -> Learner:
        return EncodedLearner(EncodedLearner(self.bare(), self.inner), self.encoder)

    def published(self, state: State) -> Predictor:
        return EncodedPredictor(EncodedPredictor(self.kind.predictor_from(state), self.inner), self.encoder)

    @property
    def inner(self) -> Encoder:
        return shared_encoder(FLATTENED, "", toys.context(4).inputs, 0)


def test_each_built_in_learner_is_tried_or_refused_behind_an_encoder() -> None:
    assert {*PARAMS, *WITHOUT_FEATURES} == set(BUILT_IN)


@pytest.mark.parametrize("learner", WITHOUT_FEATURES)
def test_a_learner_that_does_not_learn_from_features_is_refused_behind_an_encoder(learner: str) -> None:
    context = LearnerContext(inputs={"image": TensorSpec("image", "float32", (1, 2, 6))})

    with pytest.raises(ParamsError) as told:
        make_learner(learner, context, FLATTENED)

    assert told.value.mistakes == {
        "encoder": f"{learner} does not learn from the features of an encoder, got {FLATTENED!r}; "
        f"it takes {WITHOUT_FEATURES[learner]}"
    }


def test_a_learner_gets_the_whole_of_an_event_through_an_encoder() -> None:
    class Recording(toys.Toy):
        def learn(self, batch: Batch) -> None:
            taken.append(batch)

    taken: list[Batch] = []
    batch = pictures((1, 2, 2))
    front = shared_encoder(FLATTENED, "", {"image": TensorSpec("image", "float32", (1, 2, 2))}, 0)
    given = Batch(**{**vars_of(batch), "served": [None] * len(batch)})

    EncodedLearner(Recording(toys.context(4)), front).learn(given)

    for name, value in vars_of(given).items():
        assert name == "inputs" or vars_of(taken[0])[name] is value, name


def vars_of(batch: Batch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in batch.__dataclass_fields__}


def test_an_event_is_encoded_once_for_its_answer_and_its_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    for made in (toys.Toy, toys.Capable):
        front = Encoder(FLATTENED, "", {"image": TensorSpec("image", "float32", (1, 2, 2))}, 0)
        encode = front._encode
        monkeypatch.setattr(front, "_encode", lambda x, encode=encode: rows.append(len(x["image"])) or encode(x))
        rows.clear()
        learner, batch = EncodedLearner(made(toys.context(4)), front), pictures((1, 2, 2), count=16)

        predict_batch(learner.predictor(), batch)
        learner.learn(batch)

        assert sum(rows) == 16


def test_evaluation_gives_the_same_figures_bare_and_encoded() -> None:
    """Continual evaluation among them, which followed no class behind an encoder."""
    case = TestRidge()
    bare, wrapped = case.bare(), case.wrapped()
    one, other = (
        Monitor(learner, make, frozen_after=200, continual_share=0.5)
        for learner, make in ((bare, case.bare), (wrapped, case.wrapped))
    )
    for number in range(60):
        batch = pictures(case.shape, 20, number)
        for monitor, learner, events in ((one, bare, case.behind(batch)), (other, wrapped, batch)):
            predictor = learner.predictor()
            monitor.predicted(events, predictor, predict_batch(predictor, events))
            learner.learn(events)

    assert len(one.continual.metrics()) > 3
    assert other.continual.metrics() == one.continual.metrics()
    assert (other.metrics(), other.recent()) == (one.metrics(), one.recent())
    assert other.frozen.metrics() == one.frozen.metrics()


@pytest.mark.parametrize(("case", "offered"), [(TestEveryCapability, True), (TestNoCapability, False)])
def test_a_served_version_does_what_the_model_behind_the_encoder_can(case: type[Encoded], offered: bool) -> None:
    served = ServedVersion(case().wrapped().predictor(), VersionInfo(1, 0, 0.0, 0.0, 0.0, 0))

    for found in (served.check, served.explain, served.alternative_inputs):
        assert (found is not None) == offered


def test_nothing_is_looked_for_where_it_is_not_declared() -> None:
    """A capability is asked for by `capability`, never by `isinstance`, which does not see through a wrapper."""
    names = {kind.__name__ for kind in (*LEARNER_CAPABILITIES, *PREDICTOR_CAPABILITIES)}
    root = Path(__file__).parents[3]
    found = []
    paths = [path for room in ("stream", "models", "ops", "benchmarks") for path in (root / room).rglob("*.py")]
    for path in paths:
        if any(part.startswith(".") for part in path.relative_to(root).parts):  # an environment of a benchmark
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
                asked = {one.id for argument in node.args for one in ast.walk(argument) if isinstance(one, ast.Name)}
                found += [f"{path.relative_to(root)}:{node.lineno}" for _ in asked & names]

    assert found == []


TABLES = dict.fromkeys(LEARNER_CAPABILITIES, "_OF_LEARNERS") | dict.fromkeys(PREDICTOR_CAPABILITIES, "_OF_PREDICTORS")


@pytest.mark.parametrize("kind", TABLES)
def test_the_battery_sees_that_a_capability_is_lost(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    table = getattr(encoded, TABLES[kind])
    monkeypatch.setattr(encoded, TABLES[kind], {each: seen for each, seen in table.items() if each is not kind})

    with pytest.raises(AssertionError, match=f"{kind.__name__}: bare True, wrapped False"):
        TestEveryCapability().test_every_capability_is_offered_by_both_or_by_neither()


@pytest.mark.parametrize("kind", TABLES)
def test_the_battery_sees_that_a_capability_is_forged(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    of = EncodedLearner if kind in LEARNER_CAPABILITIES else EncodedPredictor
    monkeypatch.setattr(of, "capability", lambda self, asked: self if asked is kind else None)

    with pytest.raises(AssertionError, match=f"{kind.__name__}: bare False, wrapped True"):
        TestNoCapability().test_every_capability_is_offered_by_both_or_by_neither()


@pytest.mark.parametrize("kind", [Unlearner, SequencePredictor, InputValidator, Explainer])
def test_the_battery_sees_that_a_capability_gets_inputs_that_are_not_encoded(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = getattr(encoded, TABLES[kind])
    monkeypatch.setattr(encoded, TABLES[kind], {**table, kind: encoded._unchanged})

    with pytest.raises((AssertionError, InputError)):
        TestEveryCapability().test_every_capability_does_the_same_in_both()


def test_a_wrapper_has_no_method_of_a_capability_of_its_own() -> None:
    front = TestEveryCapability()
    predictor = front.wrapped().predictor()

    assert not isinstance(predictor, (Explainer, SequencePredictor))
    assert capability(predictor, Explainer) is not None
