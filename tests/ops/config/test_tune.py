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
