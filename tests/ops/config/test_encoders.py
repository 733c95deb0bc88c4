"""`encoder` and the keys beside it: what `check` says of them, and what they change."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.models import own_encoders
from tests.ops.config.test_columns import config, mistakes
from thalweg.ops.config.config import parse
from thalweg.ops.config.effective import effective
from thalweg.ops.run.column_features import column_lines, encoder_lines
from thalweg.stream.learn.settings import identity_differences

OWN = "tests.models.own_encoders:"
TEXTS = {"columns": {"title": "text", "body": "text", "amount": "numeric"}}
BESIDE = {**TEXTS, "encoder": OWN + "words", "encoder_columns": ["title", "body"]}
X = {"x": {"shape": [8]}}


def test_check_prints_what_an_encoder_takes_of_columns() -> None:
    assert list(column_lines(config(**BESIDE)))[1:] == [
        "# Columns of m: 3, which become F = 6 features",
        "# title: text, encoded by tests.models.own_encoders:words, 4 features",
        "# body: text, encoded by tests.models.own_encoders:words, 4 features",
        "# amount: numeric, 2 features",
    ]
    assert list(encoder_lines(config(**BESIDE)))[1:] == [
        "# Encoder of m: tests.models.own_encoders:words, from title, body to 4 features"
    ]
    behind = config(**TEXTS, encoder="random_features:32")
    assert list(encoder_lines(behind))[1:] == ["# Encoder of m: random_features:32, from features to 32 features"]
    assert list(encoder_lines(config(**TEXTS))) == []


def test_check_prints_which_tensors_of_a_checkpoint_do_not_fit(tmp_path: Path) -> None:
    file = str(tmp_path / "w")
    save_file({**own_encoders.layered().state_dict(), **{f"more.{n:02}": torch.zeros(n + 1) for n in range(9)}}, file)
    given = {"inputs": X, "encoder": OWN + "layered", "weights": file}

    (refused,) = mistakes(**given)
    lines = list(encoder_lines(config(**given, weights_strict=False)))

    differing = "unexpected more.00 [1], more.01 [2], more.02 [3], more.03 [4], more.04 [5], more.05 [6] and 3 more"
    assert refused == (f"weights: {file} does not fit the model: {differing}. weights_strict = false accepts what fits")
    assert lines[2] == f"# {file} does not fit the model: {differing}; the rest was loaded"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            {**TEXTS, "encoder_columns": ["title"]},
            "encoder: missing; encoder_arguments and encoder_columns need one",
        ),
        (
            {**BESIDE, "encoder_columns": ["titel"]},
            "encoder_columns: no such column: 'titel'; columns: title, body",
        ),
        (
            {"inputs": X, "encoder": OWN + "factory", "encoder_arguments": {"sale": 2}},
            "encoder: 'tests.models.own_encoders:factory' raised TypeError: factory() got an unexpected",
        ),
        (
            {"inputs": X, "encoder": "hf:bert", "weights": "w"},
            "expected an encoder that takes weights, got",
        ),
    ],
)
def test_a_mistake_is_said_where_it_stands(model: dict[str, Any], said: str) -> None:
    assert any(said in one for one in mistakes(**model))


def test_arguments_and_columns_of_an_encoder_are_part_of_the_identity_and_named_where_they_differ() -> None:
    plain = config(inputs=X, encoder=OWN + "factory").model[0]
    scaled = config(inputs=X, encoder=OWN + "factory", encoder_arguments={"scale": 2.0}).model[0]
    both = config(**BESIDE).model[0]
    one = config(**{**BESIDE, "encoder": OWN + "whatever", "encoder_columns": ["amount"]}).model[0]

    assert plain.identity_sha256() != scaled.identity_sha256()
    assert identity_differences(plain.shown_identity(), scaled.shown_identity()) == [
        "encoder_arguments.scale: was not given, is 2.0"
    ]
    assert identity_differences(both.shown_identity(), one.shown_identity()) == [
        'encoder: was "tests.models.own_encoders:words", is "tests.models.own_encoders:whatever"',
        'encoder_columns: was ["body", "title"], is ["amount"]',
    ]
    assert plain.under(scaled.shown_identity()).identity_sha256() == scaled.identity_sha256()
    assert scaled.under(plain.shown_identity()).identity_sha256() == plain.identity_sha256()


def test_the_effective_configuration_holds_them_and_masks_what_is_secret() -> None:
    arguments = {"scale": 2.0, "file": "x", "api_token": "s3cret"}
    shown = effective(config(inputs=X, encoder=OWN + "factory", encoder_arguments={"scale": 2.0}))
    again = parse(tomllib.loads(shown), "again", {})

    assert again.model[0].encoder_arguments == {"scale": 2.0}
    assert "s3cret" not in str(mistakes(inputs=X, encoder=OWN + "factory", encoder_arguments=arguments))
