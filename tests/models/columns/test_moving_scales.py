"""When the scale of a number moves, what was learned under the old one is re-expressed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg.models.columns.make import make_learner
from thalweg.models.columns.settings import columns_of
from thalweg.models.columns.stage import FeatureStage
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.encoders.encoded import make_learner as make_encoded
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import column_specs

Floats = NDArray[np.float64]


def learner_of(width: int, task: str) -> Learner:
    columns = columns_of({f"x{i}": "numeric" for i in range(width)})
    return make_learner("ridge", LearnerContext(inputs=column_specs(columns), params={"task": task}, columns=columns))


def numbers(x: Floats, y: Floats) -> Batch:
    columns = {f"x{i}": x[:, i] for i in range(x.shape[1])}
    return Batch(columns, NumberLabels(y[:, None]), np.ones(len(y)), np.zeros(len(y)))


def classes(x: Floats, y: NDArray[np.bool_]) -> Batch:
    columns = {f"x{i}": x[:, i] for i in range(x.shape[1])}
    return Batch(columns, ClassLabels(y.astype(np.int32), ("no", "yes")), np.ones(len(y)), np.zeros(len(y)))


def answers(learner: Learner, batch: Batch, size: int, output: str) -> Floats:
    """The answer to each event before it was learned, in micro-batches."""
    found = []
    for part in batch.micro_batches(size):
        found.append(learner.predictor().predict(part.inputs)[output])
        learner.learn(part)
    return np.concatenate(found)


@pytest.mark.parametrize("size", [1, 16])
def test_a_number_that_wanders_off_is_forecast_from_its_last_values(size: int) -> None:
    step = np.random.default_rng(7).standard_normal(1500)
    y = np.cumsum(step)
    lags = np.column_stack([np.r_[0, y[:-1]], np.r_[0, 0, y[:-2]]])

    error = answers(learner_of(2, "regression"), numbers(lags, y), size, "value")[:, 0] - y

    assert np.sqrt(np.mean(error[200:] ** 2)) < 1.15  # the best possible is 1; with sums of old scales 2.4


@pytest.mark.parametrize("wrong", [1e6, 1e-6])
def test_first_values_of_another_unit_do_not_spoil_what_comes(wrong: float) -> None:
    x = np.random.default_rng(13).standard_normal((1200, 4))
    right = x @ [1.0, -1.0, 0.5, 0.2] > 0
    x[:64] *= wrong

    learner, batch = learner_of(4, "classification"), classes(x, right)
    said = answers(learner, batch, 8, "label")

    yes = learner.predictor().classes.index("yes")
    assert np.mean(((said == yes) == right)[300:]) > 0.93


class Passing:
    """Passes everything on, as a learner of a user's around another may."""

    def __init__(self, inside: Learner) -> None:
        self._inside = inside

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inside, name)


def test_a_learner_that_passes_everything_on_is_told_of_moves_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every version of Python: a state that depended on it could not be learned again."""
    x = np.random.default_rng(13).standard_normal((300, 2))
    x[:64] *= 1e6
    batch = numbers(x, x @ [1.0, -1.0])
    usual = learner_of(2, "regression")
    bare = "thalweg.models.columns.make.make_encoded"
    monkeypatch.setattr(bare, lambda *given: Passing(make_encoded(*given)))
    passing = learner_of(2, "regression")

    for part in batch.micro_batches(8):
        usual.learn(part)
        passing.learn(part)

    assert passing.state().sha256() == usual.state().sha256()


def test_a_move_takes_features_of_before_to_those_of_after() -> None:
    table = {"a": "numeric", "b": {"kind": "list", "length": 2}, "when": "datetime", "c": "categorical"}
    random = np.random.default_rng(0)
    columns = {
        "a": np.cumsum(random.standard_normal(90)),
        "b": random.exponential(2.0, (90, 2)),
        "when": random.uniform(0, 1e6, 90),
        "c": np.array([b"u", b"v", b"w"], dtype=object)[random.integers(0, 3, 90)],
    }
    labels = ClassLabels(np.zeros(90, np.int32), ("one",))
    batch = Batch(columns, labels, np.ones(90), np.zeros(90))
    stage, plain = FeatureStage(columns_of(table)), FeatureStage(columns_of(table))
    asked = {name: one[20:60] for name, one in columns.items()}
    parts, before = [], np.zeros((40, 0))

    for part, move in stage.learn_moving(batch):
        parts.append(part.inputs["features"])
        if move is not None and stage.events > 20:
            moved = before.copy()
            moved[:, move.columns] = moved[:, move.columns] * move.ratio + move.offset
            after = stage.features(asked)["features"]
            inside = np.abs(before) < 5.9  # a feature at its bound does not say how far beyond it the number is
            np.testing.assert_allclose(moved[:, :3][inside[:, :3]], after[:, :3][inside[:, :3]], rtol=1e-4, atol=1e-4)
        before = stage.features(asked)["features"].astype(np.float64)

    np.testing.assert_array_equal(np.concatenate(parts), plain.learn(batch).inputs["features"])
    assert stage.state().sha256() == plain.state().sha256()
    assert len(parts) > 15


@pytest.mark.parametrize("given", [{"balance": "pseudo_features"}, {"standardise": "solved", "forgetting": 1}])
def test_what_is_kept_beside_the_sums_moves_too_or_nothing_does(given: dict[str, object]) -> None:
    columns = columns_of({f"x{i}": "numeric" for i in range(3)})
    learner = make_learner("ridge", LearnerContext(inputs=column_specs(columns), params=given, columns=columns))
    x = np.random.default_rng(3).standard_normal((600, 3)) + np.linspace(0, 8, 600)[:, None]
    right = x[:, 0] > x[:, 1]

    said = answers(learner, classes(x, right), 10, "label")

    yes = learner.predictor().classes.index("yes")
    assert np.mean(((said == yes) == right)[200:]) > 0.9
