"""What a factory declares about merging, and learners whose factory declares nothing."""

from __future__ import annotations

from typing import Any

import pytest

from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.models.contract.merging import merge_mistakes, merged_params, refusal
from thalweg.models.contract.registry import BUILT_IN, UnknownLearner, find
from thalweg.models.nearest_mean import NearestMean
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.schema import TensorSpec


def context(**params: Any) -> LearnerContext:
    return LearnerContext(inputs={"features": TensorSpec("features", "float32", (2,))}, params=params)


@pytest.mark.parametrize("name", [name for name in BUILT_IN if hasattr(find(name), "merge")])
def test_what_is_filled_in_for_merging_is_valid_and_merges_except_for_what_only_the_user_knows(name: str) -> None:
    mistakes = merge_mistakes(name, merged_params(name, {}))

    assert mistakes is not None
    assert set(mistakes) <= {"key_file"}


@pytest.mark.parametrize(
    "given", [{"bias": False}, {"solver": "recursive"}, {"half_life_seconds": 9.0}, {"balance": "reweighted"}]
)
def test_what_is_filled_in_fits_what_was_given(given: dict[str, Any]) -> None:
    params = merged_params("ridge", given)

    assert merge_mistakes("ridge", params) == {}
    assert given.items() <= params.items()
    assert refusal(Ridge(context(**params)), Ridge(context(**params))) == ""


def test_a_learner_that_declares_nothing_is_asked_by_merging_two_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(NearestMean, "merge_mistakes")

    assert merge_mistakes("nearest_mean", {"decay": 0.5}) is None
    assert refusal(NearestMean(context()), NearestMean(context())) == ""
    assert "cannot merge: needs decay = 1" in refusal(NearestMean(context(decay=0.5)), NearestMean(context(decay=0.5)))


def test_what_is_no_learner_or_no_parameter_is_told_as_that() -> None:
    with pytest.raises(UnknownLearner):
        merged_params("ridgd", {})
    with pytest.raises(ParamsError):
        merge_mistakes("ridge", {"gama": 1})
