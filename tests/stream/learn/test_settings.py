"""What differs between the settings of a state and those of the configuration."""

from __future__ import annotations

from thalweg.stream.learn.settings import identity_differences


def test_each_key_that_differs_is_named_with_both_values() -> None:
    old = {
        "learner": "ridge",
        "params": {"gamma": 1, "forgetting": [1, 0.9]},
        "seed": 0,
        "inputs": {"x": {"shape": [2]}},
    }
    new = {"learner": "ridge", "params": {"gamma": 1.0, "bias": False}, "seed": 0, "inputs": {"x": {"shape": [3]}}}

    assert identity_differences(old, new) == [
        "inputs.x.shape: was [2], is [3]",
        "params.bias: was not given, is false",
        "params.forgetting: was [1, 0.9], is not given",
        "params.gamma: was 1, is 1.0",
    ]
    assert identity_differences(old, old) == []


def test_of_a_manifest_without_an_identity_nothing_is_said() -> None:
    assert identity_differences({}, {"seed": 1}) == []
