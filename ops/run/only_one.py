"""A lock that allows one process per role and state folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thalweg.ops.config.error import ConfigurationError


@contextmanager
def only_one(state_dir: Path, role: str) -> Iterator[None]:
    """Lock the state folder for this role; a second process is refused.

    Raises:
        ConfigurationError: Another process holds the lock, or the folder cannot be written.
    """
    path = state_dir / f".{role}.lock"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise ConfigurationError([f"service.state_dir: {state_dir} cannot be written: {error.strerror}"]) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                [f"service.state_dir: another {role} process uses {state_dir}; stop it or choose another folder"]
            ) from error
        yield
