"""The standby: what is forked from it is a child of its supervisor, has imported everything, and begins when told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.ops.running import service, until
from tests.services.processes import PATIENCE, stop
from thalweg.ops.run import standby as standby_module
from thalweg.ops.run.heartbeat import Heartbeat
from thalweg.ops.run.standby import Forked, Standby, reap_strangers, wanted
from thalweg.ops.run.stop_request import StopRequest
from thalweg.ops.run.supervisor import Supervisor, children_environment

CONFIG = """
[[model]]
name = "m"
learner = "ridge"
topic = "t"
inputs.x = { shape = [2] }
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "t.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def ready(config: Path) -> Iterator[Standby]:
    """A standby that can fork."""
    with closing(Standby([str(config)], children_environment())) as standby:
        standby.wait_until_ready(StopRequest())
        yield standby


def checked(standby: Standby, config: Path) -> tuple[int, str]:
    """What a forked `thalweg check` ends with and prints."""
    with tempfile.TemporaryFile() as output:
        process = standby.start(["check", str(config), "--role", "supervisor"], stdout=output.fileno())
        assert process is not None
        code = process.wait(PATIENCE)
        output.seek(0)
        return code, output.read().decode()


@pytest.mark.slow
def test_what_it_forks_runs_with_its_own_arguments_as_a_child_of_who_asked(ready: Standby, config: Path) -> None:
    code, printed = checked(ready, config)
    (config.parent / "wrong.toml").write_text(CONFIG.replace("ridge", "rigde"))
    heartbeat = Heartbeat()
    serving = ["serve", str(config), "--role", "learn"]

    learner = ready.start(serving, heartbeat=heartbeat.write)

    assert learner is not None
    heartbeat.started()
    try:
        assert (code, "[service]" in printed) == (0, True)
        assert checked(ready, config.parent / "wrong.toml")[0] == 2
        status = Path(f"/proc/{learner.pid}/status").read_text()
        assert f"PPid:\t{os.getpid()}\n" in status
        until("its heartbeat", lambda: heartbeat.listen() == 0.0)
        shown = Path(f"/proc/{learner.pid}/cmdline").read_text().rstrip("\0").split("\0")
        assert shown == [sys.executable, "-P", "-m", "thalweg.ops.cli", *serving]
        with pytest.raises(subprocess.TimeoutExpired):
            learner.wait(0.01)
    finally:
        learner.kill()
    assert learner.wait(PATIENCE) == -signal.SIGKILL
    heartbeat.close()


@pytest.mark.slow
def test_one_that_was_given_up_never_begins(ready: Standby, config: Path) -> None:
    assert ready._socket is not None
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as output:
        request = {"arguments": ["check", str(config)], "heartbeat": False, "stdout": True}
        socket.send_fds(ready._socket, [json.dumps(request).encode()], [theirs.fileno(), output.fileno()])
        theirs.close()
        late = Forked(int.from_bytes(ours.recv(4), "big"))

        ours.close()  # without the word

        assert late.wait(PATIENCE) == 0
        assert os.fstat(output.fileno()).st_size == 0


@pytest.mark.slow
def test_a_standby_that_does_not_answer_or_dies_is_replaced_and_nobody_waits_for_it(
    ready: Standby, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby_module, "_ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(standby_module, "_FIRST_WAIT_SECONDS", 0.0)
    first = ready.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)

    assert ready.start(["check", str(config)]) is None  # its caller starts a process of its own

    until("another standby", lambda: ready.look() and ready.pid not in (None, first))
    assert ready.restarts == 1
    monkeypatch.undo()
    ready.wait_until_ready(StopRequest())
    assert checked(ready, config)[0] == 0


@pytest.mark.slow
def test_where_an_import_starts_a_thread_nothing_is_forked(config: Path) -> None:
    folder = config.parent / "early"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import threading, time; threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()"
    )
    environment = {**children_environment(), "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}

    with closing(Standby([str(config)], environment)) as standby:
        standby.wait_until_ready(StopRequest())
        until("it to end", standby.look)

        assert standby.start(["check", str(config)]) is None
        assert not standby.look()  # it is not started again
        assert standby.pid is None


@pytest.mark.slow
def test_once_installed_files_have_changed_it_is_replaced_by_one_that_has_imported_the_new_ones(config: Path) -> None:
    folder = config.parent / "installed"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import library")  # as any library that is imported before a fork
    (folder / "library.py").write_text("old = 1")
    environment = {**children_environment(), "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}

    with closing(Standby([str(config)], environment)) as standby:
        standby.wait_until_ready(StopRequest())
        first = standby.pid
        assert checked(standby, config)[0] == 0

        (folder / "library.py").write_text("new = 1")

        assert standby.start(["check", str(config)]) is None  # its caller starts a process of its own
        until("another standby", lambda: standby.look() and standby.pid not in (None, first))
        standby.wait_until_ready(StopRequest())
        assert standby.pid != first
        assert checked(standby, config)[0] == 0
        assert standby.restarts == 1
        (folder / "library.py").unlink()
        assert standby.start(["check", str(config)]) is None


def test_whether_one_is_wanted_stands_in_the_file_or_the_environment(config: Path, tmp_path: Path) -> None:
    off = tmp_path / "off.toml"
    off.write_text("[service]\nstandby = false\n" + CONFIG)
    os.mkfifo(tmp_path / "pipe")

    assert wanted(config, {})
    assert not wanted(config, {"THALWEG_SERVICE__STANDBY": "false"})
    assert wanted(off, {"THALWEG_SERVICE__STANDBY": "true"})
    assert not wanted(off, {})
    assert not wanted(tmp_path / "none.toml", {})
    assert not wanted(tmp_path / "pipe", {})  # reading it would take it from who validates it


def test_strangers_that_became_children_are_reaped_and_own_ones_are_not() -> None:
    stranger, own = os.fork(), None
    if stranger == 0:
        os._exit(0)
    until("its end", lambda: os.waitid(os.P_PID, stranger, os.WEXITED | os.WNOWAIT | os.WNOHANG))
    reap_strangers({stranger})
    own = Forked(stranger)
    assert own.poll() == 0  # it was left to be waited for

    other = os.fork()
    if other == 0:
        os._exit(0)
    until("it to be reaped", lambda: reap_strangers(set()) or not Path(f"/proc/{other}").exists())


@pytest.mark.slow
def test_a_killed_learner_comes_back_without_a_start_of_its_own_and_the_service_ends_with_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(tmp_path) as running:
        supervisor = running.start()
        until("a version", running.ready)
        standby = until("the standby", lambda: running.pid("standby"))
        before = running.kill("learner")

        after = until("another learner", lambda: (pid := running.pid("learner")) != before and pid)

        assert running.metric("thalweg_process_up", role="standby") == 1
        assert running.metric("process_resident_memory_bytes", role="standby")
        assert running.pid("standby") == standby
        assert stop(supervisor) == 0, running.text()
        assert not any(Path(f"/proc/{pid}").exists() for pid in (after, standby))


def test_a_supervisor_whose_standby_cannot_fork_starts_its_processes_itself(tmp_path: Path) -> None:
    class Never:
        asked = 0

        def start(self, arguments: list[str], heartbeat: int) -> None:
            self.asked += 1

    never = Never()
    supervisor = Supervisor(tmp_path, 5.0, [], StopRequest(), standby=never)  # type: ignore[arg-type]
    child = supervisor._children[0]
    child.command = [*child.command[:4], "--help"]

    supervisor._start(child)

    assert child.process is not None
    assert child.process.wait(PATIENCE) == 0
    assert child.heartbeat is not None
    child.heartbeat.close()
    assert never.asked == 1
