"""Hyper-parameters are checked together and explained."""

from typing import Any

import pytest

from thalweg.models.contract.learner import ParamsError
from thalweg.models.ridge.params import Params


def test_no_parameters_are_the_defaults() -> None:
    assert Params.of({}) == Params()


def test_one_decay_may_be_given_as_a_number_and_whole_numbers_stand_for_floats() -> None:
    assert Params.of({"forgetting": 1, "gamma": 2}) == Params(forgetting=(1.0,), gamma=2.0)
    assert Params.of({"forgetting": [1, 0.99]}).forgetting == (1.0, 0.99)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"gamma": 0}, "above 0"),
        ({"gamma": float("nan")}, "finite"),
        ({"gamma": True}, "expected float"),
        ({"expansion": -1}, "at least 0"),
        ({"expansion": 1.5}, "expected int"),
        ({"targets": 0}, "at least 1"),
        ({"bias": 1}, "expected bool"),
        ({"task": "ranking"}, "classification, regression"),
        ({"forgetting": []}, r"in \(0, 1\]"),
        ({"forgetting": [0.9, 0.9]}, "different"),
        ({"forgetting": "slow"}, "a number or a list"),
        ({"forgetting": [0.9, 2]}, r"forgetting: expected numbers in \(0, 1\], got \[0.9, 2.0\]"),
        ({"forgetting": [True]}, "expected float"),
        ({"gama": 1.0}, "did you mean gamma"),
        ({"refresh_events": 0}, "at least 1"),
        ({"refresh_events": "often"}, "'auto'"),
        ({"mixture_horizon_events": 1}, "above 1"),
        ({"solver": "recursive"}, "forgetting = 1"),
        ({"task": "regression", "balance": "reweighted"}, "no classes"),
        ({"pseudo_noise": -1}, "at least 0"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_was_expected(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ParamsError, match=text) as error:
        Params.of(given)

    assert len(error.value.mistakes) == 1
    assert {place.partition("[")[0] for place in error.value.mistakes} <= set(given)
