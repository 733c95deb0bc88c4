"""What a bottleneck answers before its keys are learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.models.bottleneck.learner import Bottleneck
from thalweg.models.contract.learner import LearnerContext
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array, TensorSpec


def bottleneck(width: int, **params: Any) -> Bottleneck:
    inputs = {"features": TensorSpec("features", "float64", (width,))}
    return Bottleneck(LearnerContext(inputs=inputs, params=params, seed=0))


def batch(x: Array, codes: Array, names: tuple[str, ...]) -> Batch:
    return Batch({"features": x}, ClassLabels(codes.astype(np.int32), names), np.ones(len(x)), np.zeros(len(x)))


def prequential(learner: Bottleneck, x: Array, codes: Array, names: tuple[str, ...]) -> float:
    """Share of right answers, row by row, of those of a class that had come before."""
    right = asked = 0
    for row in range(len(x)):
        predictor = learner.predictor()
        if names[codes[row]] in predictor.classes:
            label = predictor.predict({"features": x[row : row + 1]})["label"][0]
            right, asked = right + (predictor.classes[label] == names[codes[row]]), asked + 1
        del predictor
        learner.learn(batch(x[row : row + 1], codes[row : row + 1], names))
    return right / asked


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e-6, 1e12])
def test_fifty_rows_are_answered_whatever_their_scale(scale: float) -> None:
    random = np.random.default_rng(1)
    codes = random.integers(0, 2, 50)
    x = scale * (random.standard_normal((50, 4)) + 2.0 * codes[:, None])
    x[:, 3] = scale  # a column that is constant says nothing

    assert prequential(bottleneck(4), x, codes, ("no", "yes")) > 0.85


def test_each_of_fifty_classes_is_known_by_its_few_events() -> None:
    random = np.random.default_rng(2)
    codes = random.integers(0, 50, 400)
    x = random.standard_normal((400, 16)) + 2 * random.standard_normal((50, 16))[codes]

    assert prequential(bottleneck(16), x, codes, tuple(f"c{code}" for code in range(50))) > 0.9


def test_wrong_labels_are_outvoted() -> None:
    random = np.random.default_rng(3)
    truth = random.integers(0, 2, 400)
    x = random.standard_normal((400, 4)) + 3.0 * truth[:, None]
    learner = bottleneck(4)
    learner.learn(batch(x[:300], truth[:300] ^ (random.random(300) < 0.2), ("a", "b")))
    predictor = learner.predictor()

    said = predictor.predict({"features": x[300:]})["label"]

    names = np.array(predictor.classes)[said]
    assert np.mean(names == np.array(["a", "b"])[truth[300:]]) > 0.88


@given(others=st.integers(0, 40), huge=st.sampled_from([0.0, 1e300, -1e308, np.inf, np.nan]))
def test_a_row_is_answered_alike_beside_whatever_others(others: int, huge: float) -> None:
    random = np.random.default_rng(4)
    learner = bottleneck(3)
    codes = random.integers(0, 3, 90)
    rows = random.standard_normal((90, 3))
    rows[0, 0] = huge
    learner.learn(batch(rows, codes, ("a", "b", "c")))
    predictor, x = learner.predictor(), random.standard_normal((1 + others, 3))
    if others:
        x[1, 0] = huge

    alone, together = (predictor.predict({"features": part})["scores"] for part in (x[:1], x))

    assert np.isfinite(alone).all()
    assert alone.tobytes() == together[:1].tobytes()


def test_a_published_version_answers_as_the_learner_does() -> None:
    random = np.random.default_rng(5)
    learner = bottleneck(3)
    learner.learn(batch(random.standard_normal((30, 3)), random.integers(0, 3, 30), ("a", "b", "c")))
    x = {"features": random.standard_normal((5, 3))}

    published = Bottleneck.predictor_from(learner.predictor().state())

    assert published.classes == learner.predictor().classes
    assert published.predict(x)["scores"].tobytes() == learner.predictor().predict(x)["scores"].tobytes()


@pytest.mark.parametrize("params", [{}, {"decay": 1.0}, {"values": "gradient"}])
def test_values_are_copied_only_for_a_predictor_that_somebody_holds(params: dict[str, Any]) -> None:
    random = np.random.default_rng(6)
    x, codes = random.standard_normal((120, 3)), random.integers(0, 3, 120)
    learner = bottleneck(3, key_events=40, heads=4, pairs=16, key_width=2, key_steps=5, **params)
    learner.learn(batch(x[:100], codes[:100], ("a", "b", "c")))

    def table() -> Any:
        tensors = learner.state().tensors
        return tensors["values" if "values" in params else "counts"]

    held, one = learner.predictor(), {"features": x[100:]}
    before, tensors = held.predict(one)["scores"].copy(), {k: v.copy() for k, v in held.state().tensors.items()}
    learner.learn(batch(x[100:110], codes[100:110], ("a", "b", "c")))
    assert held.predict(one)["scores"].tobytes() == before.tobytes()
    assert all(v.tobytes() == tensors[k].tobytes() for k, v in held.state().tensors.items())
    assert learner.predictor().predict(one)["scores"].tobytes() != before.tobytes()

    del held
    learner.predictor()
    mine = (
        learner._values._values
        if "values" in params
        else getattr(learner._values, "_counts" if not params else "_table")
    )
    learner.learn(batch(x[110:], codes[110:], ("a", "b", "c")))
    after = (
        learner._values._values
        if "values" in params
        else getattr(learner._values, "_counts" if not params else "_table")
    )
    assert mine is after
    assert table().sum() != 0
