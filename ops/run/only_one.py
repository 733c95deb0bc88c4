"""A lock that allows one process per role and state folder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from thalweg.ops.config.error import ConfigurationError

_LOOK_SECONDS = 0.05


@contextmanager
def only_one(state_dir: Path, role: str, patience_seconds: float = 0.0) -> Iterator[None]:
    """Lock the state folder for this role; a second process is refused.

    Args:
        state_dir: The state folder.
        role: What the process is called.
        patience_seconds: How long to wait for a process that may be about to end.

    Raises:
        ConfigurationError: Another process holds the lock, or the folder cannot be written.
    """
    path = state_dir / f".{role}.lock"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError([f"service.state_dir: {state_dir} cannot be written: {error.strerror}"]) from error
    with file:
        until = time.monotonic() + patience_seconds
        while not _locked(file):
            if time.monotonic() >= until:
                raise ConfigurationError(
                    [f"service.state_dir: another {role} process uses {state_dir}; stop it or choose another folder"]
                )
            time.sleep(_LOOK_SECONDS)
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
