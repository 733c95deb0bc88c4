"""What an editor is told of a configuration holds for those that are used, and not for wrong ones."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from thalweg.models.contract.registry import BUILT_IN
from thalweg.ops.config.learners import params_type
from thalweg.ops.config.schema import schema
from thalweg.ops.demo.run import configuration

ROOT = Path(__file__).parents[3]
SCHEMA = schema()
VALIDATOR = Draft202012Validator(SCHEMA)
DEMO = configuration(Path("folder"), 8081, 8080)
DOCUMENTED = [
    block
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("learners/*.md"))]
    for block in re.findall(r"```toml\n(.*?)```", path.read_text(), re.DOTALL)
    if "[[model]]" in block
]
GOOD = """
[[model]]
name = "digits"
learner = "ridge"
topic = "digits.events"
inputs.features = { shape = [64] }
"""


def mistakes(text: str) -> list[str]:
    return [f"{one.json_path}: {one.message}" for one in VALIDATOR.iter_errors(tomllib.loads(text))]


def test_it_is_a_schema_of_2020_12() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    "text", [*(path.read_text() for path in sorted(ROOT.glob("examples/*.toml"))), DEMO, *DOCUMENTED]
)
def test_configurations_that_are_used_are_valid(text: str) -> None:
    assert mistakes(text) == []


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("learner", "lerner", "$.model[0]"),
        ("[64]", "[0]", "$.model[0].inputs.features.shape[0]"),
        ("[64]", "64", "$.model[0].inputs.features.shape"),
        ('"digits.events"', '"bad topic"', "$.model[0].topic"),
        ("[[model]]", "[service]\nworkers = 0\n[[model]]", "$.service.workers"),
        ("[[model]]", "[service]\nwrokers = 1\n[[model]]", "$.service"),
        ("inputs.", "params.gama = 1.0\ninputs.", "$.model[0].params"),
        ("inputs.", "params.gamma = 0\ninputs.", "$.model[0].params.gamma"),
        ("inputs.", "params.forgetting = [2]\ninputs.", "$.model[0].params.forgetting"),
        ("inputs.", "params.refresh_events = 'often'\ninputs.", "$.model[0].params.refresh_events"),
        ("inputs.", "drift.action = 'restart'\ninputs.", "$.model[0].drift.action"),
        ("inputs.", "device = 'cuda:x'\ninputs.", "$.model[0].device"),
    ],
)
def test_a_wrong_one_is_not(old: str, new: str, place: str) -> None:
    assert mistakes(GOOD) == []

    found = mistakes(GOOD.replace(old, new))

    assert found
    assert {one.partition(": ")[0] for one in found} == {place}


def test_parameters_are_those_of_the_learner() -> None:
    assert mistakes(GOOD.replace("inputs.", "params.heads = 8\ninputs."))
    assert not mistakes(GOOD.replace("ridge", "bottleneck").replace("inputs.", "params.heads = 8\ninputs."))
    assert not mistakes(GOOD.replace("ridge", "of_a_package").replace("inputs.", "params.x = 8\ninputs."))


@pytest.mark.parametrize("learner", sorted(BUILT_IN))
def test_every_parameter_of_a_built_in_learner_is_described(learner: str) -> None:
    kind = params_type(learner)
    assert kind is not None

    described: dict[str, Any] = SCHEMA["$defs"][learner]["properties"]

    assert described.keys() == kind.model_fields.keys()
    assert all(one["description"] for one in described.values())
