"""A warm process is to its starter what a cold one is."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.services import warm
from tests.services.processes import PATIENCE, until

pytestmark = pytest.mark.slow

CONFIG = """
[service]
grpc = "127.0.0.1:0"
http = "127.0.0.1:0"
state_dir = "state"
[log]
url = "sqlite:log.db"
[[model]]
name = "m"
learner = "ridge"
topic = "t"
inputs.x = { shape = [2] }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.toml").write_text(CONFIG)
    (tmp_path / "bad.toml").write_text(CONFIG.replace("ridge", "rigde"))
    return tmp_path


@pytest.mark.parametrize(
    "arguments", [["check", "good.toml"], ["check", "bad.toml"], ["check"], ["--help"], ["serve", "none.toml"]]
)
def test_it_prints_and_ends_as_a_cold_one_does(folder: Path, arguments: list[str]) -> None:
    environment = {**os.environ, "COLUMNS": "99", "THALWEG_SERVICE__DRAIN_SECONDS": "2.5"}

    found = warm.run(*arguments, cwd=folder, env=environment, timeout=PATIENCE)

    cold = subprocess.run([*warm.COMMAND, *arguments], capture_output=True, text=True, cwd=folder, env=environment)
    assert (found.returncode, found.stdout, found.stderr) == (cold.returncode, cold.stdout, cold.stderr)


def test_it_is_a_child_that_signals_reach(folder: Path) -> None:
    with (folder / "output").open("wb") as output:
        stopped, killed = (
            warm.start("serve", "good.toml", "--role", role, cwd=folder, stdout=output, stderr=output)
            for role in ("serve", "learn")
        )
        assert isinstance(stopped, warm.Process)
        assert f"PPid:\t{os.getpid()}\n" in Path(f"/proc/{stopped.pid}/status").read_text()
        until("a server", lambda: "serving" in (folder / "output").read_text())
        assert stopped.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            stopped.wait(0.01)

        stopped.terminate()
        killed.kill()

        assert stopped.wait(PATIENCE) == 0, (folder / "output").read_text()
        assert killed.wait(PATIENCE) == -signal.SIGKILL
        assert Path(f"/proc/{stopped.pid}").exists() is False


def test_the_processes_of_a_warm_supervisor_are_warm_have_none_of_its_files_and_end_with_it(folder: Path) -> None:
    with (folder / "output").open("wb") as output:
        supervisor = warm.start("serve", "good.toml", cwd=folder, stdout=output, stderr=output)
        until("both processes and their standby", lambda: len(_children(supervisor.pid)) == 3)
        until("a server", lambda: "serving" in (folder / "output").read_text())
        pids = _children(supervisor.pid)

        # the preamble of the process that forks: the standby and its forks have been forked from it, not started
        assert all("/python" in Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)
        assert any(name.endswith("/.supervisor.lock") for name in _files(supervisor.pid))
        assert not any(name.endswith("/.supervisor.lock") for pid in pids for name in _files(pid))
        supervisor.terminate()

        assert supervisor.wait(PATIENCE) == 0, (folder / "output").read_text()
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def _files(pid: int) -> list[str]:
    return [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115 - sockets are no paths


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_in_an_environment_that_its_imports_would_read_it_starts_cold() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}

    process = warm.start("--help", env=environment, stdout=subprocess.DEVNULL)

    assert isinstance(process, subprocess.Popen)
    assert process.wait(PATIENCE) == 0
