"""Processes of `thalweg` that start warm: forked from one that has imported everything already.

A cold start costs up to three seconds of processor time, nearly all of it for imports, and the tests start some
hundreds of processes. A warm one takes its arguments, environment, folder and streams from its starter, runs
`python -m thalweg.ops.cli`, ends with its exit code, and is its starter's child: it is signalled, killed and waited for
as any other. What is about imports, memory or the command line of a process starts it cold, with `subprocess`;
`THALWEG_COLD=1` starts all of them so.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "thalweg.ops.cli"]
_MODULES = ("thalweg.ops.cli", "thalweg.ops.run.fork_server")
"""What a supervisor starts, and is forked instead."""
_READ_BY_IMPORTS = ("PYTHON", "OMP_", "MKL_", "OPENBLAS_", "CUDA_", "MALLOC_", "LD_")
"""Environment variables that are read when libraries are imported begin so."""
_NO_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""pandas imports PyArrow where it is installed, whose allocator would start a thread."""
_IMPORTED = (
    "thalweg.ops.cli.main",
    "thalweg.ops.cli.predict",
    "thalweg.ops.cli.produce",
    "thalweg.ops.cli.replay",
    "thalweg.ops.cli.snapshot",
    "thalweg.ops.config.effective",
    "thalweg.ops.config.schema",
    "thalweg.ops.run.app",
    "thalweg.ops.run.logs",
    "thalweg.ops.run.supervisor",
    "thalweg.stream.log.kafka",
    "thalweg.stream.log.sqlite",
    "faiss",
    "redis",
)
_SUBREAPER = 36  # prctl(2)


class Process:
    """A child of this process, as `subprocess.Popen` shows one."""

    def __init__(self, pid: int, arguments: Sequence[str]) -> None:
        self.pid = pid
        self.args = arguments
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == self.pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: It goes on for longer than `timeout` seconds.
        """
        if self.poll() is None:
            ended = os.pidfd_open(self.pid)
            try:
                waiting = select.poll()  # not select(), which knows no descriptor above 1023
                waiting.register(ended, select.POLLIN)
                if not waiting.poll(None if timeout is None else 1000 * timeout):
                    raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
            finally:
                os.close(ended)
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


class _Parent:
    """The process from which this one's warm processes are forked."""

    def __init__(self) -> None:
        # a process whose parent has ended becomes a child of this one: so do those that are forked twice
        ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)
        self.pid = os.getpid()
        self._socket, theirs = socket.socketpair()
        self._environment = dict(os.environ)
        code = f"import sys; sys.path[0] = {str(ROOT)!r}; from tests.services import warm; warm.wait({theirs.fileno()})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=self._environment | _NO_THREADS,
        )
        theirs.close()

    def can_start(self, environment: Mapping[str, str]) -> bool:
        """Whether what is imported already would be the same in this environment."""
        names = {name for name in self._environment.keys() | environment.keys() if name.startswith(_READ_BY_IMPORTS)}
        return all(self._environment.get(name) == environment.get(name) for name in names)

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, streams: list[int]) -> int:
        """Fork one; its id."""
        request = json.dumps([list(arguments), dict(environment), str(folder)]).encode()
        socket.send_fds(self._socket, [len(request).to_bytes(4, "big")], streams)
        self._socket.sendall(request)
        answer = self._socket.recv(4)
        assert answer, f"the process that forks ended with {self._process.wait()}"
        return int.from_bytes(answer, "big")

    def close(self) -> None:
        if self.pid == os.getpid():
            self._socket.close()
            self._process.wait()


_parent: _Parent | None = None
_lock = threading.Lock()


