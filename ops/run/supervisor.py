"""Keeps the server and learner processes running, and restarts each of them independently.

It imports nothing that they need: another process validates the configuration for it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import structlog

from thalweg.memory.kept_folders import is_away, kept, must_be_kept
from thalweg.ops.cli.process.interpreter import THREADS
from thalweg.ops.run.heartbeat import HEARTBEAT, Heartbeat
from thalweg.ops.run.learners.shares import has_groups, process_count
from thalweg.ops.run.only_one import claim, only_one
from thalweg.ops.run.standby import Process, Standby, reap_strangers, wanted
from thalweg.ops.telemetry.process_health import SILENT, STUCK, STUCK_EXIT_CODE, SUPERVISOR_FILE, learner_role
from thalweg.stream.publication.live_folder import live_folder
from thalweg.stream.runtime import Signal

log = structlog.get_logger(__name__)

SERVER, LEARNER, FOLLOWER, MONITOR = "server", "learner", "follower", "monitor"
"""Roles of processes; further ones are called `server-2`, `learner-2` and so on."""
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.1, 10.0
_LOOK_SECONDS = 0.5  # between looks whether the supervisor is still there, where nothing tells
_HEALTHY_SECONDS = 30.0  # a process that ran this long is restarted without delay
_WORKED_SECONDS = 10.0  # a process that ran this long had a valid configuration: what it cannot do later may pass
_INVALID_CONFIGURATION = 2  # exit code of an invalid configuration: a restart would not help
PARENT = "THALWEG_SUPERVISOR"
"""The environment variable with the id of the supervising process; its children end when it does."""
_THALWEG = [sys.executable, "-P", "-m", "thalweg.ops.cli"]
"""`-P`: a module in the folder where the service was started takes no library's place."""


@dataclass(slots=True)
class _Child:
    role: str
    command: list[str]
    process: Process | None = None
    started: float = 0.0
    restarts: int = 0
    wait_seconds: float = _FIRST_WAIT_SECONDS
    not_before: float = 0.0
    since: float = field(default=0.0)
    worked: bool = False
    """Whether it has run for a while, so that its configuration is valid."""
    heartbeat: Heartbeat | None = None
    killed: bool = False
    refused: bool = False
    """Whether it ended because none of its models can learn under this configuration: it is not started again."""
    held_back: bool = False
    """Whether it is not started because the state folder is away."""
    cause: str = ""

    @property
    def is_learner(self) -> bool:
        return self.role.partition("-")[0] == LEARNER


