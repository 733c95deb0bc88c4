"""What differs between the settings of a state and those of the configuration."""

from __future__ import annotations

import pytest

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


RANDOM = {"encoder": "random_features:64", "encoder_sha256": "b9" * 32}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"encoder": "identity"}, RANDOM, ['encoder: was "identity", is "random_features:64"']),
        (RANDOM, {"encoder": "identity"}, ['encoder: was "random_features:64", is "identity"']),
        (RANDOM, RANDOM, []),
        ({"encoder": "identity"}, {"encoder": "identity"}, []),
        (RANDOM, RANDOM | {"encoder_sha256": "c0" * 32}, ['encoder: "random_features:64" with other weights']),
    ],
)
def test_an_encoder_is_named_and_not_its_hash(old: dict[str, str], new: dict[str, str], told: list[str]) -> None:
    assert identity_differences(old, new) == told


def test_an_encoder_of_which_an_older_manifest_holds_only_the_hash_is_the_same_or_another() -> None:
    assert identity_differences({"encoder": "b9" * 32}, RANDOM) == []
    assert identity_differences({"encoder": "c0" * 32}, RANDOM) == ['encoder: was another, is "random_features:64"']


def test_of_a_manifest_without_an_identity_nothing_is_said() -> None:
    assert identity_differences({}, {"seed": 1}) == []
