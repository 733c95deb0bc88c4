"""The interpreter that a command runs in."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.services.processes import PATIENCE
from thalweg.ops.cli.process.interpreter import THREADS, require_the_lock

PYTHONPATH = os.pathsep.join(path for path in sys.path if path)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    here = {name: value for name, value in os.environ.items() if name not in THREADS}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**here, **environment, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_a_build_without_the_global_interpreter_lock_is_refused_with_what_to_do() -> None:
    done = run(
        "import sys; sys.argv = ['thalweg', 'schema']\n"
        "sys._is_gil_enabled = lambda: False\n"
        "from thalweg.ops.cli.main import main\n"
        "main()"
    )

    assert done.returncode == 2
    assert "PYTHON_GIL=1" in done.stderr
    assert not done.stdout


def test_one_with_the_lock_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    require_the_lock()
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    require_the_lock()


@pytest.mark.parametrize(("given", "wanted"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_libraries_start_as_many_threads_as_the_environment_says_else_one(given: dict[str, str], wanted: str) -> None:
    done = run(
        "import os, sys; sys.argv = ['thalweg', '--help']\n"
        "from thalweg.ops.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(os.environ['OPENBLAS_NUM_THREADS'])",
        **given,
    )

    assert done.stdout.splitlines()[-1] == wanted
