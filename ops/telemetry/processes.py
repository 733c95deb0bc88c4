"""Which processes of the service run, as its supervisor and its learners tell."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from thalweg.ops.telemetry.learners.processes import LearnerProcesses
from thalweg.ops.telemetry.process_health import SUPERVISOR_FILE
from thalweg.stream.health.registry import RECOVERED_SECONDS, ComponentHealth, Condition

_SERVER = "server"
SERVERS = "server_processes"
"""The component that stands for the server processes of a service."""


class RunningProcess(NamedTuple):
    """One process."""

    pid: int | None
    """None: not known."""
    up: bool
    """Whether it runs."""
    restarts: int


def running_processes(live: Path | None, learners: LearnerProcesses | None) -> dict[str, RunningProcess]:
    """By role: `server` and `learner` (further ones are `server-2`, `learner-2` and so on), `standby`.

    A supervisor's file counts only while it tells of this process: in a memory-backed folder, one may be left from
    another time. Whether a learner runs is known from its sign of life, wherever and by whomever it was started.

    Args:
        live: The folder of published versions, with the supervisor's file; None: there is none.
        learners: The learner processes as they tell of themselves.
    """
    supervised = _supervised(live)
    servers = {role: entry for role, entry in supervised.items() if role.partition("-")[0] == _SERVER}
    if os.getpid() not in [entry.get("pid") for entry in servers.values()]:
        supervised = {} if servers else supervised
        servers = {_SERVER: {"pid": os.getpid()}}
    restarts = {role: int(entry.get("restarts", 0)) for role, entry in {**supervised, **servers}.items()}
    roles = {
        role: RunningProcess(entry.get("pid"), _runs(entry.get("pid")), restarts[role])
        for role, entry in servers.items()
    }
    for role, learner in learners.by_role().items() if learners is not None else ():
        roles[role] = RunningProcess(learner.pid, learner.up, restarts.get(role, 0))
    standby = supervised.get("standby", {}).get("pid")
    if isinstance(standby, int):  # where there is none, the others are started without it
        roles["standby"] = RunningProcess(standby, True, restarts.get("standby", 0))
    return roles


def server_processes(live: Path | None, clock: Callable[[], float] = time.time) -> ComponentHealth | None:
    """The server processes of this service together, as its supervisor tells: degraded while one of them does not run,
    and for a minute after one was restarted. None without a supervisor.

    Args:
        live: As in `running_processes`.
        clock: Unix seconds.
    """
    servers = {role: entry for role, entry in _supervised(live).items() if role.partition("-")[0] == _SERVER}
    if os.getpid() not in [entry.get("pid") for entry in servers.values()]:
        return None
    now, told = clock(), []
    for role, entry in servers.items():
        since = float(entry.get("since", 0.0))
        if not _runs(entry.get("pid")):
            told.append(f"{role} does not run, and is restarted")
        elif entry.get("restarts") and now - since < RECOVERED_SECONDS:
            told.append(f"{role} was restarted after {entry.get('cause') or 'it ended unexpectedly'}")
    return ComponentHealth(
        component=SERVERS,
        model="",
        state=Condition.DEGRADED if told else Condition.RUNNING,
        reason="; ".join(told),
        since=max(float(entry.get("since", 0.0)) for entry in servers.values()),
        restarts=sum(int(entry.get("restarts", 0)) for entry in servers.values()),
    )


def _supervised(live: Path | None) -> dict[str, dict[str, Any]]:
    if live is None:
        return {}
    try:
        roles: dict[str, dict[str, Any]] = json.loads((live / SUPERVISOR_FILE).read_text(encoding="utf-8"))["roles"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return roles if isinstance(roles, dict) else {}


def _runs(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    with suppress(OSError):
        os.kill(pid, 0)
        return True
    return False
