"""The supervisor's side of the process that its processes are forked from, so that a restart costs no imports."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from thalweg.ops.config.files.reading import read_table
from thalweg.stream.runtime import Signal

log = structlog.get_logger(__name__)

CHANNEL = "THALWEG_STANDBY"
"""The environment variable with the number of the socket on which the forking process is asked."""
READY = b"ready"
"""Sent by the forking process once it has imported everything."""
GO = b"go"
"""A forked process ends unless it hears this from the supervisor: one that was given up does not begin late."""
UNFIT = 3
"""Its exit code if an import has started a thread, which a forked process would not have."""
OUTDATED = 4
"""Its exit code if files that it has imported have changed: what it forked would mix old modules with new ones."""
NO_ARROW_THREAD = "JE_ARROW_MALLOC_CONF", "background_thread:false"
"""River imports pandas and pyarrow where it finds them; pyarrow's allocator starts a thread unless this says no."""
SETTING = "THALWEG_SERVICE__STANDBY"
_TASKS = Path("/proc/self/task")
_SUBREAPER = 36  # prctl(2)
_ANSWER_SECONDS = 10.0  # a fork takes milliseconds; on a machine that swaps, longer
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 60.0


class Process(Protocol):
    """A child of this process: a `subprocess.Popen`, or one that was forked elsewhere."""

    @property
    def pid(self) -> int:
        """Its id."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. Raises subprocess.TimeoutExpired after `timeout` seconds."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


class Forked:
    """A child that was not started by `subprocess`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == self.pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(0.01)
        return code

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def wanted(config: Path, environment: Mapping[str, str]) -> bool:
    """Whether the configuration wants a standby, as far as that can be told before it is validated."""
    if not (sys.platform.startswith("linux") and _TASKS.is_dir()):  # it counts its threads before it forks
        return False
    if SETTING in environment:
        return environment[SETTING].strip().lower() != "false"
    if not config.is_file():  # it could be a pipe, which can be read once
        return False
    try:
        service = read_table(config).get("service", {})
    except (OSError, ValueError):
        return False  # it is invalid; nothing will be forked
    return not isinstance(service, dict) or service.get("standby", True) is not False


class Standby:
    """Keeps the forking process running, and asks it for processes. For one thread.

    A process that it forks becomes a child of this one. Where it cannot fork (it is still importing, has died, does not
    answer, what it has imported has changed, or an import has started a thread), the caller starts a process of its
    own.

    Args:
        arguments: Of `thalweg serve`, the configuration first.
        environment: That of the forking process and of those forked from it.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        # a process whose parent ends becomes a child of this one: those that are forked twice
        ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)
        self._command = [sys.executable, "-P", "-m", "thalweg.ops.run.fork_server", *arguments, "--role", "standby"]
        self._environment = dict(environment)
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = self._unfit = False
        self._not_before, self._wait_seconds = 0.0, _FIRST_WAIT_SECONDS
        self.restarts = 0
        """How often it was started again after it ended unexpectedly."""
        self.since = 0.0
        """Unix seconds of its start."""
        self._start()

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is none."""
        return None if self._process is None else self._process.pid

    def look(self) -> bool:
        """Start it again if it has ended; whether it was started or has ended."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self._close()
            self._unfit = code == UNFIT
            if self._unfit:
                log.warning("a library starts threads when it is imported: processes are started without a standby")
                return True
            self.restarts += 1
            if code == OUTDATED:
                log.warning("installed files have changed since the standby imported them: starting another")
                return True
            log.error("the standby has ended: starting another", code=code, wait=self._wait_seconds)
            self._not_before = time.monotonic() + self._wait_seconds
            self._wait_seconds = min(2 * self._wait_seconds, _LONGEST_WAIT_SECONDS)
            return True
        if self._process is None and not self._unfit and time.monotonic() >= self._not_before:
            self._start()
            return True
        return False

    def wait_until_ready(self, stop: Signal) -> None:
        """Wait until it can fork, has ended, or `stop` is set."""
        while self._process is not None and not self._is_ready() and self._process.poll() is None:
            if stop.wait(0.02):
                return

    def start(self, arguments: Sequence[str], heartbeat: int | None = None, stdout: int | None = None) -> Forked | None:
        """Fork `thalweg` with these arguments; None if that is not possible now.

        Args:
            arguments: Of `thalweg`.
            heartbeat: The file descriptor that it sends its heartbeat to.
            stdout: A file descriptor for its standard output; this process's if None.
        """
        if self._socket is None or not self._is_ready():
            return None
        request = {"arguments": list(arguments), "heartbeat": heartbeat is not None, "stdout": stdout is not None}
        ours, theirs = socket.socketpair()
        with ours, theirs:
            files = [theirs.fileno(), *(file for file in (heartbeat, stdout) if file is not None)]
            ours.settimeout(_ANSWER_SECONDS)
            try:
                socket.send_fds(self._socket, [json.dumps(request).encode()], files)
                theirs.close()  # so that its end is seen
                answer = ours.recv(4)
                if not answer:
                    return None
                ours.sendall(GO)
            except OSError as error:
                log.error("the standby does not answer: killing it", problem=str(error))
                if self._process is not None:
                    self._process.kill()
                return None
        return Forked(int.from_bytes(answer, "big"))

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()  # it holds nothing
            self._process.wait()
            self._close()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_ANSWER_SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                self._command,
                env={**self._environment, CHANNEL: str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
            )
        self._ready, self.since = False, time.time()

    def _is_ready(self) -> bool:
        if not self._ready and self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            self._ready = self._socket.recv(len(READY)) == READY
        return self._ready

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = self._process = None
        self._ready = False


def reap_strangers(known: set[int]) -> None:
    """Reap ended processes that became children of this one when their own parent ended."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return
    if found is not None and found.si_pid not in known:
        os.waitpid(found.si_pid, 0)