class Supervisor:
    """Starts, watches, restarts and stops the processes of one service.

    Args:
        state_dir: The service's state folder, locked while the supervisor runs.
        drain_seconds: Time for each process to stop.
        arguments: Arguments of `thalweg serve` for each child, without the role.
        stop: Ends the supervisor when set, for example by a signal handler.
        environment: The children's environment.
        silent_seconds: A process that sends no heartbeat for this long is killed and restarted.
        standby: Forks the processes, so that they need not import anything; None: each starts for itself.
        servers: How many server processes share the service's addresses; 0: they are run by others.
        learners: How many learner processes share the models out.
        role: What the host does, as of `service.role`.
        claim: Called once the state folder is locked, before any process is started.
    """

    def __init__(
        self,
        state_dir: Path,
        drain_seconds: float,
        arguments: list[str],
        stop: Signal,
        environment: Mapping[str, str] | None = None,
        silent_seconds: float = 60.0,
        standby: Standby | None = None,
        servers: int = 1,
        learners: int = 1,
        role: str = "all",
        claim: Callable[[], None] | None = None,
    ) -> None:
        self._claim = claim
        self._silent_seconds = silent_seconds
        self._standby = standby
        self._state_dir = state_dir
        self._drain_seconds = drain_seconds
        self._environment = children_environment(environment)
        begin = [*_THALWEG, "serve", *arguments, "--role"]
        serving = [
            _Child(SERVER if number == 1 else f"{SERVER}-{number}", [*begin, "serve", "--replica", str(number)])
            for number in range(1, servers + 1)
        ]
        learning = [
            _Child(learner_role(number), [*begin, "learn", "--learner", str(number)])
            for number in range(1, learners + 1)
        ]
        self._children = {
            "all": [*serving, *learning],
            "serve": [_Child(FOLLOWER, [*begin, "follow"]), *serving],
            "learn": [_Child(MONITOR, [*begin, "monitor"]), *learning],
        }["learn" if role == "standby" else role]
        self._stop = stop

    def run(self) -> int:
        """Run until stopped; returns the exit code: 0 after a clean stop, 2 for an invalid configuration."""
        with only_one(self._state_dir, "supervisor"), kept(self._state_dir):
            if self._claim is not None:
                self._claim()
            live = live_folder(self._state_dir)
            self._status = live / SUPERVISOR_FILE
            for page in live.glob("metrics-learner*.prom"):  # of a run before: counters go on only within one
                page.unlink(missing_ok=True)
            code = 0
            try:
                while not self._stop.wait(0.02) and code == 0:
                    code = self._look()
            finally:
                code = max(code, self._stop_all())
        return code

    def _look(self) -> int:
        changed = self._look_after_standby()
        for child in self._children:
            now = time.monotonic()
            if child.process is not None and (code := child.process.poll()) is not None:
                child.process = None
                if child.heartbeat is not None:
                    child.heartbeat.close()
                    child.heartbeat = None
                if code == _INVALID_CONFIGURATION and not child.worked:
                    log.error("a process cannot run with this configuration", role=child.role)
                    child.refused = changed = True
                    if not child.is_learner or all(one.refused for one in self._children if one.is_learner):
                        return code
                    continue  # the models of the other learners can go on
                child.worked = child.worked or now - child.started > _WORKED_SECONDS
                if now - child.started > _HEALTHY_SECONDS:
                    child.wait_seconds = _FIRST_WAIT_SECONDS
                log.error("a process died: restarting it", role=child.role, code=code, wait=child.wait_seconds)
                child.restarts += 1
                child.cause = SILENT if child.killed else STUCK if code == STUCK_EXIT_CODE else ""
                child.not_before = now + child.wait_seconds
                child.wait_seconds = min(2 * child.wait_seconds, _LONGEST_WAIT_SECONDS)
                changed = True
            if child.process is None and not child.refused and now >= child.not_before and self._in_place(child):
                self._start(child)
                child.started, child.since = now, time.time()
                changed = True
            elif child.heartbeat is not None and child.heartbeat.listen() > self._silent_seconds and not child.killed:
                log.error(
                    "a process sends no heartbeat: killing it",
                    role=child.role,
                    pid=child.process.pid if child.process is not None else None,
                    silent_seconds=round(child.heartbeat.silent_seconds),
                )
                child.killed = True
                if child.process is not None:
                    child.process.kill()  # it would not act on another signal
        if changed:
            self._write_status()
        return 0

    def _in_place(self, child: _Child) -> bool:
        """Whether the state folder is still there: a process that starts without it would begin another."""
        try:
            must_be_kept(self._state_dir)
        except OSError as error:
            if not child.held_back:
                log.error("a process is not started", role=child.role, problem=str(error))
            child.held_back = True
            child.not_before = time.monotonic() + _LONGEST_WAIT_SECONDS
            return False
        child.held_back = False
        return True

    def _look_after_standby(self) -> bool:
        if self._standby is None:
            return False
        known = {child.process.pid for child in self._children if child.process is not None}
        reap_strangers(known if self._standby.pid is None else known | {self._standby.pid})
        return self._standby.look()

    def _start(self, child: _Child) -> None:
        child.heartbeat, child.killed = Heartbeat(), False
        pipe = child.heartbeat.write
        child.process = None
        if self._standby is not None and child.command[: len(_THALWEG)] == _THALWEG:
            child.process = self._standby.start(child.command[len(_THALWEG) :], heartbeat=pipe)
        if child.process is None:
            child.process = subprocess.Popen(
                child.command, env={**self._environment, HEARTBEAT: str(pipe)}, pass_fds=[pipe]
            )
        child.heartbeat.started()

    def _write_status(self) -> None:
        """Write start times and restart counts of the processes, for the metrics."""
        roles = {
            child.role: {
                "pid": child.process.pid if child.process is not None else None,
                "restarts": child.restarts,
                "since": child.since,
                "cause": child.cause,
            }
            for child in self._children
        }
        if self._standby is not None:
            roles["standby"] = {
                "pid": self._standby.pid,
                "restarts": self._standby.restarts,
                "since": self._standby.since,
                "cause": "",
            }
        beside = self._status.with_name(".supervisor.json")
        try:
            must_be_kept(self._status)
            beside.write_text(json.dumps({"pid": os.getpid(), "roles": roles}), encoding="utf-8")
            beside.rename(self._status)
        except OSError as error:
            if not is_away(error):
                log.warning("cannot write the status of the processes", problem=str(error))

    def _stop_all(self) -> int:
        """Stop the servers first, so that no requests arrive; then the learners, which save. 1 if one had to be
        killed.
        """
        servers = [child for child in self._children if not child.is_learner]
        learners = [child for child in self._children if child.is_learner]
        return max(self._stop_children(servers), self._stop_children(learners))

    def _stop_children(self, children: list[_Child]) -> int:
        code = 0
        for child in children:
            if child.process is not None:
                child.process.terminate()
        for child in children:
            if child.process is None:
                continue
            try:
                ended = child.process.wait(self._drain_seconds + 5)
                code = max(code, int(ended not in (0, -signal.SIGTERM)))  # stopped during its start: nothing was begun
            except subprocess.TimeoutExpired:
                log.error("a process did not stop in time: killed", role=child.role)
                child.process.kill()
                child.process.wait()
                code = 1
        return code


