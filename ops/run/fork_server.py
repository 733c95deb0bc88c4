"""The process from which a supervisor's processes are forked: it has imported everything, and does nothing else.

It holds no state, no lock, no connection and no thread. A process forked from it has the libraries of the
configuration's learners at once, and shares their memory.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from thalweg.memory.exchange.open import SCHEMES_OF_REDIS
from thalweg.ops.run.heartbeat import HEARTBEAT
from thalweg.ops.run.standby import CHANNEL, GO, NO_ARROW_THREAD, OUTDATED, READY, UNFIT

_ALWAYS = (
    "thalweg.ops.cli.main",
    "thalweg.ops.config.effective",
    "thalweg.ops.run.logs",
    "thalweg.ops.run.processes",
    "thalweg.ops.run.relay.following",
    "thalweg.ops.run.relay.monitor",
)
_BY_LOG = {"sqlite": ("thalweg.stream.log.sqlite",)}
_BY_CLIENT = {"confluent": ("thalweg.stream.log.confluent",), "kafka-python": ("thalweg.stream.log.kafka", "crc32c")}
_REDIS = tuple(
    f"thalweg.memory.{name}" for name in ("exchange.redis_commands", "exchange.redis_pending", "relay.redis_board")
)
_BY_STORE = dict.fromkeys(SCHEMES_OF_REDIS, _REDIS)
_BY_LEARNER = {"bottleneck": ("faiss",), "error_memory": ("faiss",)}
"""What these learners import when they are used."""
_ARGUMENTS_START, _ARGUMENTS_END = 45, 46  # in /proc/PID/stat, counted from 0 after the name of the process


def preload(table: dict[str, Any]) -> None:
    """Import what processes with this configuration need.

    Plug-ins are left out: they may start threads when imported, and one that was mended takes effect with the next
    restart.

    Args:
        table: The configuration as it stands in the file; what is wrong with it is left to its validation.
    """
    os.environ.setdefault(*NO_ARROW_THREAD)
    from thalweg.models.contract.registry import BUILT_IN, PREFIXES, UnknownLearner, find
    from thalweg.models.encoders.kinds import needs_torch
    from thalweg.stream.drift.methods.river import preload as preload_detectors

    modules = list(_ALWAYS)
    models = [one for one in _of(table, "model", list) if isinstance(one, dict)]
    for learner in {str(model.get("learner")) for model in models}:
        prefix, _, path = learner.partition(":")
        if learner in BUILT_IN:
            with suppress(UnknownLearner):  # a library is missing
                find(learner)
            modules += _BY_LEARNER.get(learner, ())
        elif prefix in PREFIXES and path.partition(".")[0] == prefix:  # of the library itself, not a user's module
            modules += (PREFIXES[prefix].target.partition(":")[0], path.rpartition(".")[0])
    if any(needs_torch(str(model.get("encoder", ""))) for model in models):
        modules.append("thalweg.models.parts.torch_setup")
    preload_detectors({name for model in models for name in _detectors(_of(model, "drift", dict))})
    kind = _kind(table, "log", "sqlite")
    modules += _BY_CLIENT[_client(_of(table, "log", dict))] if kind == "kafka" else _BY_LOG.get(kind, ())
    modules += _BY_STORE.get(_kind(table, "store", "sqlite"), ())
    for module in modules:
        with suppress(ImportError):  # said by who needs it
            import_module(module)


def _table(path: Path) -> dict[str, Any]:
    """The configuration of a file and the environment, not validated."""
    from thalweg.ops.config.environment import overlay
    from thalweg.ops.config.files.reading import read_table

    try:
        table = read_table(path)
        overlay(table, os.environ, lambda place: str, [])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # its validation says what is wrong
    return table


def _detectors(drift: dict[str, Any]) -> list[str]:
    from thalweg.stream.drift.params import DriftParams

    return [str(name) for name in _of(drift, "detectors", list) or DriftParams().detectors]


def _client(log: dict[str, Any]) -> str:
    from thalweg.stream.log.kafka_shared.choice import effective_client
    from thalweg.stream.log.log import LogError

    try:
        return effective_client(log.get("client", "auto"))
    except LogError:
        return "kafka-python"


def _kind(table: dict[str, Any], section: str, usual: str) -> str:
    """What stands before the colon of a section's URL."""
    return str(_of(table, section, dict).get("url", usual)).partition(":")[0]


def _of(table: dict[str, Any], key: str, kind: type[Any]) -> Any:
    found = table.get(key)
    return found if isinstance(found, kind) else kind()


def imported_files() -> dict[str, tuple[int, int, int] | None]:
    """The files of all imported modules: inode, time of change and size; None for one that is gone."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return {file: _seen(file) for file in files if isinstance(file, str)}


def _seen(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - a thousand files before each fork
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def run(arguments: list[str]) -> list[str]:
    """Import everything and fork a process for each request; returns only in a forked one, with its arguments.

    Args:
        arguments: Of `thalweg serve`, the configuration first.
    """
    from thalweg.ops.run.supervisor import die_with_supervisor

    for number in (signal.SIGINT, signal.SIGHUP):  # from the keyboard, or its terminal: meant for the supervisor
        signal.signal(number, signal.SIG_IGN)
    die_with_supervisor()
    requests = socket.socket(fileno=int(os.environ.pop(CHANNEL)))
    requests.set_inheritable(False)
    preload(_table(Path(arguments[0])))
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        sys.exit(UNFIT)
    files_then = imported_files()
    gc.collect()
    gc.freeze()  # so that no collection writes to shared memory
    try:
        requests.sendall(READY)
        while True:
            message, files, _, _ = socket.recv_fds(requests, 1 << 16, 3)
            if not message:
                sys.exit(0)
            if any(_seen(file) != then for file, then in files_then.items()):
                sys.exit(OUTDATED)
            between = os.getpid()
            if (first := os.fork()) == 0:
                between = os.getpid()
                if os.fork() != 0:
                    os._exit(0)  # the supervisor becomes the parent of the forked process
                break
            os.waitpid(first, 0)
            for file in files:
                os.close(file)
    except OSError:
        sys.exit(0)  # the supervisor has ended
    requests.close()
    return _begin(between, json.loads(message), files)


def _begin(between: int, request: dict[str, Any], files: list[int]) -> list[str]:
    """Become the process that was asked for; its arguments."""
    handshake = socket.socket(fileno=files.pop(0))
    while os.getppid() == between:
        time.sleep(0.0005)
    handshake.sendall(os.getpid().to_bytes(4, "big"))
    if handshake.recv(len(GO)) != GO:
        os._exit(0)
    handshake.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["heartbeat"]:
        os.environ[HEARTBEAT] = str(files.pop(0))
    if request["stdout"]:
        output = files.pop(0)
        os.dup2(output, 1)
        os.close(output)
    arguments: list[str] = request["arguments"]
    _show([sys.executable, "-P", "-m", "thalweg.ops.cli", *arguments])
    return arguments


def _show(command: list[str]) -> None:
    """Write a command over this process's arguments in memory, as far as there is room, so that `ps` shows it."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    start, end = int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_END])
    if 0 < start < end:
        ctypes.memmove(start, "\0".join(command).encode()[: end - start - 1].ljust(end - start, b"\0"), end - start)


if __name__ == "__main__":
    sys.argv = ["thalweg", *run(sys.argv[1:])]
    from thalweg.ops.cli.main import main

    main()
