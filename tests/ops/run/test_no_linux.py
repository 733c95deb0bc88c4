"""The service on a system that has not all of Linux: macOS, or a container without /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ops.running import service
from tests.services import warm
from tests.services.processes import PATIENCE, until
from thalweg.ops.run import standby
from thalweg.ops.run.supervisor import PARENT

_LESS = Path(__file__).parent / "no_linux"


@pytest.mark.slow
def test_a_service_learns_and_recovers_without_the_calls_of_linux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(_LESS), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv(standby.SETTING, "false")
    with service(tmp_path) as running:
        running.start(cold=True)
        until("readiness", running.ready)
        running.send(40)
        until("40 events", lambda: running.learned() == 40)
        running.kill("learner")
        running.send(40)
        until("80 events", lambda: running.learned() == 80)

        assert "Traceback" not in running.text()
        assert "AttributeError" not in running.text()


def test_what_linux_alone_has_is_missing_there() -> None:
    names = "posix_fallocate", "fdatasync", "waitid"
    code = f"import os; print(*[hasattr(os, name) for name in {names}])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(_LESS)}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False"] * 3


def test_without_proc_there_is_no_standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thalweg.toml").write_text("[[model]]\n")
    assert standby.wanted(tmp_path / "thalweg.toml", {})

    monkeypatch.setattr(standby, "_TASKS", tmp_path / "proc")

    assert not standby.wanted(tmp_path / "thalweg.toml", {})


_CHILD = """
import sys, time
from thalweg.ops.run.supervisor import die_with_supervisor
sys.platform = "darwin"
die_with_supervisor()
print("watching", flush=True)
time.sleep(600)
"""


def test_where_no_death_is_signalled_a_process_still_ends_with_its_supervisor() -> None:
    here = f"{{**os.environ, {PARENT!r}: str(os.getpid())}}"
    code = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {_CHILD!r}], env={here})\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    paths = os.pathsep.join([str(warm.ROOT), *filter(None, sys.path)])
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout as told:
        child = int(told.readline())
        assert told.readline() == "watching\n"

        parent.send_signal(signal.SIGKILL)
        parent.wait(PATIENCE)

        until("its end", lambda: _ended(child))


def _ended(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return fields.rpartition(") ")[2].startswith("Z")  # whoever adopted it has not waited for it
