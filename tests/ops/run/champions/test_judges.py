"""A learner process compares the models of an alias, and promotes the better one; what cannot be compared is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.ops.run.test_learning import learning
from tests.services.processes import until
from tests.stream.comparison.models import corners
from thalweg.ops.config.config import Config, load
from thalweg.ops.run.champions.judges import left_out, not_compared
from thalweg.ops.run.champions.losses import comparison_path, losses_folder, losses_of
from thalweg.ops.run.successors import promotions_path
from thalweg.stream.comparison.comparison_file import ComparisonReport, read_comparison
from thalweg.stream.health.registry import ComponentHealth, HealthRegistry
from thalweg.stream.journal.promotions import TESTED, Promotion, Promotions
from thalweg.stream.log.in_memory import InMemoryLog

INPUT = "inputs.features = { shape = [2] }"
MEAN = f'learner = "nearest_mean"\n{INPUT}'
RIDGE = f'learner = "ridge"\n{INPUT}\n[model.params]\nexpansion = 32'


def configuration(folder: Path, a: str, b: str, alias: str = 'promotion = "auto"') -> Config:
    path = folder / "thalweg.toml"
    models = "".join(f'[[model]]\nname = "{name}"\ntopic = "t"\n{rest}\n' for name, rest in (("a", a), ("b", b)))
    path.write_text(
        f'[service]\nstate_dir = "{folder}/state"\n{models}'
        f'[[alias]]\nname = "fraud"\nchampion = "a"\nchallengers = ["b"]\n{alias}\n'
    )
    return load(path, {})


def promotions(config: Config) -> tuple[Promotion, ...]:
    return Promotions(promotions_path(config, "fraud")).read()


def comparison(config: Config) -> ComparisonReport:
    found = read_comparison(comparison_path(config, "fraud"))
    assert found is not None
    return found


def part(registry: HealthRegistry) -> ComponentHealth:
    return next(one for one in registry.report() if one.component == "comparison")


def test_a_learner_process_promotes_the_better_model_and_goes_on_comparing_after_a_restart(tmp_path: Path) -> None:
    config, log = configuration(tmp_path, MEAN, RIDGE), InMemoryLog()
    log.append("t", corners(400))
    with learning(config, log) as (_, registry):
        until(
            "the better one to be promoted", lambda: promotions(config)[-1:] and promotions(config)[-1].champion == "b"
        )
        assert part(registry).model == "fraud"
        assert part(registry).well
    assert promotions(config)[-1].cause == TESTED
    compared = comparison(config).comparison.tests[0].compared

    log.append("t", corners(100, seed=1, first=400))
    with learning(config, log):
        until("the rest to be compared", lambda: comparison(config).comparison.tests[0].compared >= compared + 100)

    assert [one.number for one in promotions(config)] == [0, 1]
    assert comparison(config).comparison.champion == "b"


@pytest.mark.parametrize(
    ("b", "alias", "why"),
    [
        (RIDGE.replace("[2]", "[3]"), "", r"input 'features': it takes float32 \[3\], requests have float32 \[2\]"),
        (RIDGE.replace("features", "amount"), "", "takes an input 'amount'"),
        (RIDGE + '\ntask = "regression"', "", "its task is regression, that of a is classification"),
        ('classes = ["x", "y"]\n' + RIDGE, "", "its classes are x, y, those of a are y, z"),
        (RIDGE, 'loss = "brier"\n', ""),
    ],
)
def test_a_challenger_that_cannot_be_compared_is_told_and_why(tmp_path: Path, b: str, alias: str, why: str) -> None:
    config = configuration(tmp_path, 'classes = ["y", "z"]\n' + MEAN, b, alias + 'promotion = "auto"')

    found = left_out(config, config.alias[0], "a", "b")

    assert re.search(why, found) if why else not found
    told = list(not_compared(config))  # as `check` prints it
    assert [re.search(f"alias 'fraud': 'b' is not compared with 'a': .*{why}", line) is not None for line in told] == (
        [True] if why else []
    )


def test_losses_are_written_for_compared_models_alone_and_what_is_left_of_another_comparison_is_deleted(
    tmp_path: Path,
) -> None:
    config = configuration(tmp_path, MEAN, RIDGE)
    folder = losses_folder(config, config.alias[0], "a")
    folder.mkdir(parents=True)
    assert losses_of(config, "a") is not None
    assert folder.exists()

    other = configuration(tmp_path, MEAN, RIDGE, 'promotion = "auto"\nloss = "brier"')
    made = losses_of(other, "a")

    assert made is not None
    assert made.name == "brier"
    assert not folder.exists()
    assert losses_of(configuration(tmp_path, MEAN, RIDGE, ""), "a") is None
