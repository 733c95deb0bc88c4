"""The shares of several learner processes: each model belongs to one, and the configuration alone says to which."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.samples import FEATURES
from thalweg.ops.config.config import Config, load
from thalweg.ops.run.learners.shares import home_of_alias, homes, process_count, several, share_lines
from thalweg.stream.shards.params import ScaleParams

NAMES = "abcde"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Five models, two of them under an alias that promotes by a test."""
    text = '[service]\nlearners = 2\n[[alias]]\nname = "x"\nchampion = "d"\nchallengers = ["a"]\npromotion = "auto"\n'
    for name in NAMES:
        text += (
            f'[[model]]\nname = "{name}"\nlearner = "ridge"\ntopic = "t"\ninputs.features = {{shape = [{FEATURES}]}}\n'
        )
    path = tmp_path_factory.mktemp("shares") / "thalweg.toml"
    path.write_text(text)
    return load(path, {})


def shared(config: Config, learners: int, names: str = NAMES) -> Config:
    service = config.service.model_copy(update={"learners": learners})
    models = [config.find(NAMES[0]).model_copy(update={"name": name}) for name in names.split()] or config.model
    return config.model_copy(update={"service": service, "model": models})


@given(learners=st.integers(1, 64), models=st.integers(1, 64))
def test_each_model_has_one_process_and_no_process_is_without_a_model(
    config: Config, learners: int, models: int
) -> None:
    found = homes(shared(config, learners, " ".join(f"m{number}" for number in range(models))))

    loads = Counter(number for places in found.values() for number in places)
    assert sum(loads.values()) == len(found) == models
    assert sorted(loads) == list(range(1, process_count(learners, models) + 1))
    assert max(loads.values()) - min(loads.values()) <= 1
    assert len(loads) == min(learners, models)


def test_the_versions_of_a_changed_model_stay_together_and_move_no_other_model(config: Config) -> None:
    before = homes(shared(config, 3, "a b c d"))

    after = homes(shared(config, 3, "a a@2 b c@2 d"))

    assert after == {"a": (1,), "a@2": (1,), "b": (2,), "c@2": (3,), "d": (1,)}
    assert {name: after.get(name, after.get(f"{name}@2")) for name in before} == before


def test_a_model_of_shards_is_in_every_process_where_its_partitions_can_be_shared(config: Config) -> None:
    scaled = [
        model.model_copy(update={"scale": ScaleParams()}) if model.name == "b" else model for model in config.model[:2]
    ]

    def places(url: str) -> dict[str, tuple[int, ...]]:
        log = config.log.model_copy(update={"url": url})
        return homes(shared(config, 4, "").model_copy(update={"model": scaled, "log": log}))

    assert places("kafka://localhost:9092") == {"a": (1,), "b": (1, 2, 3, 4)}
    assert places("sqlite:log.db") == {"a": (1,), "b": (2,)}


@pytest.mark.parametrize("learners", [1, 2, 3, 5, 9])
def test_the_models_of_an_alias_are_compared_by_one_process_that_there_is(config: Config, learners: int) -> None:
    found = shared(config, learners, "")

    assert home_of_alias(found, "x") in {number for places in homes(found).values() for number in places}


def test_check_says_what_each_process_has_and_when_there_are_fewer_than_configured(config: Config) -> None:
    assert list(share_lines(shared(config, 1, ""))) == []
    assert list(share_lines(shared(config, 2, ""))) == [
        "",
        "# Learner processes: 2.",
        "# learner: a, c, e",
        "# learner-2: b, d",
    ]
    assert list(share_lines(shared(config, 8, "")))[1] == "# Learner processes: 5, not 8: there are no more models."


@pytest.mark.parametrize(
    ("text", "environment", "wanted"),
    [
        ("", {}, False),
        ("[service]\nlearners = 1", {}, False),
        ("[service]\nlearners = 2", {}, True),
        ("[service]\nlearners = 2", {"THALWEG_SERVICE__LEARNERS": "1"}, False),
        ("", {"THALWEG_SERVICE__LEARNERS": "3"}, True),
        ("service = 3", {}, False),
        ("no TOML", {}, False),
    ],
)
def test_whether_there_are_several_is_known_before_anything_is_imported(
    tmp_path: Path, text: str, environment: dict[str, str], wanted: bool
) -> None:
    path = tmp_path / "t.toml"
    path.write_text(text)

    assert several(path, environment) is wanted
    assert several(tmp_path / "none", environment) is bool(environment and wanted)
