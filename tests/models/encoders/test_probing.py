"""An encoder of one's own is tried before it is used: on rows alone and together, small and large."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.encoders import probed
from thalweg.models.contract.capabilities import predict_batch
from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.models.encoders.encoded import make_learner
from thalweg.models.encoders.encoder import Encoder
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec

X = {"x": TensorSpec("x", "float32", (4,))}


def made(name: str) -> Encoder:
    return Encoder(f"tests.models.encoders.probed:{name}", "", X, 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("normalising_large_numbers", "gives a row other features beside other rows"),
        ("normalising_large_batches", "gives a row other features beside other rows"),
        ("never_a_number", "expected numbers from .*never_a_number', got NaN or infinities for each of 40 rows"),
        ("never_finite", "got NaN or infinities for each of 40 rows"),
        ("too_large", "got NaN or infinities for each of 40 rows"),
        ("noise", "gives the same rows other features each time"),
        ("RunningMean", "gives the same rows other features each time"),
    ],
)
def test_an_encoder_that_cannot_be_learned_from_is_refused(name: str, said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        made(name)


def test_one_that_gives_no_numbers_for_some_rows_is_told() -> None:
    (note,) = made("logarithm").notes

    assert "gives NaN or infinities for" in note
    assert "of the 40 rows" in note


def test_one_whose_sums_are_rounded_otherwise_in_large_batches_is_sound() -> None:
    assert made("products").notes == []


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 11, 64, 67, 130])
def test_rows_are_encoded_once_each_where_one_by_itself_has_the_same_bits(rows: int) -> None:
    """A slow encoder of one's own took eight times as long row by row: its tile was filled with copies."""
    encoder, x = made("counting"), np.random.default_rng(2).normal(size=(rows, 4)).astype(np.float32)
    probed.counted.clear()

    found = encoder.inputs({"x": x})["features"]

    assert sum(probed.counted) == rows
    np.testing.assert_array_equal(found, probed.counting(x).astype(np.float32))


@pytest.mark.parametrize("rows", [1, 3, 12])
def test_whatever_rows_come_together_their_features_have_the_same_bits(rows: int) -> None:
    encoder, x = made("by_matrix"), np.random.default_rng(2).normal(size=(64, 4)).astype(np.float32)

    together = encoder.features({"x": x[:8]}, 8)
    parts = [encoder.features({"x": x[at : at + rows]}, len(x[at : at + rows])) for at in range(0, 8, rows)]

    np.testing.assert_array_equal(np.concatenate(parts)[:8], together)


def test_an_input_that_is_asked_for_twice_and_then_learned_is_encoded_once() -> None:
    learner = make_learner(
        "ridge", LearnerContext(inputs=X, params={}, seed=0), "tests.models.encoders.probed:counting"
    )
    x = np.random.default_rng(3).normal(size=(1, 4)).astype(np.float32)
    batch = Batch({"x": x}, ClassLabels(np.zeros(1, np.int32), ("a",)), np.ones(1), np.zeros(1))
    probed.counted.clear()

    learner.predictor().predict({"x": x})
    predict_batch(learner.predictor(), batch)
    learner.learn(batch)
    learner.predictor().predict({"x": x})

    assert probed.counted == [1]


def test_equal_rows_of_a_batch_are_encoded_once() -> None:
    encoder = made("counting")
    probed.counted.clear()

    found = encoder.cached_features({"x": np.ones((40, 4), np.float32)})

    assert probed.counted == [1]
    assert found.tolist() == [[4.0, 1.0]] * 40
