"""`[model.scale]`: what a model of shards cannot have is refused, with what is expected."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from thalweg.ops.config.config import load
from thalweg.ops.config.effective import effective
from thalweg.ops.config.error import ConfigurationError

MODEL = '[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "t"\ninputs.x = { shape = [2] }\n'


def mistakes(folder: Path, text: str) -> str:
    path = folder / "thalweg.toml"
    path.write_text(text)
    try:
        load(path, {})
    except ConfigurationError as error:
        return str(error)
    return ""


def test_a_scaled_model_needs_no_more_than_the_table(tmp_path: Path) -> None:
    assert mistakes(tmp_path, MODEL + '[model.scale]\nanswers = "key"\n') == ""


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ('start = "latest"\n', "expected start = 'earliest': a partition that is added would lose its first events"),
        ('history = "h.csv"\n', "expected no history, which every shard would have"),
        ("frozen_version = 3\n", "expected no frozen_version, which every shard would have"),
    ],
)
def test_what_shards_cannot_have_is_refused(tmp_path: Path, given: str, text: str) -> None:
    assert text in mistakes(tmp_path, MODEL + given + '[model.scale]\nanswers = "key"\n')
    assert text not in mistakes(tmp_path, MODEL + given)


@pytest.mark.parametrize("scale", ['[model.scale]\nanswers = "key"\n', '[model.scale]\nby = "topic"\n'])
@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            'on_change = "successor"\n',
            "scale: expected on_change = 'refuse': no successor is built of a model that moves",
        ),
        ("keep_previous = false\n", "scale: expected no keep_previous = false: it is about successors"),
    ],
)
def test_a_successor_that_nobody_would_build_is_refused(tmp_path: Path, scale: str, given: str, text: str) -> None:
    assert text in mistakes(tmp_path, MODEL + given + scale)
    assert mistakes(tmp_path, MODEL + given) == ""


@pytest.mark.parametrize(("scale", "change"), [('[model.scale]\nanswers = "key"\n', "refuse"), ("", "successor")])
def test_what_a_change_does_is_shown_as_it_is(tmp_path: Path, scale: str, change: str) -> None:
    path = tmp_path / "thalweg.toml"
    path.write_text(MODEL + scale)

    config = load(path, {})

    assert config.model[0].on_change == change
    assert f'on_change = "{change}"' in (shown := effective(config))
    assert mistakes(tmp_path, shown) == ""


def test_all_that_shards_cannot_have_is_told_at_once_also_beside_a_key_that_is_unknown(tmp_path: Path) -> None:
    unwanted = 'start = "latest"\nhistory = "h.csv"\nfrozen_version = 3\n'
    scale = '[model.scale]\nshards = 3\nwithout_key = "mean"\n'

    told = mistakes(tmp_path, MODEL + unwanted + "params.forgetting = 0.9\n" + scale).splitlines()

    for text in (
        "scale.shards: no such key",
        "scale.without_key: expected answers = 'key' with it",
        "scale: expected start = 'earliest'",
        "scale: expected no history and no frozen_version",
        "params.forgetting: events are forgotten by their number",
    ):
        assert len([line for line in told if f"model.m.{text}" in line]) == 1, text


def test_what_is_told_of_a_scaled_model_is_all_that_is_to_be_mended(tmp_path: Path) -> None:
    """Each line is mended in turn: none appears that was not there before."""
    lines = ["history = 'h.csv'", 'start = "latest"', "[model.scale]", "shards = 3", 'without_key = "mean"']
    seen: list[set[str]] = []
    for mended in ("history = 'h.csv'", "shards = 3", 'start = "latest"', 'without_key = "mean"'):
        seen.append(set(mistakes(tmp_path, MODEL + "\n".join(lines)).splitlines()))
        lines.remove(mended)

    assert mistakes(tmp_path, MODEL + "\n".join(lines)) == ""
    assert [len(one) for one in seen] == [4, 3, 2, 1]
    assert all(later < earlier for earlier, later in pairwise(seen))


def test_scaled_models_are_not_promoted_by_a_test(tmp_path: Path) -> None:
    other = MODEL.replace('"m"', '"n"')
    alias = '[[alias]]\nname = "a"\nchampion = "m"\nchallengers = ["n"]\npromotion = "auto"\n'
    told = mistakes(tmp_path, MODEL + '[model.scale]\nanswers = "key"\n' + other + alias)
    assert "alias.a.champion: 'm' has [model.scale]: expected promotion = 'manual'" in told


def test_a_shard_is_found_by_its_name_and_only_where_there_are_shards(tmp_path: Path) -> None:
    path = tmp_path / "thalweg.toml"
    path.write_text(MODEL + '[model.scale]\nanswers = "key"\n' + MODEL.replace('"m"', '"n"'))
    config = load(path, {})

    assert config.find("m~3").name == "m~3"
    assert config.find("m~3").identity_sha256() == config.find("m").identity_sha256()
    for name in ("n~3", "m~", "o~3"):
        with pytest.raises(ConfigurationError, match="no model is called"):
            config.find(name)
