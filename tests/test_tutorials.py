"""The tutorials, followed as they stand: their files written, their commands run in one shell, their output compared.

A file is a block after a line that ends in its name and a colon (`name`:). In a console block, lines that begin with
`$` are commands and the others their output, in which … stands for anything. Nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ops.running import until
from tests.services.ports import free_port

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "docs" / "quickstart.md"
TUTORIAL = ROOT / "docs" / "tutorials" / "your_own_learner.md"
_BLOCK = re.compile(r"(?:`(?P<name>[\w./]+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)```", re.DOTALL)
_DONE = "--- done"


class Shell:
    """One bash, told one command after the other; the package is installed into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        tools = folder / "tools"
        tools.mkdir()
        for name, module in (("python", ""), ("pip", "-m pip"), ("thalweg", "-m thalweg.ops.cli")):
            (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            (tools / name).chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": f"{folder / 'site'}:{ROOT}",
            "PIP_TARGET": str(folder / "site"),
            "PIP_NO_INDEX": "1",
            "COLUMNS": "200",
        }
        self.folder = folder
        self.process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> str:
        """What a command prints; one that goes on in the background prints to a file of its own."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if command.endswith("&"):
            command = command.removesuffix("&") + "> background.log 2>&1 &"
        self.process.stdin.write(f'{command}\necho "{_DONE} $?"\n')
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.startswith(_DONE):
                assert line.split()[-1] == "0", f"$ {command}\n{''.join(lines)}"
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"the shell ended at: {command}\n{''.join(lines)}")

    def close(self) -> None:
        """End it and what it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@contextmanager
def shell(folder: Path) -> Iterator[Shell]:
    made = Shell(folder)
    try:
        yield made
    finally:
        made.close()


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Those of a console block, each with the output that is shown."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def assert_printed(shown: str, got: str, command: str) -> None:
    pattern = re.escape("\n".join(line.strip() for line in shown.strip().splitlines())).replace("…", ".*")
    printed = "\n".join(line.strip() for line in got.strip().splitlines())
    assert re.fullmatch(pattern, printed, re.DOTALL), f"$ {command}\nexpected:\n{shown}\ngot:\n{got}"


@pytest.mark.slow(15)
def test_the_tutorial_leads_from_an_empty_folder_to_a_served_learner_of_ones_own(tmp_path: Path) -> None:
    grpc, http = free_port(), free_port()
    text = TUTORIAL.read_text().replace("8081", str(grpc)).replace("8080", str(http))
    with shell(tmp_path) as user:
        folder = tmp_path
        for block in _BLOCK.finditer(text):
            if block["name"]:
                (folder / block["name"]).write_text(block["text"])
                continue
            for command, shown in commands(block["text"]):
                if " predict " in command:
                    until("the events to be served", lambda: learned(http) == 3000, 120)
                printed = user.run(command)
                if command.startswith("cd "):
                    folder /= command.removeprefix("cd ")
                if shown:
                    assert_printed(shown, printed, command)

        assert (folder / "state" / "machines").is_dir()
        mistaken = (folder / "thalweg.toml").read_text().replace("decay", "decai")
        (folder / "mistaken.toml").write_text(mistaken)
        assert "did you mean decay?" in user.run("! thalweg check mistaken.toml")
        learner = (folder / "closest.py").read_text()
        (folder / "closest.py").write_text(learner.replace("self._mean.copy()", "self._mean"))
        found = user.run("! python -m pytest -q -p no:cacheprovider test_closest.py")
        assert "FAILED test_closest.py::TestClosest::test_a_predictor_is_not_changed_by_later_learning" in found


def learned(http: int, model: str = "machines") -> float:
    """Events in the version that is served; 0 while there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=5) as answer:
            page = answer.read().decode()
    except (urllib.error.URLError, OSError):
        time.sleep(0.1)
        return 0.0
    served = re.findall(rf'^thalweg_events_learned_total\{{model_name="{model}"\}} (\S+)$', page, re.MULTILINE)
    return float(served[0]) if served else 0.0


@pytest.mark.slow(25)
def test_the_quickstart_leads_from_a_csv_file_to_answers_and_to_a_river_model(tmp_path: Path) -> None:
    grpc, http = free_port(), free_port()
    text = QUICKSTART.read_text().partition("## Your own Kafka topic")[0].replace("8081", str(grpc))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    with shell(tmp_path) as user:
        for block in _BLOCK.finditer(text):
            if block["name"]:
                (tmp_path / block["name"]).write_text(block["text"])
                continue
            for command, shown in commands(block["text"]):
                if command.startswith("thalweg serve"):
                    config = tmp_path / "payments.toml"
                    config.write_text(config.read_text().replace("8081", str(grpc)).replace("8080", str(http)))
                if " predict " in command:
                    until("the events to be served", lambda: learned(http, "payments") == 8000, 120)
                assert_printed(shown or "…", user.run(command), command)

        assert (tmp_path / "report" / "report.png").stat().st_size > 10_000


def test_output_that_differs_from_the_one_shown_is_found() -> None:
    assert_printed(" a  0.96\n…\nend", "a  0.96 \nanything\nat all\nend\n", "x")

    with pytest.raises(AssertionError, match="expected"):
        assert_printed("a 0.96", "a 0.97", "x")
