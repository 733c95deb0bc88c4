"""`[model.tune]`: variants are part of what determines a state, and each of them is checked."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from thalweg.models.columns.make import predictor_maker
from thalweg.ops.config.config import Config, load, parse
from thalweg.ops.config.effective import effective
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.app import new_learner

MODEL = """
[[model]]
name = "m"
learner = "ridge"
topic = "t"
inputs.x = { shape = [2] }
[model.params]
expansion = 8
"""


def loaded(folder: Path, more: str = "") -> Config:
    path = folder / "thalweg.toml"
    path.write_text(MODEL + more)
    return load(path, {})


@pytest.mark.parametrize(
    ("more", "mistake"),
    [
        ("[model.tune]\n", "model.m.tune.params: missing"),
        ("[model.tune]\nparams = {}\n", "model.m.tune.params: expected a parameter and values to try"),
        ("[model.tune]\nparams = { gamma = [] }\n", "model.m.tune.params: expected values to try of 'gamma'"),
        ("[model.tune]\nparams = { expansion = [-1] }\n", "model.m.tune.params.expansion: "),
        ("[model.tune]\nparams = { gama = [1.0] }\n", "model.m.tune.params.gama: no such key; did you mean gamma?"),
        ("[model.tune]\nparams = { gamma = [0.9] }\nvariants = 1\n", "model.m.tune.variants: "),
        ("[model.tune]\nparam = { gamma = [0.9] }\n", "model.m.tune.param: no such key; did you mean params?"),
    ],
)
def test_mistakes_of_variants_are_told(tmp_path: Path, more: str, mistake: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, more)

    assert any(mistake in line for line in caught.value.mistakes), caught.value.mistakes


def test_variants_are_another_model_stand_in_the_effective_configuration_and_serve_what_the_best_publishes(
    tmp_path: Path,
) -> None:
    plain = loaded(tmp_path)
    tuned = loaded(tmp_path, "[model.tune]\nparams = { expansion = [0, 16] }\nvariants = 3\n")
    model = tuned.model[0]

    assert model.identity_sha256() != plain.model[0].identity_sha256()
    assert "tune" not in plain.model[0].identity()  # a state of before is still one of this model
    assert model.under(model.shown_identity()) == model
    assert parse(tomllib.loads(effective(tuned)), "f", {}) == tuned
    assert [one["expansion"] for one in model.variants()] == [8, 0, 16]
    learner = new_learner(model)
    assert learner.gauges()["tune_answering"] == {("configured",): 1.0, ("expansion=0",): 0.0, ("expansion=16",): 0.0}
    made = predictor_maker(model.learner, model.context(), model.encoding())
    assert made(learner.predictor().state()).task.name == "classification"


REGRESSION = """
[[model]]
name = "m"
learner = "ridge"
topic = "t"
inputs.x = { shape = [2] }
[model.params]
task = "regression"
expansion = 0
forgetting = 0.9
"""


@pytest.mark.parametrize(
    ("params", "key", "reason"),
    [
        ('{ task = ["classification"] }', "task", "expected task regression, got classification"),
        ("{ targets = [2] }", "targets", "expected label width 1, got 2"),
        ("{ forgetting = [0.9] }", "forgetting", "expected values besides the model's own, got only that: [0.9]"),
        ("{ forgetting = [0.9, 0.9] }", "forgetting", "expected different values, got [0.9, 0.9]"),
        ("{ forgetting = [0.8, 0.7, 0.8] }", "forgetting", "expected different values"),
        ("{ clip = [6.0] }", "clip", "expected values besides the model's own"),  # the default
    ],
)
def test_every_variant_differs_from_the_model_and_has_its_task_labels_and_outputs(
    tmp_path: Path, params: str, key: str, reason: str
) -> None:
    path = tmp_path / "thalweg.toml"
    path.write_text(f"{REGRESSION}[model.tune]\nparams = {params}\n")

    with pytest.raises(ConfigurationError) as caught:
        load(path, {})

    assert len(caught.value.mistakes) == 1, caught.value.mistakes
    assert f"model.m.tune.params.{key}: " in caught.value.mistakes[0]
    assert reason in caught.value.mistakes[0]


def test_a_value_that_is_refused_is_told_once_and_the_others_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "thalweg.toml"
    tune = (
        '[model.tune]\nvariants = 16\nparams = { task = ["classification"], forgetting = [1.0, 0.8], clip = [-1.0] }\n'
    )
    path.write_text(REGRESSION + tune)

    with pytest.raises(ConfigurationError) as caught:
        load(path, {})

    assert [line.split(": ")[1].rpartition(".")[2] for line in caught.value.mistakes] == ["task", "clip"]
