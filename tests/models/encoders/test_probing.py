"""An encoder of one's own is tried before it is used: on rows alone and together, small and large."""

from __future__ import annotations

import pytest

from thalweg.models.contract.learner import ParamsError
from thalweg.models.encoders.encoder import Encoder
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
