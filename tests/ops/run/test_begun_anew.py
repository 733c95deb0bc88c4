"""A service that is started without the state folder of before says so, and nobody begins another beside one in use."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.ops.running import Service, service
from tests.samples import sample
from tests.services import warm
from tests.services.processes import stop, until
from thalweg.proto.encode import to_json

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


def stop_when_ready(running: Service) -> None:
    process = running.start()
    until("it to serve", running.ready)
    stop(process)


def out_of_reach(running: Service) -> list[str]:
    return [line for line in running.text().splitlines() if "the state folder is out of reach" in line]


def produced(state: Path) -> list[tuple[object, ...]]:
    """The topics of the log in a state folder, each with its end."""
    with closing(sqlite3.connect(f"file:{state}/log.db?mode=ro", uri=True)) as file:
        return file.execute("SELECT name, next FROM topics").fetchall()


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
        listed = run(running, "snapshot", "list", str(running.path), "--model", "m")
        created = state.exists()
        away.rename(state)
        running.send(20)
        learned(running, 100)

    for code, problem in (produced, served, listed):
        assert code == 1
        assert problem.startswith(f"error: {state} was moved away or removed while a running service (process ")
        assert "uses it: put the folder back where it was, and it goes on; nothing is begun in its place" in problem
    assert not created


@on_memory
def test_a_copy_in_place_of_the_folder_of_a_running_service_gets_nothing(tmp_path: Path) -> None:
    """What was appended to it would be lost once the folder is put back, or be there twice."""
    state, away = tmp_path / "state", tmp_path / "away"
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(to_json(sample("ridge").events(5))))
    with service(tmp_path, **inside(tmp_path)) as running:
        running.send(80)
        process = running.start()
        learned(running, 80)
        state.rename(away)
        shutil.copytree(away, state, symlinks=True)
        before = produced(state)
        commands = (
            ("produce", str(running.path), "--topic", "m.events", "--input", "events.jsonl"),
            ("serve", str(running.path)),
            ("snapshot", "rollback", str(running.path), "--model", "m", "0", "--force"),
            ("promote", str(running.path), "--model", "m"),
        )
        refused = [run(running, *command) for command in commands]
        checked = run(running, "check", str(running.path))
        untouched = produced(state) == before
        lines = until("each process to tell", lambda: found if len(found := out_of_reach(running)) == 2 else None)
        shutil.rmtree(state)
        away.rename(state)
        running.send(20)
        learned(running, 100)
        stop(process)

    for code, problem in refused:
        assert code == 1
        assert problem.startswith(f"error: {state} is not the folder that a running service (process ")
        assert "Move this one away and put the folder back where it was, and it goes on" in problem
    assert untouched
    assert checked[0] == 0
    assert f"warning: service.state_dir: {state} is not the folder that a running service (process " in checked[1]
    assert all("if what is there now is meant, as on a disk that was mounted late, start" in line for line in lines)
    assert sorted(line.rpartition("role=")[2] for line in lines) == ["learner", "server"]


@on_memory
def test_a_start_without_its_folder_is_told_though_another_service_has_started_since(tmp_path: Path) -> None:
    """And as often as it is started without it."""
    (tmp_path / "other").mkdir()
    said = []
    with service(tmp_path, **inside(tmp_path)) as running, service(tmp_path / "other") as other:
        running.send(20)
        process = running.start()
        learned(running, 20)
        stop(process)
        (tmp_path / "state").rename(tmp_path / "away")
        stop_when_ready(other)
        listed = run(running, "snapshot", "list", str(running.path), "--model", "m")
        for again in (False, True, False):
            before = running.text()
            process = running.start()
            until("it to serve", running.ready)
            said.append((told(running)[:11], running.text().removeprefix(before).count("began anew: another folder")))
            stop(process)
            if again:
                shutil.rmtree(tmp_path / "state")

    assert said == [("began anew:", 1)] * 3
    assert listed[0] == 1
    assert f"{tmp_path}/state does not exist; another folder was there before: put it back" in listed[1]


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
