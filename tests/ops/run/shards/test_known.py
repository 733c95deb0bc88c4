"""Whoever asks for a shard that is not there, or for a model that has shards, is told at once which there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.ops.run.shards.test_shards import configuration
from thalweg.memory.exchange.open import open_commands
from thalweg.memory.objects.objects import Objects
from thalweg.ops.cli import operator
from thalweg.ops.cli import snapshot as cli_snapshot
from thalweg.ops.cli.main import app
from thalweg.ops.cli.promote import promote
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.failed import Failed
from thalweg.ops.run.shards.known import must_be_one

COMMANDS: dict[str, Callable[[Config, str], object]] = {
    "rollback": lambda config, name: operator.rollback(config, name, 3),
    "resume": lambda config, name: operator.resume(config, name, skip=False),
    "list": cli_snapshot.list_versions,
    "show": lambda config, name: cli_snapshot.show(config, name, None),
    "verify": lambda config, name: cli_snapshot.verify(config, name, None, from_log=False),
    "export": lambda config, name: cli_snapshot.export(config, name, 3, Path("nowhere")),
    "promote": lambda config, name: promote(config, None, name, back=False, force=False),
    "promote back": lambda config, name: promote(config, None, name, back=True, force=False),
}
KEY = '[model.scale]\nanswers = "key"\n'


def scaled(
    folder: Path, *, here: tuple[int, ...] = (0, 10, 2), there: tuple[int, ...] = (4,), more: str = KEY
) -> Config:
    config = configuration(folder, "host", more)
    for number in here:
        (folder / "host" / f"clicks~{number}").mkdir(parents=True, exist_ok=True)
    for number in there:
        Objects(f"file:{folder}/objects").put(f"clicks~{number}/owners/1", b"")
    (folder / "host").mkdir(exist_ok=True)
    return config


@pytest.mark.parametrize("answers", ["key", "merge"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_that_has_shards_is_no_shard(tmp_path: Path, command: str, answers: str) -> None:
    config = scaled(tmp_path, more=f'[model.scale]\nanswers = "{answers}"\n')

    with pytest.raises(ConfigurationError) as told:
        COMMANDS[command](config, "clicks")

    assert "model 'clicks' has [model.scale]: each of its shards has a state and snapshots of its own" in str(
        told.value
    )
    asks = "they are" if command.startswith("promote") else "expected one of them"
    assert f"{asks}: clicks~0, clicks~2, clicks~4, clicks~10" in str(told.value)


@pytest.mark.parametrize("name", ["clicks~9", "clicks~1", "clicks~02"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_shard_that_is_nowhere_is_refused_with_those_that_are_there(tmp_path: Path, command: str, name: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        COMMANDS[command](scaled(tmp_path), name)

    assert f"model 'clicks' has no shard {name!r} in" in str(told.value)
    assert "known: clicks~0, clicks~2, clicks~4, clicks~10" in str(told.value)


def test_shards_are_where_their_states_or_versions_are_or_in_the_object_store(tmp_path: Path) -> None:
    config = scaled(tmp_path)
    (tmp_path / "host" / "live" / "clicks~7").mkdir(parents=True)

    for number in (0, 2, 4, 7, 10):
        must_be_one(config, f"clicks~{number}")


def test_without_any_shard_it_says_that_there_is_none_yet(tmp_path: Path) -> None:
    config = scaled(tmp_path, here=(), there=())

    with pytest.raises(ConfigurationError, match=r"none of them is in .*host or file:.*objects yet"):
        must_be_one(config, "clicks")
    with pytest.raises(ConfigurationError, match="none of its shards is there"):
        must_be_one(config, "clicks~0")


def test_a_shard_of_another_host_that_this_one_knows_nothing_of_may_be_commanded(tmp_path: Path) -> None:
    config = scaled(tmp_path, there=())
    apart = config.model_copy(
        update={
            "service": config.service.model_copy(update={"state_url": ""}),
            "store": config.store.model_copy(update={"url": "redis://host:6379/0"}),
        }
    )

    must_be_one(apart, "clicks~9", elsewhere=True)
    with pytest.raises(ConfigurationError, match="has no shard 'clicks~9'"):
        must_be_one(apart, "clicks~9")
    with pytest.raises(ConfigurationError, match=r"has \[model.scale\]"):
        must_be_one(apart, "clicks", elsewhere=True)


def test_a_model_under_an_alias_is_promoted_with_the_alias(tmp_path: Path) -> None:
    alias = '[[alias]]\nname = "best"\nchampion = "clicks"\n'
    config = scaled(tmp_path, more=KEY + alias)

    with pytest.raises(ConfigurationError, match="give --alias best --model clicks"):
        promote(config, None, "clicks", back=False, force=False)


def test_a_shard_that_is_there_has_no_successor(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'clicks~2' is a shard of model 'clicks', which has no successor"):
        promote(scaled(tmp_path), None, "clicks~2", back=False, force=False)


def test_a_shard_that_is_there_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "_PATIENCE_SECONDS", 0.0)
    config = scaled(tmp_path)
    store = config.store.model_copy(update={"url": f"sqlite:{tmp_path}/store.db"})
    open_commands(store.url).close()

    with pytest.raises(Failed, match="its learner did not answer"):
        operator.rollback(config.model_copy(update={"store": store}), "clicks~2", 3)
    with pytest.raises(Failed, match="has no snapshots in"):
        cli_snapshot.list_versions(config, "clicks~2")


@pytest.mark.parametrize(
    ("found", "scale", "told"),
    [
        ("clicks/journal", KEY, "holds the state of all partitions together, and with [model.scale] each begins anew"),
        ("clicks~1", "", "holds states of its shards (clicks~1), and without [model.scale] it begins anew"),
        ("clicks/journal", "", ""),
        ("clicks~1", KEY, ""),
    ],
)
def test_check_warns_of_a_state_that_would_be_passed_over(tmp_path: Path, found: str, scale: str, told: str) -> None:
    configuration(tmp_path, "host", scale)
    (tmp_path / "host" / found).mkdir(parents=True)

    done = CliRunner().invoke(app, ["check", str(tmp_path / "host.toml")])

    assert done.exit_code == 0
    assert ("begins anew" in done.stderr) == bool(told)
    assert told in done.stderr
    assert "begins anew" not in done.stdout
