"""What makes a state what it is hashes as it did when states in the field were saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thalweg.ops.config.config import load, parse

EXAMPLES = Path(__file__).parents[3] / "examples"
CLICKS = {"user": {"shape": [], "dtype": "int64"}, "item": {"shape": [], "dtype": "int64"}}
RECORDED: list[tuple[str, dict[str, Any], str]] = [
    (
        "ridge",
        {"inputs": {"x": {"shape": [2]}}},
        "ac849c9cd4255df9d4c4c017be419ace39f7cfb8b700ba28faba863cec853c24",
    ),
    (
        "ridge",
        {
            "inputs": {"x": {"shape": [2], "dtype": "float64"}},
            "params": {"gamma": 1, "forgetting": [0.99, 1], "standardise": False},
            "seed": 7,
        },
        "b8d5f8ce92f087c978bf50b924534ecbee5f9adc905793a54b7c2ce3d1f19706",
    ),
    (
        "ridge",
        {"inputs": {"x": {"shape": [2]}}, "encoder": "random_features:16"},
        "2c12423d98837f6b10b54714512dded9971d5f586b62b6504948af6fb910bdac",
    ),
    (
        "bottleneck",
        {"inputs": {"x": {"shape": [2]}}, "params": {"heads": 8, "rate": 1}},
        "310b30d61ea17c39423af958f4868f6aac1f29bb4be92c325d31f1764591a875",
    ),
    (
        "error_memory",
        {"inputs": CLICKS, "params": {"hidden": "32-16"}},
        "c26d9e4f02cedf1b341b8f09f1abf0a8a8125babf1eeda477c3dbaaa5d6b4170",
    ),
    (
        "prompt_tpp",
        {"inputs": {"key": {"shape": [], "dtype": "bytes"}}, "params": {"base": "attentive"}},
        "fe41c3330533664bc24dc97fdab405fcb41bdcc6baf111bd126f4cf2ad3b1dd5",
    ),
    (
        "cotta",
        {
            "inputs": {"image": {"shape": [1, 8, 8]}},
            "params": {"model": "thalweg.ops.demo.camera:classifier", "views": "jitter", "serve_views": 1},
        },
        "f69e2a28cf41e497ce1c29d690fc849f4a267ecda154aef94609643db9438b6f",
    ),
]


@pytest.mark.parametrize(("learner", "model", "recorded"), RECORDED)
def test_a_model_has_the_identity_it_had(learner: str, model: dict[str, Any], recorded: str) -> None:
    table = {"model": [{"name": "m", "learner": learner, "topic": "t", **model}]}

    assert parse(table, "f", {}).model[0].identity_sha256() == recorded


def test_an_identity_is_shown_without_secrets_and_as_json_reads_it() -> None:
    table = {"model": [{"name": "m", "learner": "ridge", "topic": "t", "inputs": {"x": {"shape": [2]}}}]}
    model = parse(table, "f", {}).model[0]
    secret = model.model_copy(update={"params": {"api_token": "hush", "at": {"password": "hush", "port": 1}}})

    shown = secret.shown_identity()

    assert shown["params"] == {"api_token": "***", "at": {"password": "***", "port": 1}}
    assert json.loads(json.dumps(shown)) == shown


def test_an_identity_shows_the_name_of_the_encoder_and_beside_it_the_hash_that_counts() -> None:
    ridge = {"name": "m", "learner": "ridge", "topic": "t", "inputs": {"x": {"shape": [2]}}}
    bare = parse({"model": [ridge]}, "f", {}).model[0]
    encoded = parse({"model": [{**ridge, "encoder": "random_features:16"}]}, "f", {}).model[0]

    assert bare.shown_identity() == bare.identity()
    assert encoded.shown_identity() == {
        **encoded.identity(),
        "encoder": "random_features:16",
        "encoder_sha256": encoded.identity()["encoder"],
    }


@pytest.mark.parametrize(
    ("example", "recorded"),
    [
        ("digits", "8d48ff6cd1f1312ae5d492d9c8a4d3a1fad1d628949daca5bb283b7ce1b3909d"),
        ("electricity", "3c833b77278dd0a872b8b1ddcb6c42053be9a5bc9e8123cedabd7a5f1ba8ce65"),
    ],
)
def test_an_example_has_the_identity_it_had(example: str, recorded: str) -> None:
    (model,) = load(EXAMPLES / f"{example}.toml", {}).model

    assert model.identity_sha256() == recorded
