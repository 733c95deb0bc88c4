"""One process of a role to a state folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thalweg.ops.config.error import ConfigurationError


@contextmanager
def only_one(state_dir: Path, role: str) -> Iterator[None]:
    """Hold the state folder for this role; a second process of it is refused.

    Raises:
        ConfigurationError: Another one has it, or the folder cannot be written.
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
                [f"service.state_dir: another {role} process works in {state_dir}; stop it or take another folder"]
            ) from error
        yield
