"""A model of the user's own beside the configuration, among files that have the names of libraries."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.services.ports import free_port
from tests.services.processes import PATIENCE, stop, until
from thalweg.ops.config.config import load
from thalweg.ops.config.error import ConfigurationError

MINE = """
import helper_of_mine
from river import compose, linear_model, preprocessing

def pipeline():
    return helper_of_mine.scaler() | linear_model.LogisticRegression()
"""
HELPER = "from river import preprocessing\n\ndef scaler():\n    return preprocessing.StandardScaler()\n"
CONFIG = """
[service]
grpc = "127.0.0.1:{grpc}"
http = "127.0.0.1:{http}"
state_dir = "{folder}/state"
[log]
url = "sqlite:{folder}/log.db"
[[model]]
name = "m"
learner = "river:{learner}"
topic = "m.events"
[model.columns]
amount = "numeric"
"""
NAMES = ("select", "random", "json", "river", "numpy", "socket", "sklearn", "typer", "tomllib", "queue")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The user's folder: a model, and files named as libraries that end whoever imports them."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "helper_of_mine.py").write_text(HELPER)
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the user\\'s {name}.py was imported')\n")
    (tmp_path / "a.csv").write_text("amount,label\n" + "1,a\n2,b\n" * 20)
    return tmp_path


def written(folder: Path, learner: str) -> Path:
    grpc, http = free_port(), free_port()
    path = folder / "thalweg.toml"
    path.write_text(CONFIG.format(folder=folder, learner=learner, grpc=grpc, http=http))
    return path


@pytest.mark.parametrize("kind", ["river", "sklearn"])
def test_a_module_with_a_librarys_name_is_told_to_be_another(folder: Path, kind: str) -> None:
    path = written(folder, "random.pipeline")
    path.write_text(path.read_text().replace("river:", f"{kind}:"))

    with pytest.raises(ConfigurationError) as raised:
        load(path, {})

    assert "random has no 'pipeline'" in str(raised.value)
    assert f"takes precedence over {folder / 'random.py'}: give yours another name" in str(raised.value)


def test_an_encoder_and_a_model_that_are_nowhere_are_told_where_was_looked(folder: Path) -> None:
    path = written(folder, "yours.pipeline")

    with pytest.raises(ConfigurationError, match=f"no module 'yours' .*beside the configuration: {folder}"):
        load(path, {})


def test_only_the_folder_of_the_last_configuration_is_searched(folder: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    load(written(folder, "mine.pipeline"), {})

    with pytest.raises(ConfigurationError):
        load(written(other, "yours.pipeline"), {})

    assert sys.path.count(str(folder)) == 0
    assert sys.path[-1] == str(other)


@pytest.mark.slow
def test_every_command_finds_the_users_module_and_takes_no_file_of_theirs_for_a_library(folder: Path) -> None:
    path = written(folder, "mine.pipeline")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kept = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    environment["PYTHONPATH"] = os.pathsep.join(kept)  # an empty part would be the user's folder

    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "thalweg.ops.cli", *arguments]

    for arguments in (
        ["check", "thalweg.toml"],
        ["replay", "thalweg.toml", "--model", "m", "--input", "a.csv"],
        ["produce", "thalweg.toml", "--topic", "m.events", "--input", "a.csv"],
    ):
        done = subprocess.run(command(*arguments), cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    http = load(path, {}).service.http.split(":")[1]
    service = subprocess.Popen(command("serve", "thalweg.toml"), cwd=folder, env=environment)

    def learned() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=PATIENCE) as answer:
                return 'thalweg_events_learned_total{model_name="m"} 40.0' in answer.read().decode()
        except OSError:
            assert service.poll() is None
            return False

    try:
        until("40 events to be learned", learned)
    finally:
        assert stop(service) == 0
