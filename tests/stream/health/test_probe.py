"""Whether something outside can be reached is asked at intervals and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.processes import until
from thalweg.memory.kept_folders import FolderMoved
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import Health
from thalweg.stream.log.log import LogAway, LogDeleted, LogError, LogReplaced, PermanentLogError


def test_what_goes_and_comes_back_is_told_both_times() -> None:
    health, there = Health("log"), [True]

    def ask() -> None:
        if not there[0]:
            raise OSError("no broker answers")

    probe = Probe("the log", ask, health, every_seconds=0.01)
    probe.start()
    until("the first answer", lambda: health.now().state == "running")
    there[0] = False
    until("the outage to be told", lambda: health.now().state == "waiting")
    found = health.now()
    there[0] = True
    until("its end to be told", lambda: health.now().state == "running")
    probe.close()

    assert found.reason == "the log is out of reach: no broker answers"
    assert health.now().restarts == 0


@pytest.mark.parametrize(
    ("error", "state", "restart_helps"),
    [
        (LogReplaced("another file is there"), "failed", True),
        (LogDeleted("no file is there"), "failed", False),
        (LogError("no broker answers"), "waiting", False),
    ],
)
def test_a_restart_is_due_only_where_it_does_not_begin_another_log(
    error: LogError, state: str, restart_helps: bool
) -> None:
    health = Health("log")

    def ask() -> None:
        raise error

    probe = Probe("the log", ask, health, hopeless=(PermanentLogError, LogDeleted), restart=(LogReplaced,))
    probe.look()

    assert health.now().state == state
    assert probe.restart_helps is restart_helps


def test_what_is_away_with_a_folder_waits_for_it_and_only_the_folder_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, folder = Health("log"), Health("state_folder")
    there = [False]

    def ask_the_log() -> None:
        if not there[0]:
            raise LogAway("log: it is away") from FolderMoved(tmp_path / "state")

    def ask_the_folder() -> None:
        if not there[0]:
            raise FolderMoved(tmp_path / "state")

    probes = [Probe("the log", ask_the_log, log), Probe("the folder", ask_the_folder, folder, hopeless=(OSError,))]
    for probe in [*probes, *probes]:
        probe.look()
    away = log.now().state, folder.now().state
    there[0] = True
    for probe in probes:
        probe.look()

    said = capsys.readouterr().out
    assert away == ("waiting", "failed")
    assert said.count("the folder is out of reach") == 1
    assert said.count("the folder is within reach again") == 1
    assert "the log" not in said
    assert log.now().state == folder.now().state == "running"
