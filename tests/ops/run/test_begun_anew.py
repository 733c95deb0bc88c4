"""A service that is started without the state folder of before says so, and nobody begins another beside one in use."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.ops.running import Service, service
from tests.services import warm
from tests.services.processes import stop, until

on_memory = pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="this machine has no /dev/shm")


def inside(folder: Path) -> dict[str, str]:
    """Log and store in the state folder, as by default."""
    return {"log": f"sqlite:{folder}/state/log.db", "store": f"sqlite:{folder}/state/store.db"}


def told(running: Service) -> str:
    """What health tells of the state folder."""
    components = json.loads(running.get("/readyz")[1])["components"]
    return next(str(one["reason"]) for one in components if one["component"] == "state_folder")


def run(running: Service, *arguments: str) -> tuple[int, str]:
    done = warm.run(*arguments, timeout=200, cwd=running.folder, env={**os.environ, "COLUMNS": "200"})
    return done.returncode, done.stderr


def learned(running: Service, events: int) -> None:
    until("the events to be learned", lambda: running.ready() and running.learned() == events)


@on_memory
def test_a_start_without_the_folder_of_before_is_told_until_it_is_put_back(tmp_path: Path) -> None:
    state, away = tmp_path / "state", tmp_path / "away"
    with service(tmp_path, **inside(tmp_path)) as running:
        running.send(80)
        process = running.start()
        learned(running, 80)
        first, said_first = told(running), running.text()
        stop(process)
        state.rename(away)
        code, checked = run(running, "check", str(running.path))

        process = running.start()
        until("it to serve", running.ready)
        alive, anew = running.get("/healthz"), told(running)
        stop(process)
        said = running.text().removeprefix(said_first)
        shutil.rmtree(state)
        away.rename(state)
        running.start()
        learned(running, 80)
        back = told(running)

    assert first == back == ""
    assert said_first.count("no state yet: every model begins with what the log holds") == 1
    assert "began anew" not in said_first
    assert code == 0
    assert f"warning: service.state_dir: another folder was at {state} before, and now there is no state" in checked
    assert said.count(f"the state folder began anew: another folder was at {state} before") == 1
    assert anew.startswith(f"began anew: another folder was at {state} before, and this one held no state; if that was")
    assert alive == (200, "ok\n")


@on_memory
def test_while_the_folder_of_a_running_service_is_away_nothing_is_begun_in_its_place(tmp_path: Path) -> None:
    """Else it could not be put back: `mv` would move it into the new one."""
    state, away = tmp_path / "state", tmp_path / "away"
    (tmp_path / "events.jsonl").touch()
    with service(tmp_path, **inside(tmp_path)) as running:
        running.send(80)
        running.start()
        learned(running, 80)
        state.rename(away)
        produced = run(running, "produce", str(running.path), "--topic", "m.events", "--input", "events.jsonl")
        served = run(running, "serve", str(running.path))
        created = state.exists()
        away.rename(state)
        running.send(20)
        learned(running, 100)

    for code, problem in (produced, served):
        assert code == 1
        assert problem.startswith(f"error: {state} was moved away or removed while a service uses it: put the folder")
    assert not created


def test_a_log_that_is_begun_where_there_was_one_is_told_and_the_first_is_not(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").touch()
    with service(tmp_path, **inside(tmp_path)) as running:
        running.log.close()
        shutil.rmtree(tmp_path / "state")
        arguments = ("produce", str(running.path), "--topic", "m.events", "--input", "events.jsonl")

        first = run(running, *arguments)
        (tmp_path / "state" / "m" / "7").mkdir(parents=True)
        (tmp_path / "state" / "m" / "7" / "manifest.json").touch()  # a model has learned from that log
        (tmp_path / "state" / "log.db").unlink()
        second, third = run(running, *arguments), run(running, *arguments)

    assert first == third == (0, "")
    assert second == (0, f"began a new log, {tmp_path}/state/log.db: there was none\n")
