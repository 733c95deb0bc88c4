"""Whether something outside can be reached is asked at intervals and told."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.services.processes import until
from thalweg.memory.kept_folders import FolderMoved
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import Health
from thalweg.stream.log.log import LogAway, LogDeleted, LogError, LogReplaced, PartlyAway, PermanentLogError


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


def test_what_answers_in_part_is_degraded_and_told_as_it_is() -> None:
    health = Health("log")
    errors: list[LogError | None] = [PartlyAway("partition 1 of 't': no leader", ()), LogError("nobody answers"), None]

    def ask() -> None:
        if errors[0] is not None:
            raise errors[0]

    probe = Probe("the log", ask, health, partly=(PartlyAway,))
    with capture_logs() as told:
        for _ in range(3):
            probe.look()
            probe.look()
            found = health.now()
            errors.append(errors.pop(0))
            if errors[-1] is not None:
                assert (found.state, found.reason) == {
                    PartlyAway: ("degraded", "partition 1 of 't': no leader"),
                    LogError: ("waiting", "the log is out of reach: nobody answers"),
                }[type(errors[-1])]

    assert found.state == "running"
    assert [line["event"] for line in told] == [
        "a part of the log is out of reach",
        "the log is out of reach",
        "the log is within reach again",
    ]
    assert probe.restart_helps


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
