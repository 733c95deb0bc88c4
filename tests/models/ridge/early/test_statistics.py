"""The first events of a wide table stand for the sums: the same heads, in a fraction of the memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.contract.testing import LearnerContract
from thalweg.models.parts.random_features import FeatureMap
from thalweg.models.parts.running_scale import Move
from thalweg.models.ridge import sums
from thalweg.models.ridge.early import held
from thalweg.models.ridge.early.held import Held
from thalweg.models.ridge.early.statistics import EarlyStatistics
from thalweg.models.ridge.heads.discriminant import likelihoods
from thalweg.models.ridge.learner import Ridge
from thalweg.models.ridge.rescaled import Rescaling
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import TensorSpec

WIDTH = 512
PARAMS: dict[str, Any] = {"standardise": False, "expansion": 8, "forgetting": [0.999, 0.99]}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of this width are wide: as wide as they are outside tests takes long."""
    monkeypatch.setattr(held, "WIDE", WIDTH)


def wide(**params: Any) -> Ridge:
    inputs = {"features": TensorSpec("features", "float32", (WIDTH,))}
    return Ridge(LearnerContext(inputs=inputs, params=PARAMS | params, seed=3))


def batch(events: int, seed: int, names: tuple[str, ...] = ("a", "b", "c"), *, weights: bool = False) -> Batch:
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, len(names), events).astype(np.int32)
    x = generator.standard_normal((events, WIDTH))
    x[:, :4] += np.eye(4)[[ord(names[code]) % 4 for code in codes]] * 2
    x[:, WIDTH // 2 :] = 0.0  # marks of missing values, where nothing is missing
    weighted = generator.uniform(0.5, 2, events) if weights else np.ones(events)
    return Batch(
        {"features": x.astype(np.float32)}, ClassLabels(codes, names), weighted, np.arange(events, dtype=np.float64)
    )


def numbers(events: int, seed: int) -> Batch:
    found = batch(events, seed)
    values = 1e4 + 30 * found.inputs["features"][:, :2].astype(np.float64).sum(axis=1, keepdims=True)
    return Batch(found.inputs, NumberLabels(values), found.weights, found.times)


class TestContract(LearnerContract):
    """Past the end of the first events, too."""

    params: ClassVar[dict[str, Any]] = {}

    def new(self) -> Learner:
        return wide(**self.params)

    def other(self) -> Learner:
        return wide(**self.params, expansion=9)

    def batches(self) -> list[Batch]:
        late = batch(9, 7, ("d", "b"))
        return [batch(6, 1), batch(1, 2), batch(17, 3, weights=True), late, batch(230, 5), batch(3, 6).unlabelled()]


class TestContractRegression(TestContract):
    params: ClassVar = {"task": "regression", "expansion": 0}

    def other(self) -> Learner:
        return wide(task="regression", expansion=0, targets=2)

    def batches(self) -> list[Batch]:
        return [numbers(count, seed) for seed, count in enumerate((4, 1, 20, 240))]


# The same as from sums


def both(decay: float, *, classes: bool) -> tuple[FeatureMap, Statistics, EarlyStatistics]:
    features = FeatureMap.draw(30, 6, offsets=True, direct=True, bias=True, seed=2)
    held, summed = Held(features, classes=classes), Statistics(features.size, 0, decay=decay)
    generator = np.random.default_rng(4)
    for n, columns, weighted in ((5, 2, False), (3, 3, True), (4, 3, False)):
        codes = generator.integers(0, columns, n).astype(np.int32)
        targets = np.eye(columns)[codes] if classes else generator.standard_normal((n, columns))
        x = generator.standard_normal((n, 30))
        x[:, 20:] = 0.0
        weights = generator.uniform(0.5, 2, n) if weighted else None
        rows = Rows(features.features(x), targets, weights, codes if classes else None)
        summed.grow(columns)
        summed.add(rows)
        held.add(rows)
    return features, summed, EarlyStatistics(held, decay)


@pytest.mark.parametrize("decay", [1.0, 0.9])
@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("first", [0, 6])
def test_heads_are_those_of_the_sums(decay: float, classes: bool, first: int) -> None:
    _, summed, early = both(decay, classes=classes)
    expected = summed if not first else summed.from_feature(first)
    found = early.from_feature(first)
    last = found.size - 1

    assert found.penalty("auto", -1) == expected.penalty("auto", -1)
    for gamma in (1.0, 0.01, 300.0):
        np.testing.assert_allclose(found.solve(gamma, last), expected.solve(gamma, last), atol=1e-8)


def test_the_scatter_within_classes_is_that_of_the_sums() -> None:
    _, summed, early = both(0.9, classes=True)
    constant, cross, weight = summed.size - 1, summed.cross * [1.0, 3.0, 2.0], summed.class_weight * [1.0, 3.0, 2.0]

    expected = likelihoods(summed, cross, weight, constant, 0.5)
    found = likelihoods(early, cross, weight, constant, 0.5)

    assert found.within.variance == pytest.approx(expected.within.variance)
    np.testing.assert_allclose(found.head, expected.head, atol=1e-9)
    np.testing.assert_allclose(found.within.between(found.head), expected.within.between(expected.head), atol=1e-9)
    np.testing.assert_allclose(np.triu(early.gram), np.triu(summed.gram), atol=1e-9)
    np.testing.assert_allclose(early.cross, summed.cross, atol=1e-9)
    np.testing.assert_allclose(early.class_weight, summed.class_weight)


def test_events_that_wait_are_re_expressed_as_their_sums_are() -> None:
    features, summed, early = both(1.0, classes=True)
    move = Move(np.array([1, 4]), np.array([0.5, 9.0]), np.array([1.0, -0.5]))  # the second beyond the clip
    early._held.weights[:] = 1.0
    expected = Statistics(features.size, summed.columns)
    expected.add(early._held.all)

    Rescaling(features, move, clip=2.0).apply(expected)
    early._held.rescale(Rescaling(features, move, clip=2.0))

    np.testing.assert_allclose(np.triu(early.gram), np.triu(expected.gram), atol=1e-9)
    np.testing.assert_allclose(early.cross, expected.cross, atol=1e-9)


# The learner


def none_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before there were events that wait."""
    monkeypatch.setattr(sums, "holds", lambda *_: False)


def learned(learner: Ridge, sizes: list[int], make: Callable[[int, int], Batch] = batch) -> Ridge:
    for seed, size in enumerate(sizes):
        learner.learn(make(size, seed))
    return learner


def scores(learner: Learner) -> NDArray[np.float64]:
    said = learner.predictor().predict(batch(40, 99).inputs)
    return np.asarray(said["scores"] if "scores" in said else said["value"])


@pytest.mark.parametrize("events", [[40, 60], [100, 140, 30, 10, 80]])
@pytest.mark.parametrize("params", [{}, {"task": "regression"}, {"forgetting": 1, "expansion": 0}])
def test_answers_are_those_of_the_sums(
    events: list[int], params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    make = numbers if "task" in params else batch
    waiting = learned(wide(**params), events, make)
    waiting.refresh()
    none_waits(monkeypatch)
    summed = learned(wide(**params), events, make)
    summed.refresh()

    np.testing.assert_allclose(scores(waiting), scores(summed), rtol=1e-4, atol=1e-5)


def test_the_state_of_few_events_is_small_until_the_sums_begin() -> None:
    size = 8 + WIDTH + 1

    few = learned(wide(), [50])
    many = learned(wide(), [50, 210])

    assert few.state().size_bytes < 8 * size**2 / 2
    assert many.state().size_bytes > many.grown_bytes == 2 * 8 * size**2


def test_a_state_of_before_goes_on_with_its_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        none_waits(before)
        old = learned(wide(), [30, 5])
        state = State({name: array.copy() for name, array in old.state().tensors.items()}, old.state().meta)
        expected = learned(old, [20])
        expected.refresh()

    restored = wide()
    restored.restore(state)
    learned(restored, [20]).refresh()

    assert "gram.0" in restored.state().tensors
    np.testing.assert_allclose(scores(restored), scores(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("events", [[30], [300, 20]])
def test_where_no_event_may_wait_those_of_a_state_are_added(events: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    written = learned(wide(), events)
    expected = learned(wide(), [*events, 50])
    expected.refresh()
    none_waits(monkeypatch)

    restored = wide()
    restored.restore(written.state())
    restored.learn(batch(50, len(events)))
    restored.refresh()

    assert "held.features" not in restored.state().tensors
    np.testing.assert_allclose(scores(restored), scores(expected), rtol=1e-4, atol=1e-5)