def supervise(config: Path, options: list[str], stop: Signal, *, serving: bool = True) -> int:
    """Run the service of a configuration until `stop` is set; its exit code.

    Args:
        config: The configuration's file.
        options: Further options of `thalweg serve`.
        stop: Ends the service when set.
        serving: Whether it has servers; False: only its learner processes are run.

    Raises:
        SystemExit: The configuration is invalid.
        AddressInUse: Another process listens on an address of the service.
    """
    arguments = [str(config), *options]
    with ExitStack() as stack:
        standby = None
        if wanted(config, os.environ):
            standby = stack.enter_context(closing(Standby(arguments, children_environment())))
            standby.wait_until_ready(stop)
        service = None if stop.is_set() else checked_service(arguments, stop, standby)
        if service is None:
            return 0
        role = service["role"] if serving else "all"  # of which the servers are left out
        supervisor = Supervisor(
            Path(service["state_dir"]),
            service["drain_seconds"],
            arguments,
            stop,
            silent_seconds=service["silent_seconds"],
            standby=standby if service["standby"] else None,
            servers=service["servers"] if serving else 0,
            learners=service["learners"],
            role=role,
            claim=partial(claim, service, role, stop) if serving else None,
        )
        return supervisor.run()


def children_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the supervisor's processes, from its own or the given one."""
    base = dict(os.environ if environment is None else environment)
    return {**dict.fromkeys(THREADS, "1"), **base, PARENT: str(os.getpid())}


def checked_service(arguments: list[str], stop: Signal, standby: Standby | None = None) -> dict[str, Any] | None:
    """The table `[service]` of a configuration, validated in a separate process, because creating every learner loads
    all of their libraries.

    Args:
        arguments: Arguments of `thalweg check`.
        stop: Cancels the validation when set.
        standby: Forks that process; None: it starts for itself.

    Returns:
        The table, with as many `learners` as there are models for; None if cancelled.

    Raises:
        SystemExit: The configuration is invalid; the other process has reported why, and this is its exit code.
    """
    command = ["check", *arguments, "--role", "supervisor"]
    with _unnamed_file() as output:
        process: Process | None = None if standby is None else standby.start(command, stdout=output.fileno())
        if process is None:
            process = subprocess.Popen([*_THALWEG, *command], stdout=output, env=children_environment())
        while (code := process.poll()) is None:
            if stop.wait(0.02):
                process.kill()  # it changes no state
                process.wait()
                return None
        if code != 0:
            sys.exit(code if code > 0 else 1)
        output.seek(0)
        text = "\n" + output.read().decode()
        # the effective configuration comes last: a plug-in may have printed something when imported
        table = tomllib.loads(text[text.rindex("\n[service]\n") :])
        service: dict[str, Any] = table["service"]
    scaled = has_groups(table["log"]["url"]) and any(
        model.get("scale", {}).get("by") == "partition" for model in table["model"]
    )
    return service | {"learners": process_count(service["learners"], len(table["model"]), scaled=scaled)}


def _unnamed_file() -> IO[bytes]:
    """In memory where the system can: a host may have no folder to write to but the state's."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("thalweg-check"), "w+b")
    return tempfile.TemporaryFile()


def die_with_supervisor() -> None:
    """End this process when the one named by PARENT dies for any reason, so that no orphan keeps a port or a lock."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return
    if not sys.platform.startswith("linux"):
        threading.Thread(target=_end_after, args=(int(parent),), daemon=True, name="supervisor-watch").start()
        return
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != int(parent):  # it died before the call
        sys.exit(1)


def _end_after(parent: int) -> None:
    """End this process once another is its parent: where the system does not signal the death of one."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
