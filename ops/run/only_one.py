"""What a service has to itself: its state folder, by a lock for each role, and its addresses."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import structlog

from thalweg.ops.config.addresses import AddressInUse, listen
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.resources.ownership import may_not_be_written
from thalweg.ops.telemetry.process_health import SUPERVISOR_FILE
from thalweg.stream.publication.state_before import (
    IDENTITY,
    begun_anew,
    has_state,
    must_not_be_away,
    note_beginning,
    other_before,
)
from thalweg.stream.runtime import Signal

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 0.05
_BEYOND_SECONDS = 5.0  # a process that is told to end has as much beyond the time to drain


@contextmanager
def only_one(state_dir: Path, role: str, patience_seconds: float = 0.0) -> Iterator[None]:
    """Lock the state folder for this role; a second process is refused.

    Args:
        state_dir: The state folder.
        role: What the process is called.
        patience_seconds: How long to wait for a process that may be about to end.

    Raises:
        ConfigurationError: Another process holds the lock, or the folder cannot be written.
        FolderElsewhere: Processes that still run use the folder that was here, which is away or was replaced.
    """
    path = state_dir / f".{role}.lock"
    must_not_be_away(state_dir)
    other, new = other_before(state_dir), not has_state(state_dir)
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        why = may_not_be_written(state_dir) or f"{state_dir} cannot be written: {error.strerror}"
        raise ConfigurationError([f"service.state_dir: {why}"]) from error
    with file:
        until = time.monotonic() + patience_seconds
        while not _locked(file):
            if time.monotonic() >= until:
                raise ConfigurationError(
                    [f"service.state_dir: another {role} process uses {state_dir}; stop it or choose another folder"]
                )
            time.sleep(_LOOK_SECONDS)
        if other:
            note_beginning(state_dir)
        if (other or role == "supervisor") and (told := begun_anew(state_dir)):  # by one process of each start
            log.warning(f"the state folder {told}")
        elif new and not (state_dir / IDENTITY).exists():  # told by the first process that comes here
            log.info("no state yet: every model begins with what the log holds", state_dir=str(state_dir.absolute()))
        yield


def _locked(file: IO[str]) -> bool:
    """Whether it is locked now. Raises ConfigurationError where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        folder = Path(file.name).parent
        raise ConfigurationError(
            [
                f"service.state_dir: {folder} is on a file system without locks (flock: {error.strerror}): two "
                "processes could write the same state; choose a local disk, or mount NFS with its lock service"
            ]
        ) from error
    return True


def claim(service: Mapping[str, Any], role: str, stop: Signal) -> None:
    """Find the addresses of a service free, and wait for processes of its own that are about to end.

    To be called by the one supervisor of the state folder.

    A service that finds them taken once its processes run would learn meanwhile, and several servers would share
    them with another service's.

    Args:
        service: The effective table `[service]`.
        role: What the host does; one that only learns answers no gRPC.
        stop: Ends the waiting when set.

    Raises:
        AddressInUse: Another process listens there.
    """
    told = False
    looks = round((service["drain_seconds"] + _BEYOND_SECONDS) / _LOOK_SECONDS)
    for interface in ("grpc", "http") if role in ("all", "serve") else ("http",):
        while True:
            ending = _ends(Path(service["state_dir"]))  # asked first: what ends meanwhile sets the address free
            try:
                listen(service[interface], key=f"service.{interface}").close()
                break
            except AddressInUse:
                looks -= 1
                if looks < 0 or not ending:
                    raise
                if stop.wait(_LOOK_SECONDS):
                    return
                if not told:
                    log.warning("processes of a supervisor that was killed are ending: wait for the addresses")
                    told = True


def _ends(state_dir: Path) -> bool:
    """Whether processes are left of a supervisor of this state folder that was killed: they end by themselves."""
    try:
        left = json.loads((state_dir / "live" / SUPERVISOR_FILE).read_text(encoding="utf-8"))
        pids = [one["pid"] for one in left["roles"].values() if one["pid"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return any(map(_alive, pids))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
