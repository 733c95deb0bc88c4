"""A file where a folder is expected, and the other way round, is told by every command that would use it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import warm
from tests.services.ports import free_port

MODEL = '[[model]]\nname = "pay"\nlearner = "ridge"\ntopic = "t"\ninputs.features = { shape = [2] }\n'
NOT_ALL = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""As root without what lets root write everywhere."""


def configuration(folder: Path, text: str) -> Path:
    """The configuration beside a file, a folder, and a link that leads nowhere."""
    (folder / "file").touch()
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("nowhere")
    path = folder / "thalweg.toml"
    ports = f'grpc = "127.0.0.1:{free_port()}"\nhttp = "127.0.0.1:{free_port()}"\n'
    path.write_text(text.replace("[service]\n", f"[service]\n{ports}"))
    return path


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    done = warm.run(*arguments, timeout=200, cwd=folder, env={**os.environ, "COLUMNS": "200"})
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[service]\nstate_dir = "file"\n', "service.state_dir: expected a folder, .* got file: it is a file"),
        ('[service]\nstate_dir = "file/x/y"\n', "service.state_dir: .* got file/x/y: file is a file"),
        ('[service]\nstate_dir = "link"\n', "service.state_dir: .* got link: it is a link to nowhere, which leads no"),
        ('[service]\nstate_dir = "link/x"\n', "service.state_dir: .* got link/x: link is a link to nowhere"),
        ('[service]\nstate_url = "file:file"\n', "service.state_url: expected a folder, .* got file: it is a file"),
        (
            '[log]\nurl = "sqlite:folder"\n',
            "log.url: expected a file, got folder: .* did you mean sqlite:folder/log.db",
        ),
        (
            '[log]\nurl = "sqlite:file/log.db"\n',
            "log.url: expected a file in a folder, got file/log.db: file is a file",
        ),
        ('[log]\nurl = "sqlite:link/log.db"\n', "log.url: .* got link/log.db: link is a link to nowhere"),
        ('[store]\nurl = "sqlite:folder"\n', "store.url: expected a file, got folder: it is a folder; did you mean"),
        (
            '[store]\nurl = "sqlite:file/a.db"\n',
            "store.url: expected a file in a folder, got file/a.db: file is a file",
        ),
        ('history = "folder"\n', "model.pay.history: expected a file, got folder: it is a folder"),
    ],
)
def test_a_path_of_the_wrong_kind_is_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    path = configuration(tmp_path, MODEL + text if "history" in text else text + MODEL)

    code, problem = run(tmp_path, "check", str(path))

    assert code == 2
    assert len(problem.splitlines()) == 1, problem
    assert re.search(told, problem), problem


@pytest.mark.parametrize(
    "command",
    [
        ("serve",),
        ("serve", "--role", "learn"),
        ("produce", "--topic", "t", "--input", "events.jsonl"),
        ("snapshot", "list", "--model", "pay"),
        ("promote", "--model", "pay"),
        ("resume", "--model", "pay"),
    ],
)
def test_every_command_that_would_use_it_tells_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = configuration(tmp_path, '[service]\nstate_dir = "file/state"\n' + MODEL)
    (tmp_path / "events.jsonl").touch()
    place = 2 if command[0] == "snapshot" else 1

    code, problem = run(tmp_path, *command[:place], str(path), *command[place:])

    assert code == 2
    assert "service.state_dir: expected a folder" in problem
    assert "Traceback" not in problem


def test_a_replay_needs_no_state_folder(tmp_path: Path) -> None:
    path = configuration(tmp_path, '[service]\nstate_dir = "file/state"\n' + MODEL)
    (tmp_path / "events.jsonl").write_text('{"inputs": {"features": [1, 2]}, "label": 1}\n')

    code, problem = run(tmp_path, "replay", str(path), "--model", "pay", "--input", "events.jsonl")

    assert code == 0, problem


@pytest.mark.parametrize("report", ["file", "file/report"])
def test_a_report_that_could_not_be_written_is_told_before_the_replay(tmp_path: Path, report: str) -> None:
    path = configuration(tmp_path, MODEL)
    (tmp_path / "events.jsonl").write_text('{"inputs": {"features": [1, 2]}, "label": 1}\n')
    arguments = ("--model", "pay", "--input", "events.jsonl", "--report", report)

    code, problem = run(tmp_path, "replay", str(path), *arguments)

    assert code == 1
    assert problem.startswith(f"error: --report {report}: expected a folder, or a new one: ")


@pytest.mark.parametrize("given", ["folder", "missing.csv"])
def test_no_log_is_begun_for_an_input_that_is_no_file(tmp_path: Path, given: str) -> None:
    path = configuration(tmp_path, MODEL)

    code, problem = run(tmp_path, "produce", str(path), "--topic", "t", "--input", given)

    assert code == 1
    assert problem.startswith(f"error: {given}: ")
    assert not (tmp_path / "state").exists()


@pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which(NOT_ALL[0]) is None, reason="root may write everywhere without setpriv"
)
@pytest.mark.parametrize("state", ["closed", "closed/state"])
def test_a_state_folder_that_may_not_be_written_is_told_by_check_and_refused_by_serve(
    tmp_path: Path, state: str
) -> None:
    path = configuration(tmp_path, f'[service]\nstate_dir = "{state}"\n' + MODEL)
    (tmp_path / "closed").mkdir(mode=0o500)

    def told(command: str) -> subprocess.CompletedProcess[str]:
        as_one_who_may_not = NOT_ALL if os.geteuid() == 0 else ()
        arguments = [*as_one_who_may_not, sys.executable, "-m", "thalweg.ops.cli", command, str(path)]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path)

    checked, served = told("check"), told("serve")

    assert checked.returncode == 0, "another user may run it"
    assert "warning: service.state_dir: " in checked.stderr
    assert served.returncode == 2
    for one in (checked, served):
        assert "may not be written by user " in one.stderr, one.stderr
        assert "mode 500" in one.stderr
        assert "Traceback" not in one.stderr


def test_a_missing_history_and_a_file_in_place_of_a_models_folder_are_told(tmp_path: Path) -> None:
    path = configuration(tmp_path, '[service]\nstate_dir = "folder"\n' + MODEL + 'history = "old.csv"\n')

    missing = run(tmp_path, "check", str(path))
    (tmp_path / "folder" / "pay").touch()
    stray = run(tmp_path, "check", str(path))

    assert missing[0] == stray[0] == 0
    assert "model.pay.history: there is no file old.csv, with which the model is to begin" in missing[1]
    assert "model.pay: expected a folder for its state, got folder/pay: it is a file" in stray[1]
