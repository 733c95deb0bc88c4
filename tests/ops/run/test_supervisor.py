"""The supervisor's own process: light, and what it knows of the configuration it was told by another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.ops.running import service, until
from tests.services import warm
from tests.services.processes import PATIENCE, stop
from thalweg.ops.run import supervisor as supervisor_module
from thalweg.ops.run.supervisor import Supervisor, checked_service
from thalweg.ops.telemetry.process_health import STUCK, STUCK_EXIT_CODE, SUPERVISOR_FILE
from thalweg.stream.publication.live_folder import live_folder

LIBRARIES = ("torch", "faiss", "scipy", "river", "grpc", "kafka", "numpy", "sklearn")
MOST_MIB = 50  # 41: Python itself 11, typer with what it checks arguments with 16, structlog with its colours 13

MINIMAL = """
[[model]]
name = "m"
learner = "ridge"
topic = "t"
inputs.features = {shape = [4]}
"""
WRONG = MINIMAL.replace("ridge", "rigde")


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["cotta", "prompt_tpp"])
def test_its_process_loads_no_library_that_only_learners_and_servers_need(tmp_path: Path, learner: str) -> None:
    with service(tmp_path, learner=learner) as running:
        supervisor = running.start(cold=True)
        until("both processes", lambda: running.pid("server") and running.pid("learner"))

        mapped = Path(f"/proc/{supervisor.pid}/maps").read_text()
        found = [name for name in LIBRARIES if f"/{name}" in mapped or f"lib{name}" in mapped]
        assert "libc" in mapped
        assert found == []
        pages = int(Path(f"/proc/{supervisor.pid}/statm").read_text().split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < MOST_MIB << 20
        assert stop(supervisor) == 0, running.text()


def test_nothing_it_imports_is_heavy() -> None:
    code = "import sys, thalweg.ops.cli.main, thalweg.ops.run.supervisor, thalweg.ops.run.logs; print(*sys.modules)"

    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "thalweg.ops.run.supervisor" in modules
    assert not {name.partition(".")[0] for name in modules} & set(LIBRARIES)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["console", "json"])
def test_a_configuration_that_cannot_be_used_ends_it_as_check_does(tmp_path: Path, form: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(WRONG)

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        return warm.run(*arguments, str(path), "--log-format", form, timeout=PATIENCE)

    served, checked = ran("serve"), ran("check")

    assert (served.returncode, checked.returncode) == (2, 2)
    if form == "console":
        assert served.stderr == checked.stderr
        assert "rigde" in served.stderr
    else:
        told, wanted = json.loads(served.stderr), json.loads(checked.stderr)
        assert told["role"] == "supervisor"
        assert {key: told[key] for key in ("event", "level")} == {key: wanted[key] for key in ("event", "level")}
    assert served.stdout == ""


def test_told_to_stop_while_the_configuration_is_validated_it_ends_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    os.mkfifo(path)  # nobody writes: reading it never ends
    stopping = threading.Event()
    stopping.set()

    assert checked_service([str(path)], stopping) is None


@pytest.mark.slow
def test_what_it_learns_of_the_service_is_what_is_in_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.toml"
    path.write_text('[service]\nstate_dir = "kept"\n' + MINIMAL)
    monkeypatch.setenv("THALWEG_SERVICE__DRAIN_SECONDS", "2.5")

    found = checked_service([str(path)], threading.Event())

    assert found is not None
    assert (found["state_dir"], found["drain_seconds"]) == ("kept", 2.5)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no files in memory")
def test_it_needs_no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    path = tmp_path / "thalweg.toml"
    path.write_text(MINIMAL)

    found = checked_service([str(path)], threading.Event())

    assert found is not None
    assert found["learners"] == 1


def test_a_process_that_has_worked_is_restarted_whatever_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_WORKED_SECONDS", 0.0)
    stopping = threading.Event()
    script = tmp_path / "lives"
    code = (
        f"import pathlib, sys; p = pathlib.Path({str(script)!r}); lives = len(p.read_text()) if p.exists() else 0\n"
        f"p.write_text('x' * (lives + 1)); sys.exit(1 if lives == 0 else 2)"
    )
    supervisor = Supervisor(tmp_path, 5.0, [], stopping)
    child = supervisor._children[0]
    supervisor._children = [child]
    child.command = [sys.executable, "-c", code]
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(supervisor.run()))
    thread.start()
    try:
        until("three lives", lambda: script.exists() and len(script.read_text()) >= 3)
    finally:
        stopping.set()
        thread.join()

    assert ended != [2]


def test_a_process_that_cannot_begin_with_its_configuration_ends_the_service(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, 5.0, [], threading.Event())
    child = supervisor._children[0]
    supervisor._children = [child]
    child.command = [sys.executable, "-c", "import sys; sys.exit(2)"]

    assert supervisor.run() == 2


def test_why_a_process_ended_whose_part_was_stuck_is_told(tmp_path: Path) -> None:
    stopping = threading.Event()
    supervisor = Supervisor(tmp_path, 5.0, [], stopping)
    child = supervisor._children[1]
    supervisor._children = [child]
    child.command = [sys.executable, "-c", f"import sys; sys.exit({STUCK_EXIT_CODE})"]
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        told = live_folder(tmp_path) / SUPERVISOR_FILE
        until(
            "it to be told",
            lambda: told.exists() and json.loads(told.read_text())["roles"]["learner"]["cause"] == STUCK,
        )
    finally:
        stopping.set()
        thread.join()


def test_learners_that_cannot_begin_end_the_service_only_once_none_is_left(tmp_path: Path) -> None:
    stopping = threading.Event()
    supervisor = Supervisor(tmp_path, 5.0, [], stopping, servers=0, learners=3)
    refused = [sys.executable, "-c", "import sys; sys.exit(2)"]
    late = tmp_path / "late"
    wait = f"import pathlib, sys, time\nwhile not pathlib.Path({str(late)!r}).exists(): time.sleep(0.01)\nsys.exit(2)"
    for child, command in zip(supervisor._children, (refused, [sys.executable, "-c", wait], refused), strict=True):
        child.command = command
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(supervisor.run()))
    thread.start()
    told = live_folder(tmp_path) / SUPERVISOR_FILE

    def pids() -> dict[str, int | None]:
        return {role: one["pid"] for role, one in json.loads(told.read_text())["roles"].items()}

    try:
        until("two to be refused", lambda: told.exists() and list(pids().values()).count(None) == 2)
        assert [role for role, pid in pids().items() if pid is not None] == ["learner-2"]
        assert codes == []
        assert all(child.restarts == 0 for child in supervisor._children)
        late.touch()
        until("the end", lambda: codes)
    finally:
        stopping.set()
        thread.join()

    assert codes == [2]


def test_a_server_that_cannot_begin_ends_the_service_whatever_the_learners_do(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, 5.0, [], threading.Event(), learners=2)
    for child in supervisor._children:
        child.command = [
            sys.executable,
            "-c",
            f"import sys, time; {'time.sleep(60)' if child.is_learner else 'sys.exit(2)'}",
        ]

    assert supervisor.run() == 2