def start(
    *arguments: str,
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stdout: int | IO[Any] = 1,
    stderr: int | IO[Any] = 2,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Process | subprocess.Popen[bytes]:
    """Start `thalweg` with these arguments, warm where that makes no difference to its environment.

    Args:
        stdin, stdout, stderr: Files, or their numbers; no pipes.
        env: Its environment; this process's if None.
        cwd: Its folder; this process's if None.
    """
    global _parent
    environment = dict(os.environ if env is None else env)
    files = [stdin, stdout, stderr]
    if os.environ.get("THALWEG_COLD") == "1" or not sys.platform.startswith("linux"):
        return start_cold(*arguments, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd)
    with _lock:
        if _parent is None:
            _parent = _Parent()
            atexit.register(_parent.close)
        if not _parent.can_start(environment):
            return start_cold(*arguments, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd)
        with open(os.devnull) as nothing:  # noqa: PTH123 - no Path
            files = [nothing if file == subprocess.DEVNULL else file for file in files]
            numbers = [file if isinstance(file, int) else file.fileno() for file in files]
            return Process(_parent.start(arguments, environment, cwd or Path.cwd(), numbers), arguments)


def start_cold(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start `thalweg` with these arguments in a new interpreter."""
    return subprocess.Popen([*COMMAND, *arguments], **options)


def run(
    *arguments: str, given: str = "", env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `thalweg` with these arguments to its end; what it printed.

    Args:
        given: Its standard input.
        env: Its environment; this process's if None.
        cwd: Its folder; this process's if None.
        timeout: Seconds.
    """
    with tempfile.TemporaryFile("w+") as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(given)
        stdin.seek(0)
        process = start(*arguments, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
            process.wait()
        for file in (stdout, stderr):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, code, stdout.read().decode(), stderr.read().decode())


# What follows runs in the process that forks, and in the forked ones.


def wait(number: int) -> None:
    """Import everything; then fork a process for each request, until there are no more to come."""
    from thalweg.models.contract.registry import BUILT_IN, find
    from thalweg.ops.run.standby import NO_ARROW_THREAD
    from thalweg.stream.drift.methods import river

    os.environ.setdefault(*NO_ARROW_THREAD)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the keyboard: the tests end it by closing the socket
    for name in _IMPORTED:
        import_module(name)
    for name in BUILT_IN:
        find(name)
    river.preload()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, (
        "an import has started a thread: it would be missing after a fork"
    )
    gc.collect()
    gc.freeze()
    requests = socket.socket(fileno=number)
    while True:
        size, streams, _, _ = socket.recv_fds(requests, 4, 3)
        if not size:
            return
        request = b""
        while len(request) < int.from_bytes(size, "big"):
            request += requests.recv(1 << 20)
        arguments, environment, folder = json.loads(request)
        reading, writing = os.pipe()
        if (between := os.fork()) == 0:
            if (forked := os.fork()) == 0:
                requests.close()
                _become(arguments, environment, folder, streams)
            os.write(writing, forked.to_bytes(4, "big"))
            os._exit(0)  # which makes the forked one a child of who asked for it
        os.waitpid(between, 0)
        requests.sendall(os.read(reading, 4))
        for used in (reading, writing, *streams):
            os.close(used)


def _become(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    streams: Sequence[int],
    passed: Sequence[int] = (),
    module: str = _MODULES[0],
    safe_path: bool = False,
) -> NoReturn:
    """Go on as a module with these arguments, in a process just forked, with no files but these."""
    code = 1
    try:
        for at, stream in enumerate(streams):
            os.dup2(stream, at)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (int(path.name) for path in list(Path("/proc/self/fd").iterdir())):
            if number > 2 and number not in (nothing, *passed):
                # closed, but the number stays taken: an object inherited from before the fork that closes it later on
                # must not close what this process has opened since
                os.dup2(nothing, number, inheritable=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        faulthandler.enable()
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        if not safe_path:  # as Python does without -P
            sys.path[0] = folder
        sys.argv = ["thalweg", *arguments]
        subprocess.Popen = _forking(subprocess.Popen)  # type: ignore[misc] # for a supervisor's processes
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = _exit_code(ending)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined] # joins those that are no daemons
        atexit._run_exitfuncs()
        for file in (sys.stdout, sys.stderr):
            file.flush()
        os._exit(code)


def _exit_code(ending: SystemExit) -> int:
    if ending.code is None or isinstance(ending.code, int):
        return ending.code or 0
    print(ending.code, file=sys.stderr)
    return 1


def _forking(popen: Callable[..., Any]) -> Callable[..., Any]:
    """`Popen`, but that another process of `thalweg` is forked from this one."""

    def start(command: Sequence[str], **options: Any) -> Any:
        python, _, _, module, *_ = [*command, "", "", "", ""]  # python -P -m MODULE
        if python != sys.executable or module not in _MODULES or options.keys() - {"env", "stdout", "pass_fds"}:
            return popen(command, **options)
        streams = [0, options["stdout"].fileno() if "stdout" in options else 1, 2]
        if (forked := os.fork()) == 0:
            environment, passed = options.get("env", os.environ), options.get("pass_fds", ())
            _become(command[4:], environment, str(Path.cwd()), streams, passed, module, safe_path=True)
        return Process(forked, command)

    return start
