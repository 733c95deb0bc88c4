"""A server process that was killed is told at once by those that answer, while it is gone and after its restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from thalweg.ops.serve.models import Models
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.telemetry.process_health import SUPERVISOR_FILE
from thalweg.ops.telemetry.processes import server_processes

NOW = 1_000_000.0


def told(live: Path, **roles: dict[str, Any]) -> tuple[str, str]:
    usual = {"restarts": 0, "since": 0.0, "cause": ""}
    (live / SUPERVISOR_FILE).write_text(json.dumps({"pid": 1, "roles": {r: usual | e for r, e in roles.items()}}))
    found = server_processes(live, lambda: NOW)
    return ("", "") if found is None else (found.state.value, found.reason)


def test_one_that_does_not_run_and_one_that_was_restarted_are_told_for_a_minute(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    us, other = {"pid": os.getpid()}, {"pid": os.getppid()}
    again = {"restarts": 1, "since": NOW - 59}

    assert told(tmp_path, server=us, **{"server-2": other, "learner": {"pid": None}}) == ("running", "")
    for dead in (gone.pid, None):
        assert told(tmp_path, server=us, **{"server-2": {"pid": dead}}) == (
            "degraded",
            "server-2 does not run, and is restarted",
        )
    assert told(tmp_path, server=us | again, **{"server-2": other | again | {"cause": "it sent no heartbeat"}}) == (
        "degraded",
        "server was restarted after it ended unexpectedly; server-2 was restarted after it sent no heartbeat",
    )
    assert told(tmp_path, server=us | {"restarts": 1, "since": NOW - 61}) == ("running", "")


def test_a_file_of_another_service_or_none_tells_nothing(tmp_path: Path) -> None:
    assert server_processes(None) is None
    assert server_processes(tmp_path) is None
    assert told(tmp_path, server={"pid": os.getppid()}) == ("", "")


def test_readiness_says_so_and_stays_ready(tmp_path: Path) -> None:
    told(tmp_path, server={"pid": os.getpid()}, **{"server-2": {"pid": None}})
    found = ServiceHealth(Models([]), live=tmp_path).readiness()

    assert found["degraded"] == ["server processes: server-2 does not run, and is restarted"]
    assert found["ready"]
