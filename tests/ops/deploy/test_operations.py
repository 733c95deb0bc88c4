"""What docs/operations.md says about backups and upgrades, done with real processes."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.ops.running import Service, service, until
from thalweg.ops.cli.main import app


def copied(folder: Path, to: Path) -> None:
    """A backup of a state folder while its service runs: as tar takes it, without what is in memory and the locks."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("live", ".*.lock"))


OPERATIONS = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
COMMANDS = re.findall(r"(?:^\$ |&& |`)(?:\S+/)?thalweg ([a-z][^`\n#|&]*)", OPERATIONS, re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_command_of_the_page_and_each_of_its_options_exist(command: str) -> None:
    words = command.split()
    names = words[:1] if words[0] not in ("snapshot", "scale") else words[:2]

    told = CliRunner().invoke(app, [*names, "--help"], env={"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"})

    assert told.exit_code == 0, told.output
    for option in re.findall(r"--[a-z-]+", command):
        assert option in told.output


def test_the_page_has_commands() -> None:
    assert {command.split()[0] for command in COMMANDS} >= {"scale", "check", "serve", "snapshot"}


@pytest.mark.slow(5)
def test_a_service_on_a_copied_state_learns_beside_the_old_one_and_takes_over_without_a_gap(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    url = f"sqlite:{tmp_path}/log.db"
    with service(tmp_path, log=url) as old, service(tmp_path / "new", log=url) as new:
        old.start()
        old.send(300)
        until("the old one to have learned", lambda: old.ready() and old.learned() == 300)
        until("a snapshot", lambda: len(list((tmp_path / "state" / "m").glob("[1-9]*"))) > 0)
        copied(tmp_path / "state", tmp_path / "new" / "state")

        new.start()
        old.send(50)
        until("both to have learned", lambda: new.ready() and old.learned() == new.learned() == 350)
        same = old.predict().raw_output_contents == new.predict().raw_output_contents
        answered = _stopped_while_asked(old, new)
        old.send(10)
        until("the new one to go on", lambda: new.learned() == 360)

    assert same
    assert answered > 0


def _stopped_while_asked(old: Service, new: Service) -> int:
    """Stop the old service; meanwhile the new one answers every request. How many it were."""
    process = old.processes[0]
    process.terminate()
    answered, deadline = 0, time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        new.predict()  # raises if it is refused
        answered += 1
    assert process.poll() == 0
    return answered
